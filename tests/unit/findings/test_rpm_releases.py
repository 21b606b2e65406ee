"""Distributions of rpm packages: repositories, modules, epochs, and whose names records use."""

from __future__ import annotations

import pytest

from garrison.findings import Severity, match_package
from garrison.packages import OperatingSystem, Package
from garrison.packages.releases import distro
from tests.unit.advisories.records import entry, record, span, until
from tests.unit.findings.lookup import Records, package

RHEL = "Red Hat:enterprise_linux:8"


def rpm(name: str, version: str, distro: str = RHEL, source: str = "", module: str = "") -> Package:
    item = package(
        "rpm", name, version, distro=distro, source=source, source_version=version if source else ""
    )
    if not module:
        return item
    from dataclasses import replace

    return replace(item, purl=f"{item.purl}?arch=x86_64&rpmmod={module}")


def found(item: Package, *records: object) -> list[str]:
    return [match.id for match in match_package(item, Records(*records))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("id", "version", "mine", "foreign"),
    [
        ("rhel", "9.4", "Red Hat:enterprise_linux:9::appstream",
         "Red Hat:enterprise_linux:8::appstream"),
        ("rhel", "9.4", "Red Hat:enterprise_linux:9::baseos", "Red Hat:rhel_eus:9.2::baseos"),
        ("rhel", "10.1", "Red Hat:enterprise_linux:10.0", "Red Hat:enterprise_linux:9::baseos"),
        ("almalinux", "9.4", "AlmaLinux:9", "AlmaLinux:8"),
        ("rocky", "8.10", "Rocky Linux:8", "Rocky Linux:9"),
        ("sles", "15.5", "SUSE:Linux Enterprise Module for Basesystem 15 SP5",
         "SUSE:Linux Enterprise Module for Basesystem 15 SP4"),
        ("sles", "15.4", "SUSE:Linux Enterprise Server 15 SP4-LTSS",
         "SUSE:Linux Enterprise Server 15 SP3-LTSS"),
        ("opensuse-leap", "15.6", "openSUSE:Leap 15.6", "openSUSE:Leap 15.5"),
        ("opensuse-tumbleweed", "20260801", "openSUSE:Tumbleweed", "openSUSE:Leap 15.6"),
        ("azurelinux", "3.0", "Azure Linux:3", "Azure Linux:2"),
        ("mageia", "9", "Mageia:9", "Mageia:8"),
        ("photon", "5.0", "Photon OS:5.0", "Photon OS:4.0"),
    ],
)  # fmt: skip
def test_a_release_is_matched_with_its_own_records_alone(
    id: str, version: str, mine: str, foreign: str
) -> None:
    item = rpm("zlib", "1.2.11-31.el9", distro(OperatingSystem(id, version)))
    own = record("OWN", entry(mine, "zlib", until("1.2.11-40.el9")), upstream=["CVE-2023-1"])
    other = record("FOREIGN", entry(foreign, "zlib", until("9")), upstream=["CVE-2023-2"])
    assert found(item, own, other) == ["CVE-2023-1"]
    assert found(item, other) == []


def test_the_red_hat_family_names_binary_packages_and_others_name_sources() -> None:
    red_hat = record("RHSA-1", entry(f"{RHEL}::baseos", "openssl-libs", until("2")))
    suse = record("SUSE-1", entry("openSUSE:Leap 15.6", "openssl-1_1", until("2")))
    assert found(rpm("openssl-libs", "1-1", RHEL, source="openssl"), red_hat) == ["RHSA-1"]
    library = rpm("libopenssl1_1", "1-1", "openSUSE:Leap 15.6", source="openssl-1_1")
    assert found(library, suse) == ["SUSE-1"]


@pytest.mark.parametrize(
    ("installed", "fixed", "affected"),
    [
        ("1:3.0.7-24.el9", "1:3.0.7-25.el9", True),
        ("1:3.0.7-25.el9", "1:3.0.7-25.el9", False),
        ("3.0.7-24.el9", "1:3.0.7-20.el9", True),  # no epoch is epoch 0
        ("1:3.0.7-24.el9", "0:3.0.7-25.el9", False),  # an epoch that is spelt counts
        ("1:3.0.7-24", "3.0.7-25", True),  # a feed without epochs says nothing of them
        ("1:3.0.7-25", "3.0.7-25", False),
        ("3.0.7-25.azl3", "3.0.7-25", False),  # Azure Linux leaves the distribution's tag out
    ],
)
def test_epochs(installed: str, fixed: str, affected: bool) -> None:
    records = record("X-1", entry("AlmaLinux:9", "openssl", until(fixed)))
    assert bool(found(rpm("openssl", installed, "AlmaLinux:9"), records)) is affected


def test_the_fix_shown_is_above_the_installed_version_without_its_epoch() -> None:
    records = record("X-1", entry("openSUSE:Leap 15.6", "openssl", until("3.0.7-25")))
    [match] = match_package(rpm("openssl", "1:3.0.7-24", "openSUSE:Leap 15.6"), Records(records))
    assert match.fixed_in == "3.0.7-25"


NODE_16 = "1:16.20.2-1.module+el8.8.0+19898+ab99ba34"
NODE_18 = "1:18.19.1-1.module+el8.9.0+21388+22892fb9"


@pytest.mark.parametrize(
    ("installed", "module", "affected"),
    [
        ("1:18.18.2-1.module+el8.9.0+20390+1fa32cbd", "nodejs:18:8090020231201152735:rhel8", True),
        (NODE_18, "nodejs:18:8090020231201152735:rhel8", False),
        # Another stream: 16 is below the fix of 18 and has its own.
        (NODE_16, "nodejs:16:8080020231201152735:rhel8", False),
        # A module of unknown stream could be this one.
        (NODE_16, "", True),
        # The plain package is not built from the module.
        ("1:10.24.0-1.el8", "", False),
    ],
)
def test_a_stream_of_a_module_is_judged_by_its_own_fixes(
    installed: str, module: str, affected: bool
) -> None:
    erratum = record(
        "RHSA-2024:1510",
        entry(f"{RHEL}::appstream", "nodejs", until(NODE_18)),
        summary="Red Hat Security Advisory: nodejs:18 security update",
    )
    assert bool(found(rpm("nodejs", installed, module=module), erratum)) is affected


def test_plain_errata_are_not_about_modular_packages() -> None:
    erratum = record("RHSA-1", entry(f"{RHEL}::appstream", "nodejs", until("1:99-1.el8")))
    assert found(rpm("nodejs", NODE_16, module="nodejs:16"), erratum) == []
    assert found(rpm("nodejs", "1:10-1.el8"), erratum) == ["RHSA-1"]
    unfixed = record("X", entry(f"{RHEL}::appstream", "nodejs", span({"introduced": "0"})))
    assert found(rpm("nodejs", NODE_16, module="nodejs:16"), unfixed) == ["X"]


def test_a_module_label_may_be_escaped_in_the_package_url() -> None:
    erratum = record(
        "ALSA-1",
        entry("AlmaLinux:8", "php", until("7.4.19-4.module_el8.6.0+3238+624bf8b8")),
        summary="Moderate: php:7.4 security update",
    )
    installed = "7.4.6-1.module_el8.3.0+2010+7c76a223"
    other = rpm("php", installed, "AlmaLinux:8", module="php%3A7.3%3A8030")
    same = rpm("php", installed, "AlmaLinux:8", module="php%3A7.4%3A8030")
    assert found(other, erratum) == []
    assert found(same, erratum) == ["ALSA-1"]


def test_errata_are_rated_by_their_distribution_and_name_their_vulnerability() -> None:
    """Older errata list their CVEs under `related`, which elsewhere joins nothing."""
    erratum = record(
        "ALSA-2022:1", entry("AlmaLinux:8", "zlib", until("2-1")),
        summary="Important: zlib security update", related=["CVE-2022-1"],
    )  # fmt: skip
    [match] = match_package(rpm("zlib", "1-1", "AlmaLinux:8"), Records(erratum))
    assert (match.id, match.records) == ("CVE-2022-1", ("ALSA-2022:1",))
    assert (match.severity, match.severity_source) == (
        Severity.HIGH,
        "ALSA-2022:1 AlmaLinux: Important",
    )
    elsewhere = record("PYSEC-1", entry("PyPI", "a", until("2")), related=["CVE-2022-1"])
    [other] = match_package(package("pypi", "a", "1"), Records(elsewhere))
    assert other.id == "PYSEC-1"
