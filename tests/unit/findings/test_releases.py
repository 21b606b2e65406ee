"""Each release is judged by the records about it, and by no others."""

from __future__ import annotations

import pytest

from garrison.findings import Severity, match_inventory, match_package
from garrison.packages import Inventory, OperatingSystem, Package
from garrison.packages.releases import distro
from tests.unit.advisories.records import entry, record, span, until
from tests.unit.findings.lookup import Records, deb, package


def found(item: Package, records: Records) -> list[str]:
    return [match.id for match in match_package(item, records)]


@pytest.mark.parametrize(
    ("type", "id", "version", "mine", "foreign"),
    [
        ("deb", "debian", "12", "Debian:12", "Debian:13"),
        ("deb", "ubuntu", "22.04", "Ubuntu:22.04:LTS", "Ubuntu:24.04:LTS"),
        ("deb", "ubuntu", "24.10", "Ubuntu:24.10", "Ubuntu:24.04:LTS"),
        ("deb", "ubuntu", "20.04", "Ubuntu:Pro:20.04:LTS", "Ubuntu:Pro:18.04:LTS"),
        ("deb", "echo", "1", "Echo", "Debian:12"),
        ("apk", "alpine", "3.20.1", "Alpine:v3.20", "Alpine:v3.19"),
        ("apk", "alpine", "3.23_alpha20250612", "Alpine:edge", "Alpine:v3.22"),
        ("apk", "wolfi", "20230201", "Wolfi", "Chainguard"),
        ("apk", "chainguard", "20230214", "Chainguard", "Wolfi"),
        ("apk", "minimos", "20241031", "MinimOS", "Wolfi"),
        ("apk", "alpaquita", "23", "Alpaquita:23", "Alpaquita:stream"),
    ],
)
def test_a_release_is_matched_with_its_own_records_alone(
    type: str, id: str, version: str, mine: str, foreign: str
) -> None:
    item = package(type, "zlib", "1.2-r0", distro=distro(OperatingSystem(id, version)))
    own = record("OWN", entry(mine, "zlib", until("1.3-r0")), upstream=["CVE-2023-1"])
    other = record("FOREIGN", entry(foreign, "zlib", until("1.3-r0")), upstream=["CVE-2023-2"])
    assert found(item, Records(own, other)) == ["CVE-2023-1"]
    assert found(item, Records(other)) == []


@pytest.mark.parametrize(
    ("id", "version", "name"),
    [
        ("centos", "9", "CentOS:9"),
        ("ol", "9.4", "Oracle Linux:9"),
        ("amzn", "2023", "Amazon Linux:2023"),
        ("fedora", "42", "Fedora:42"),
        ("nimbus", "1", "rpm packages of an unknown release"),
    ],
)
def test_a_release_that_nobody_publishes_about_is_missing_and_not_clean(
    id: str, version: str, name: str
) -> None:
    """What Red Hat publishes is not about the packages that others build or ship earlier."""
    os = OperatingSystem(id, version)
    item = package("rpm", "zlib", "1.2-1", distro=distro(os))
    red_hat = record("RHSA-1", entry("Red Hat:enterprise_linux:9::baseos", "zlib", until("1.3-1")))
    inventory = Inventory("r.test/a:1", "sha256:1", "linux/amd64", os, (), (item,))
    report = match_inventory(inventory, Records(red_hat))
    assert not report.complete
    assert report.missing_ecosystems == (name,)
    assert report.warnings == (
        f"no advisories are loaded for {name}, so 1 package was not matched",
    )


def test_a_part_of_a_release_makes_it_known() -> None:
    """Red Hat and SUSE publish by repository: no record names the release itself."""
    records = Records(record("RHSA-1", entry("Red Hat:enterprise_linux:9::baseos", "zlib")))
    assert records.covers("Red Hat:enterprise_linux:9")
    assert not records.covers("Red Hat:enterprise_linux:8")


UBUNTU = "Ubuntu:20.04:LTS"
BOTH = record(
    "UBUNTU-CVE-2024-1",
    entry(UBUNTU, "zlib", span({"introduced": "0"})),
    entry("Ubuntu:Pro:20.04:LTS", "zlib", until("1.2-1+esm2")),
    entry("Ubuntu:Pro:FIPS-updates:20.04:LTS", "zlib", until("1.2-1+fips3")),
    upstream=["CVE-2024-1"],
)


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ("1.2-1", [""]),  # the release itself has no fix
        ("1.2-1+esm1", ["1.2-1+esm2"]),
        ("1.2-1+esm2", []),
        ("1.2-1+fips2", ["1.2-1+fips3"]),
        ("1.2-1+fips3", []),
    ],
)
def test_packages_for_subscribers_are_judged_by_what_is_published_for_them(
    version: str, fixed: list[str]
) -> None:
    matches = match_package(deb("zlib", version, UBUNTU), Records(BOTH))
    assert [match.fixed_in for match in matches] == fixed


def test_what_only_subscribers_get_fixed_is_vulnerable_for_everybody() -> None:
    pro = record("UBUNTU-CVE-2024-1", entry("Ubuntu:Pro:20.04:LTS", "zlib", until("1.2-1+esm2")))
    [match] = match_package(deb("zlib", "1.2-1", UBUNTU), Records(pro))
    assert match.fixed_in == "1.2-1+esm2"


def test_builds_for_other_subscriptions_say_nothing_about_the_release() -> None:
    fips = record("U-1", entry("Ubuntu:Pro:FIPS:20.04:LTS", "zlib", until("1.2-1+fips3")))
    assert found(deb("zlib", "1.2-1", UBUNTU), Records(fips)) == []


def test_ubuntus_priority_stands_beside_the_vectors_of_the_record() -> None:
    rated = record(
        "UBUNTU-CVE-2024-1",
        entry(UBUNTU, "zlib", until("1.2-2")),
        severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"},
                  {"type": "Ubuntu", "score": "low"}],
    )  # fmt: skip
    [match] = match_package(deb("zlib", "1.2-1", UBUNTU), Records(rated))
    assert (match.severity, match.severity_source) == (
        Severity.LOW,
        "UBUNTU-CVE-2024-1 Ubuntu: low",
    )
    assert [item.score for item in match.cvss] == [9.8]
