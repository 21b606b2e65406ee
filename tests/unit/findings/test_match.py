"""Which advisories apply to which packages, and how records are joined into findings."""

from __future__ import annotations

import pytest

from garrison.findings import (
    Subject,
    match_inventory,
    match_package,
    match_packages,
    subject_of,
)
from garrison.packages import Inventory, OperatingSystem, Package
from tests.unit.advisories.records import entry, record, span, until
from tests.unit.findings.lookup import Records, deb, package


def inventory(*packages: Package, unreadable: tuple[str, ...] = ()) -> Inventory:
    os = OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)")
    return Inventory("r.test/a:1", "sha256:1", "linux/amd64", os, (), packages,
                     unreadable=unreadable)  # fmt: skip


def ids(item: Package, records: Records) -> list[str]:
    return [match.id for match in match_package(item, records)]


@pytest.mark.parametrize(
    ("item", "ecosystem", "name", "version"),
    [
        (package("pypi", "Foo.Bar", "1"), "PyPI", "foo-bar", "1"),
        (package("npm", "node", "1.0.0", namespace="@types"), "npm", "@types/node", "1.0.0"),
        (package("golang", "b", "v1.0.0", namespace="github.com/A"),
         "Go", "github.com/A/b", "v1.0.0"),
        (package("golang", "stdlib", "go1.21rc2"), "Go", "stdlib", "1.21.0-rc.2"),
        (package("maven", "b", "1", namespace="org.a"), "Maven", "org.a:b", "1"),
        (package("gem", "rails", "7.0"), "RubyGems", "rails", "7.0"),
        (package("cargo", "serde", "1.0.0"), "crates.io", "serde", "1.0.0"),
        (package("deb", "libssl3", "3.0.9-1+b1", distro="Debian:12", source="openssl",
                 source_version="3.0.9-1"), "Debian:12", "openssl", "3.0.9-1"),
        (package("deb", "bash", "5.2", distro="Debian:12"), "Debian:12", "bash", "5.2"),
        (package("apk", "libcrypto3", "3.3.0-r2", distro="Alpine:v3.20", source="openssl"),
         "Alpine:v3.20", "openssl", "3.3.0-r2"),
    ],
)  # fmt: skip
def test_what_is_asked_for_a_package(
    item: Package, ecosystem: str, name: str, version: str
) -> None:
    """Distributions are asked by source package and source version, others by their full name."""
    assert subject_of(item) == Subject(ecosystem, name, version)


def test_files_of_a_distribution_package_are_not_asked_for() -> None:
    """Debian fixes without raising upstream's version: its own advisories are the right ones."""
    records = Records(record("PYSEC-1", entry("PyPI", "requests", until("2.31"))))
    owned = package("pypi", "requests", "2.28.1", position="owned", owner="python3-requests")
    assert ids(owned, records) == []
    for position in ("installed", "vendored", "loose"):
        assert ids(package("pypi", "requests", "2.28.1", position=position), records) == ["PYSEC-1"]


@pytest.mark.parametrize(
    ("distro", "other"),
    [
        ("Debian:12", "Debian:13"),
        ("Alpine:v3.20", "Alpine:v3.19"),
        ("Ubuntu:22.04:LTS", "Ubuntu:24.04:LTS"),
    ],
)
def test_only_the_images_own_release_matches(distro: str, other: str) -> None:
    type = "apk" if distro.startswith("Alpine") else "deb"
    item = package(type, "zlib", "1.2-r0", distro=distro)
    own = record("OWN", entry(distro, "zlib", until("1.3-r0")), upstream=["CVE-2023-1"])
    foreign = record("FOREIGN", entry(other, "zlib", until("1.3-r0")), upstream=["CVE-2023-2"])
    assert ids(item, Records(own, foreign)) == ["CVE-2023-1"]


def test_unfixed_in_one_release_and_fixed_in_the_next() -> None:
    """CVE-2023-45853: no fix for Debian 12, one for 13, which is not ours to promise."""
    zlib = record(
        "DEBIAN-CVE-2023-45853",
        entry("Debian:12", "zlib", span({"introduced": "0"})),
        entry("Debian:13", "zlib", until("1:1.3.dfsg-2")),
        upstream=["CVE-2023-45853"],
    )
    [match] = match_package(deb("zlib", "1:1.2.13.dfsg-1"), Records(zlib))
    assert (match.id, match.fixed_in) == ("CVE-2023-45853", "")
    [other] = match_package(deb("zlib", "1:1.2.13.dfsg-1", "Debian:13"), Records(zlib))
    assert other.fixed_in == "1:1.3.dfsg-2"


def test_one_vulnerability_in_several_sources_has_several_fixes() -> None:
    both = record(
        "DEBIAN-CVE-2023-44487",
        entry("Debian:12", "nghttp2", until("1.52.0-1+deb12u1")),
        entry("Debian:12", "nginx", until("1.22.1-9+deb12u11")),
        upstream=["CVE-2023-44487"],
    )
    found = match_packages([deb("nghttp2", "1.52.0-1"), deb("nginx", "1.22.1-9")], Records(both))
    assert found.of(deb("nghttp2", "1.52.0-1"))[0].fixed_in == "1.52.0-1+deb12u1"
    assert found.of(deb("nginx", "1.22.1-9"))[0].fixed_in == "1.22.1-9+deb12u11"


def test_withdrawn_records_are_ignored() -> None:
    records = Records(
        record("PYSEC-1", entry("PyPI", "a", until("2")), withdrawn="2026-01-01T00:00:00Z")
    )
    assert ids(package("pypi", "a", "1"), records) == []


def test_records_of_one_vulnerability_become_one_finding() -> None:
    """Joined through aliases, also through a record that does not apply itself."""
    records = Records(
        record("PYSEC-1", entry("PyPI", "a", until("2.0")), aliases=["GHSA-1"]),
        record("GHSA-2", entry("PyPI", "a", until("2.1")), aliases=["CVE-2024-1"]),
        record("PYSEC-9", entry("PyPI", "a", until("0.1")), aliases=["GHSA-1", "CVE-2024-1"]),
    )
    [match] = match_package(package("pypi", "a", "1.0"), records)
    assert match.id == "CVE-2024-1"
    assert match.records == ("GHSA-2", "PYSEC-1")
    assert match.aliases == ("GHSA-1", "GHSA-2", "PYSEC-1")
    assert match.fixed_in == "2.1"
    assert match.evidence == (
        "GHSA-2: PyPI a 1.0 (introduced 0, fixed 2.1);"
        " PYSEC-1: PyPI a 1.0 (introduced 0, fixed 2.0)"
    )


def test_the_id_is_the_record_where_there_is_no_single_cve() -> None:
    two = record("GHSA-5", entry("PyPI", "a", until("2")), aliases=["CVE-2024-1", "CVE-2024-2"])
    none = record("PYSEC-5", entry("PyPI", "a", until("2")))
    assert ids(package("pypi", "a", "1"), Records(two, none)) == ["GHSA-5", "PYSEC-5"]


def test_a_record_that_is_itself_a_cve() -> None:
    records = Records(
        record("NSWG-ECO-1", entry("npm", "a", until("2.0.0")), aliases=["CVE-2016-1"]),
        record("CVE-2016-1", entry("npm", "a", until("2.0.0"))),
    )
    [match] = match_package(package("npm", "a", "1.0.0"), records)
    assert (match.id, match.records) == ("CVE-2016-1", ("CVE-2016-1", "NSWG-ECO-1"))


def test_an_erratum_does_not_melt_its_vulnerabilities_together() -> None:
    """It joins the findings that exist, and stands alone for what has none."""
    one = record("D-1", entry("Debian:12", "a", until("2")), upstream=["CVE-2024-1"])
    two = record("D-2", entry("Debian:12", "a", until("2")), upstream=["CVE-2024-2"])
    erratum = record(
        "DSA-1", entry("Debian:12", "a", until("2")), upstream=["CVE-2024-1", "CVE-2024-2"]
    )
    found = match_package(deb("a", "1"), Records(one, two, erratum))
    assert [(match.id, match.records) for match in found] == [
        ("CVE-2024-1", ("D-1", "DSA-1")),
        ("CVE-2024-2", ("D-2", "DSA-1")),
    ]
    alone = match_package(deb("a", "1"), Records(one, erratum))
    assert [match.id for match in alone] == ["CVE-2024-1", "DSA-1"]


@pytest.mark.parametrize(
    ("version", "fixed"), [("1.0", "1.5"), ("2.1", "2.5"), ("3.0", ""), ("2.5.1", "")]
)
def test_the_fix_is_that_of_the_installed_branch(version: str, fixed: str) -> None:
    events = [{"introduced": "0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"fixed": "2.5"},
              {"introduced": "3.0"}]  # fmt: skip
    records = Records(record("GHSA-1", entry("PyPI", "a", span(*events))))
    found = match_package(package("pypi", "a", version), records)
    assert [match.fixed_in for match in found] == ([] if version == "2.5.1" else [fixed])


def test_the_fix_satisfies_every_joined_record() -> None:
    """One record says fixed in 1.5, the other that 1.5 is affected until 1.6."""
    records = Records(
        record("GHSA-1", entry("PyPI", "a", until("1.5")), aliases=["CVE-2024-1"]),
        record("PYSEC-1", entry("PyPI", "a", until("1.6")), aliases=["CVE-2024-1"]),
    )
    assert match_package(package("pypi", "a", "1.0"), records)[0].fixed_in == "1.6"


def test_a_fix_is_shown_though_another_record_names_none() -> None:
    records = Records(
        record("GHSA-1", entry("PyPI", "a", until("1.5")), aliases=["CVE-2024-1"]),
        record("PYSEC-1", entry("PyPI", "a", span({"introduced": "0"})), aliases=["CVE-2024-1"]),
    )
    assert match_package(package("pypi", "a", "1.0"), records)[0].fixed_in == "1.5"


def test_an_odd_installed_version_is_a_warning() -> None:
    records = Records(record("PYSEC-1", entry("PyPI", "a", until("2.0"))))
    found = match_packages([package("pypi", "a", "1.0-NA-x")], records)
    assert not found.matches
    assert found.warnings == (
        "PyPI a 1.0-NA-x: could not be compared with PYSEC-1 (not a Python version: '1.0-NA-x')",
    )


def test_an_odd_bound_is_a_warning_unless_another_record_decides() -> None:
    odd = record("PYSEC-1", entry("PyPI", "a", until("2.9.0-NA")), aliases=["CVE-2024-1"])
    clear = record("GHSA-1", entry("PyPI", "a", until("0.5")), aliases=["CVE-2024-1"])
    item = package("pypi", "a", "1.0")
    assert "PYSEC-1" in match_packages([item], Records(odd)).warnings[0]
    assert match_packages([item], Records(odd, clear)).warnings == ()


def test_a_report_names_what_it_could_not_ask() -> None:
    records = Records(record("PYSEC-1", entry("PyPI", "a", until("2.0"))))
    report = match_inventory(
        inventory(package("pypi", "a", "1"), deb("zlib", "1"), deb("curl", "1", ""),
                  unreadable=("var/lib/dpkg/status",)),
        records,
    )  # fmt: skip
    assert not report.complete
    assert report.missing_ecosystems == ("Debian:12", "deb packages of an unknown release")
    assert report.warnings == (
        "the package database var/lib/dpkg/status cannot be read",
        "no advisories are loaded for Debian:12, so 1 package was not matched",
        "no advisories are loaded for deb packages of an unknown release, so 1 package was not"
        " matched",
    )
    assert report.intel_revision == "r1"
    assert [finding.match.id for finding in report.findings] == ["PYSEC-1"]


def test_a_report_without_advisories_is_incomplete() -> None:
    report = match_inventory(inventory(package("pypi", "a", "1")), None)
    assert not report.complete
    assert report.missing_ecosystems == ("PyPI",)


def test_owned_files_do_not_need_advisories() -> None:
    """A Debian image with Python from Debian alone needs no PyPI feed."""
    owned = package("pypi", "a", "1", position="owned")
    records = Records(covers=["Debian:12"])
    assert match_inventory(inventory(deb("zlib", "1"), owned), records).complete


def test_one_finding_per_advisory_purl_and_path() -> None:
    records = Records(record("PYSEC-1", entry("PyPI", "a", until("2.0"))))
    here, there = package("pypi", "a", "1", path="x"), package("pypi", "a", "1", path="y")
    report = match_inventory(inventory(here, here, there), records)
    assert [finding.package.path for finding in report.findings] == ["x", "y"]
