"""Waivers: what they cover, until when, and how a file says so."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.errors import InvalidSettingError
from garrison.findings import ScanReport, Severity, match_inventory
from garrison.findings.policy import (
    Waiver,
    apply_waivers,
    end_of,
    exceeds,
    fits,
    parse_waivers,
)
from garrison.packages import Inventory, OperatingSystem
from tests.unit.advisories.records import cvss, entry, record, until
from tests.unit.findings.lookup import Records, deb, package

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def report(reference: str = "docker.io/library/shop:1") -> ScanReport:
    """Two findings: CVE-2024-1 in openssl (binary libssl3), PYSEC-2 in requests."""
    os = OperatingSystem("debian", "12")
    items = (
        deb("openssl", "3.0.1-1", binary="libssl3"),
        package("pypi", "requests", "2.0", path="app"),
    )
    return match_inventory(
        Inventory(reference, "sha256:1", "linux/amd64", os, (), items),
        Records(
            record("DEBIAN-CVE-2024-1", entry("Debian:12", "openssl", until("9")),
                   upstream=["CVE-2024-1"]),
            record("PYSEC-2", entry("PyPI", "requests", until("9")), aliases=["GHSA-2-a"],
                   severity=cvss(CRITICAL)),
        ),
    )  # fmt: skip


def left(waiver: Waiver, reference: str = "docker.io/library/shop:1") -> list[str]:
    return [f.match.id for f in apply_waivers(report(reference), [waiver], NOW).findings]


@pytest.mark.parametrize(
    "waiver",
    [
        Waiver("CVE-2024-1"),
        Waiver("cve-2024-1"),
        Waiver("DEBIAN-CVE-2024-1"),
        Waiver(package="openssl"),
        Waiver(package="libssl*"),
        Waiver(package="pkg:deb/*"),
        Waiver("CVE-2024-1", package="openssl", image="*shop:?"),
        Waiver("CVE-2024-1", image="docker.io/library/shop:1"),
        Waiver("CVE-2024-1", image="shop:*"),
    ],
)
def test_a_waiver_covers_what_it_names(waiver: Waiver) -> None:
    assert left(waiver) == ["PYSEC-2"]


@pytest.mark.parametrize(
    "waiver",
    [
        Waiver("CVE-2024-10"),
        Waiver("CVE-2024"),
        Waiver("CVE-2024-1", package="requests"),
        Waiver("CVE-2024-1", image="registry.test/*"),
        Waiver("CVE-2024-1", image="shop"),
        Waiver(package="ssl"),
    ],
)
def test_a_waiver_covers_nothing_else(waiver: Waiver) -> None:
    assert left(waiver) == ["PYSEC-2", "CVE-2024-1"]


def test_what_is_waived_stays_in_the_report_with_its_reason() -> None:
    waiver = Waiver("GHSA-2-a", reason="only in tests", expires=end_of("2026-12-31"), source="f")
    after = apply_waivers(report(), [waiver], NOW)
    [waived] = after.suppressed
    assert waived.match.id == "PYSEC-2"
    assert waived.decision is not None
    assert waived.decision.suppresses
    assert (waived.decision.kind, waived.decision.reason) == ("waiver", "only in tests")
    assert waived.decision.expires == "2027-01-01T00:00:00Z"
    assert exceeds(report(), Severity.CRITICAL)
    assert not exceeds(after, Severity.CRITICAL)


def test_an_expired_waiver_is_said_aloud_and_covers_nothing() -> None:
    old = Waiver("CVE-2024-1", reason="r", expires=end_of("2026-11-23"), source="w.toml, waiver 1")
    other = Waiver("CVE-1999-1", reason="r", expires=end_of("2026-11-23"), source="w.toml")
    after = apply_waivers(report(), [old, other], NOW)
    assert len(after.findings) == 2
    assert after.warnings == (
        "the waiver for CVE-2024-1 expired on 2026-11-23: 1 finding counts again"
        " (w.toml, waiver 1)",
        "1 waiver for nothing in this image expired: remove or renew them",
    )
    renewed = Waiver("CVE-2024-1", reason="r", expires=end_of("2026-11-24"))
    assert len(apply_waivers(report(), [old, renewed], NOW).suppressed) == 1


def test_a_waiver_holds_to_the_end_of_its_day() -> None:
    waiver = Waiver("X-1", expires=end_of("2026-11-24"))
    assert not waiver.expired(datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC))
    assert waiver.expired(datetime(2026, 11, 25, tzinfo=UTC))
    assert end_of("2026-11-24T12:00:00+02:00") == datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_tables() -> None:
    text = """
    [[waiver]]
    id = "CVE-2024-1"
    package = "openssl"
    image = "registry.corp.test/*"
    reason = "not reachable"
    expires = 2026-12-31

    [[waiver]]
    package = "pkg:npm/*"
    reason = "dev only"
    expires = "2026-12-31T10:00:00Z"
    """
    first, second = parse_waivers(text, "w.toml")
    assert first == Waiver(
        "CVE-2024-1", "openssl", "registry.corp.test/*", "not reachable",
        datetime(2027, 1, 1, tzinfo=UTC), "w.toml, waiver 1",
    )  # fmt: skip
    assert second.expires == datetime(2026, 12, 31, 10, tzinfo=UTC)


def test_plain_lines() -> None:
    text = "# accepted\n\nCVE-2024-1\nGHSA-2-a exp:2026-12-31  # only in tests\nRHSA-2024:1510\n"
    found = parse_waivers(text, "i")
    assert [(w.id, w.reason, w.source) for w in found] == [
        ("CVE-2024-1", "", "i, line 3"),
        ("GHSA-2-a", "only in tests", "i, line 4"),
        ("RHSA-2024:1510", "", "i, line 5"),
    ]
    assert [w.expires for w in found] == [None, datetime(2027, 1, 1, tzinfo=UTC), None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CVE-2024-1 forever", "i, line 1: not an advisory's id"),
        ("*", "i, line 1: not an advisory's id"),
        ("CVE-2024-1 exp:soon", "i, line 1: expires is no date: 'soon'"),
        ("[[waiver]]\nid = 'A-1'\nreason = 'r'", "waiver 1: expires is missing"),
        ("[[waiver]]\nid = 'A-1'\nexpires = 2026-12-31", "waiver 1: the reason is missing"),
        ("[[waiver]]\nreason = 'r'\nexpires = 2026-12-31", "waive everything"),
        ("[[waiver]]\nid = 'A-1'\nresaon = 'r'", "there is no field 'resaon'"),
        ("[[waiver]]\nid = 1\nreason = 'r'", "id must be text"),
        ("[[waiver]]\nid = 'A-1'\nreason = 'r'\nexpires = 7", "expires is no date: '7'"),
        ("[[waiver]]\nid =", "i: "),
        ("[[waiver]]\n[other]\n", "only tables called [[waiver]] belong there"),
        ("[waiver]\nid = 'A-1'", "only tables called [[waiver]] belong there"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSettingError) as refused:
        parse_waivers(text, "i")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True), ("a*c", "abc", True), ("a*c", "ac", True), ("a*c", "acd", False),
        ("?", "a", True), ("?", "", False), ("A", "a", True), ("a.c", "abc", False),
        ("a**b*", "axxb", True), ("[a]", "a", False), ("*ab", "aab", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, text: str, expected: bool) -> None:
    assert fits(pattern, text) is expected


def test_a_hostile_pattern_takes_no_time() -> None:
    began = time.monotonic()
    assert not fits("a*" * 400 + "b", "a" * 1000)
    assert time.monotonic() - began < 5


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_patterns_equal_the_definition(pattern: str, text: str) -> None:
    def definition(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return definition(p[1:], t) or (bool(t) and definition(p, t[1:]))
        return bool(t) and p[0] in ("?", t[0]) and definition(p[1:], t[1:])

    assert fits(pattern, text) == definition(pattern, text)
