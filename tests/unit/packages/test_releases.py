"""Distributions' releases as OSV names them, and which of its ecosystems are about them."""

from __future__ import annotations

import pytest

from garrison.packages import OperatingSystem
from garrison.packages.releases import distro, serving, variant_of


@pytest.mark.parametrize(
    ("id", "version", "pretty", "expected"),
    [
        ("debian", "12", "", "Debian:12"),
        ("ubuntu", "22.04", "", "Ubuntu:22.04:LTS"),
        ("ubuntu", "24.10", "", "Ubuntu:24.10"),
        ("alpine", "3.20.3", "", "Alpine:v3.20"),
        ("alpine", "3.23_alpha20250612", "", "Alpine:edge"),
        ("rhel", "9.4", "", "Red Hat:enterprise_linux:9"),
        ("rhel", "10.1", "", "Red Hat:enterprise_linux:10"),
        ("almalinux", "9.4", "", "AlmaLinux:9"),
        ("rocky", "8.10", "", "Rocky Linux:8"),
        ("sles", "15.5", "", "SUSE:Linux Enterprise Server 15 SP5"),
        ("sles", "15", "", "SUSE:Linux Enterprise Server 15"),
        ("sles", "16.0", "", "SUSE:Linux Enterprise Server 16.0"),
        ("sled", "15.5", "", "SUSE:Linux Enterprise Desktop 15 SP5"),
        ("sles_sap", "12.5", "", "SUSE:Linux Enterprise Server for SAP Applications 12 SP5"),
        ("sle-micro", "5.5", "", "SUSE:Linux Enterprise Micro 5.5"),
        ("sl-micro", "6.0", "", "SUSE:Linux Micro 6.0"),
        ("opensuse-leap", "15.6", "", "openSUSE:Leap 15.6"),
        ("opensuse-tumbleweed", "20260801", "", "openSUSE:Tumbleweed"),
        ("wolfi", "20230201", "", "Wolfi"),
        ("chainguard", "20230214", "", "Chainguard"),
        ("azurelinux", "3.0", "", "Azure Linux:3"),
        ("mariner", "2.0", "", "Azure Linux:2"),
        ("mageia", "9", "", "Mageia:9"),
        ("openeuler", "24.03", "openEuler 24.03 (LTS)", "openEuler:24.03-LTS"),
        ("openeuler", "22.03", "openEuler 22.03 (LTS-SP3)", "openEuler:22.03-LTS-SP3"),
        ("photon", "5.0", "", "Photon OS:5.0"),
        ("alpaquita", "23", "", "Alpaquita:23"),
        ("minimos", "20241031", "", "MinimOS"),
        ("echo", "1", "", "Echo"),
        # No feed has these; what their relatives publish is not about them.
        ("centos", "9", "", "CentOS:9"),
        ("ol", "9.4", "", "Oracle Linux:9"),
        ("amzn", "2023", "", "Amazon Linux:2023"),
        ("fedora", "42", "", "Fedora:42"),
        ("nimbus", "1", "", ""),
        ("sles", "", "", ""),
        ("rocky", "x", "", ""),
    ],
)
def test_names_of_releases(id: str, version: str, pretty: str, expected: str) -> None:
    assert distro(OperatingSystem(id, version, pretty)) == expected


@pytest.mark.parametrize(
    ("release", "about_it", "about_others"),
    [
        (
            "Red Hat:enterprise_linux:9",
            ["Red Hat:enterprise_linux:9", "Red Hat:enterprise_linux:9::appstream",
             "Red Hat:enterprise_linux:9::baseos"],
            ["Red Hat:enterprise_linux:8::baseos", "Red Hat:rhel_eus:9.2::baseos",
             "Red Hat:enterprise_linux:90", "Red Hat:openshift:4.14::el9"],
        ),
        (
            "Red Hat:enterprise_linux:10",
            ["Red Hat:enterprise_linux:10.0", "Red Hat:enterprise_linux:10.1::appstream"],
            ["Red Hat:enterprise_linux_eus:10.0", "Red Hat:enterprise_linux:1"],
        ),
        (
            "Ubuntu:22.04:LTS",
            ["Ubuntu:22.04:LTS", "Ubuntu:Pro:22.04:LTS", "Ubuntu:Pro:FIPS-updates:22.04:LTS"],
            ["Ubuntu:24.04:LTS", "Ubuntu:Pro:20.04:LTS", "Ubuntu:22.04",
             "Ubuntu:Nvidia-BlueField:22.04:LTS"],
        ),
        (
            "SUSE:Linux Enterprise Server 15 SP5",
            ["SUSE:Linux Enterprise Server 15 SP5", "SUSE:Linux Enterprise Server 15 SP5-LTSS",
             "SUSE:Linux Enterprise Module for Basesystem 15 SP5"],
            ["SUSE:Linux Enterprise Server 15 SP4", "SUSE:Linux Enterprise Server 15",
             "SUSE:Linux Enterprise Module for Basesystem 15 SP6",
             "SUSE:Linux Enterprise Server for SAP Applications 15 SP5",
             "SUSE:Linux Enterprise Micro 5.5"],
        ),
        ("openSUSE:Leap 15.6", ["openSUSE:Leap 15.6", "openSUSE:Leap 15.6 NonFree"],
         ["openSUSE:Leap 15.5", "openSUSE:Tumbleweed"]),
        ("Debian:12", ["Debian:12"], ["Debian:13", "Debian:1", "Debian"]),
        ("Alpine:edge", ["Alpine:edge"], ["Alpine:v3.20"]),
        ("Wolfi", ["Wolfi"], ["Chainguard"]),
    ],
)  # fmt: skip
def test_which_ecosystems_are_about_a_release(
    release: str, about_it: list[str], about_others: list[str]
) -> None:
    assert serving(release, [*about_others, *about_it]) == tuple(sorted(about_it))


def test_variants_of_ubuntu() -> None:
    assert variant_of("Ubuntu:22.04:LTS") == ""
    assert variant_of("Ubuntu:Pro:22.04:LTS") == "Pro"
    assert variant_of("Ubuntu:Pro:FIPS-updates:20.04:LTS") == "Pro:FIPS-updates"
    assert variant_of("Debian:12") == ""
