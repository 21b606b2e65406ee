"""How bad a finding is, and who says so."""

from __future__ import annotations

import pytest

from garrison.advisories import CveFacts, Epss, Kev, Rating
from garrison.findings import Match, Severity, match_package
from garrison.findings.severity import score, severity_of_score
from tests.unit.advisories.records import Json, cvss, entry, record, until
from tests.unit.findings.lookup import Records, deb, package

V2 = "AV:N/AC:L/Au:N/C:P/I:P/A:P"  # 7.5
V30 = "CVSS:3.0/AV:L/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N"  # 3.3
V31 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"  # 9.8
V4 = "CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"  # 5.4


def only(*records: Json, distro: str = "") -> Match:
    item = deb("a", "1", distro) if distro else package("pypi", "a", "1")
    [match] = match_package(item, Records(*records))
    return match


def pysec(id: str, *ratings: Json, **more: object) -> Json:
    return record(id, entry("PyPI", "a", until("2")), severity=list(ratings), **more)


def debian(**entry_more: object) -> Json:
    return record(
        "DEBIAN-CVE-2024-1",
        entry("Debian:12", "a", until("2"), **entry_more),
        upstream=["CVE-2024-1"],
    )


def test_a_newer_version_of_cvss_wins_over_a_higher_score() -> None:
    match = only(pysec("PYSEC-1", *cvss(V31), *cvss(V4), {"type": "CVSS_V2", "score": V2}))
    assert (match.severity, match.severity_source) == (Severity.MEDIUM, "PYSEC-1 CVSS:4.0")
    assert [item.score for item in match.cvss] == [5.4, 9.8, 7.5]


def test_the_higher_of_two_equal_kinds_wins() -> None:
    match = only(pysec("PYSEC-1", *cvss(V30), *cvss(V31)))
    assert (match.severity, match.severity_source) == (Severity.CRITICAL, "PYSEC-1 CVSS:3.1")


def test_version_2_knows_no_critical() -> None:
    match = only(pysec("PYSEC-1", {"type": "CVSS_V2", "score": V2}))
    assert (match.severity, match.severity_source) == (Severity.HIGH, "PYSEC-1 CVSS:2.0")
    assert severity_of_score(10.0, 2) is Severity.HIGH


def test_a_distribution_record_takes_the_vector_of_a_record_that_shares_its_cve() -> None:
    """And says whose it is: the distribution did not rate it."""
    match = only(
        debian(ecosystem_specific={"urgency": "not yet assigned"}),
        record("GHSA-x", entry("PyPI", "other", until("1")), aliases=["CVE-2024-1"],
               severity=cvss(V31)),
        distro="Debian:12",
    )  # fmt: skip
    assert (match.severity, match.severity_source) == (Severity.CRITICAL, "GHSA-x CVSS:3.1")
    assert match.records == ("DEBIAN-CVE-2024-1",)


def test_the_distributions_own_rating_comes_first() -> None:
    match = only(
        debian(ecosystem_specific={"urgency": "low**"}),
        record("GHSA-x", entry("PyPI", "o", until("1")), aliases=["CVE-2024-1"],
               severity=cvss(V31)),
        distro="Debian:12",
    )  # fmt: skip
    assert match.severity is Severity.LOW
    assert match.severity_source == "DEBIAN-CVE-2024-1 urgency: low**"
    assert [item.score for item in match.cvss] == [9.8]


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("unimportant", Severity.LOW), ("medium", Severity.MEDIUM), ("high", Severity.HIGH),
        ("end-of-life", Severity.UNKNOWN), ("not yet assigned", Severity.UNKNOWN),
    ],
)  # fmt: skip
def test_debian_urgencies(word: str, severity: Severity) -> None:
    """A package without support in this release is still affected: it is shown, unrated."""
    match = only(debian(ecosystem_specific={"urgency": word}), distro="Debian:12")
    assert match.severity is severity


def test_ubuntu_priorities_are_ratings_of_the_distribution() -> None:
    match = only(
        record("UBUNTU-CVE-2024-1", entry("Ubuntu:22.04:LTS", "a", until("2"),
               severity=[{"type": "Ubuntu", "score": "negligible"}])),
        distro="Ubuntu:22.04:LTS",
    )  # fmt: skip
    assert (match.severity, match.severity_source) == (
        Severity.LOW,
        "UBUNTU-CVE-2024-1 Ubuntu: negligible",
    )


def test_a_record_about_one_vulnerability_outweighs_one_about_many() -> None:
    many = record("DSA-1", entry("PyPI", "x", until("1")),
                  upstream=["CVE-2024-1", "CVE-2024-2"], severity=cvss(V31))  # fmt: skip
    one = record("GHSA-1", entry("PyPI", "y", until("1")), aliases=["CVE-2024-1"],
                 severity=cvss(V30))  # fmt: skip
    assert only(debian(), many, one, distro="Debian:12").severity is Severity.LOW
    assert only(debian(), many, distro="Debian:12").severity is Severity.CRITICAL


def test_withdrawn_records_rate_nothing() -> None:
    gone = record("GHSA-1", entry("PyPI", "y", until("1")), aliases=["CVE-2024-1"],
                  severity=cvss(V31), withdrawn="2026-01-01T00:00:00Z")  # fmt: skip
    match = only(debian(), gone, distro="Debian:12")
    assert (match.severity, match.severity_source) == (Severity.UNKNOWN, "")


def test_words_and_bare_scores_are_better_than_nothing() -> None:
    word = only(pysec("PYSEC-1", database_specific={"severity": "MODERATE"}))
    assert (word.severity, word.severity_source) == (
        Severity.MEDIUM,
        "PYSEC-1 severity: MODERATE",
    )
    bare = only(pysec("PYSEC-1", database_specific={"cvss_v2": "9.5", "cvss_v3": "9.1"}))
    assert (bare.severity, bare.severity_source) == (Severity.CRITICAL, "PYSEC-1 cvss_v3: 9.1")
    assert bare.cvss == ()


@pytest.mark.parametrize(
    "vector", ["", "CVSS:3.1/", "CVSS:9.9/AV:N", "CVSS:4.0/AV:N", "AV:N", "high", "CVSS:3.1/AV:X"]
)
def test_broken_vectors_are_no_rating(vector: str) -> None:
    assert score(vector) is None
    assert only(pysec("PYSEC-1", {"type": "CVSS_V3", "score": vector})).severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    ("points", "severity"),
    [(0.0, "low"), (3.9, "low"), (4.0, "medium"), (6.9, "medium"), (7.0, "high"), (8.9, "high"),
     (9.0, "critical"), (10.0, "critical")],
)  # fmt: skip
def test_bands_of_scores(points: float, severity: str) -> None:
    assert severity_of_score(points).label == severity


def rated(*vectors: str, id: str = "CVE-2024-1", source: str = "NVD") -> CveFacts:
    return CveFacts(id, ratings=tuple(Rating(f"CVSS_V{v[5]}", v) for v in vectors), source=source)


def test_a_feed_of_cves_rates_what_no_record_rates() -> None:
    [match] = match_package(deb("a", "1"), Records(debian(), facts=[rated(V30, V31)]))
    assert (match.severity, match.severity_source) == (
        Severity.CRITICAL,
        "NVD CVE-2024-1 CVSS:3.1",
    )
    assert [item.score for item in match.cvss] == [9.8, 3.3]


def test_a_feed_of_cves_says_nothing_where_a_record_has_a_vector() -> None:
    ghsa = record("GHSA-x", entry("PyPI", "o", until("1")), aliases=["CVE-2024-1"],
                  severity=cvss(V30))  # fmt: skip
    [match] = match_package(deb("a", "1"), Records(debian(), ghsa, facts=[rated(V31)]))
    assert match.severity_source == "GHSA-x CVSS:3.0"
    own = debian(ecosystem_specific={"urgency": "low"})
    [match] = match_package(deb("a", "1"), Records(own, facts=[rated(V31)]))
    assert match.severity is Severity.LOW
    assert [item.score for item in match.cvss] == [9.8]


def test_a_vector_of_a_feed_outweighs_a_mere_word() -> None:
    word = record("PYSEC-1", entry("PyPI", "a", until("2")), aliases=["CVE-2024-1"],
                  database_specific={"severity": "LOW"})  # fmt: skip
    [match] = match_package(package("pypi", "a", "1"), Records(word, facts=[rated(V31)]))
    assert match.severity is Severity.CRITICAL
    [match] = match_package(package("pypi", "a", "1"), Records(word, facts=[rated()]))
    assert match.severity is Severity.LOW


def test_exploitation_is_the_worst_of_what_is_known_of_its_cves() -> None:
    two = record("GHSA-1", entry("PyPI", "a", until("2")), aliases=["CVE-2024-1", "CVE-2024-2"])
    kev = Kev("2024-06-12", "2024-07-03", True, "a", "update")
    facts = [
        CveFacts("CVE-2024-1", epss=Epss(0.1, 0.5)),
        CveFacts("CVE-2024-2", epss=Epss(0.4, 0.9), kev=kev),
        CveFacts("CVE-2024-3", epss=Epss(0.9, 1.0)),
    ]
    [match] = match_package(package("pypi", "a", "1"), Records(two, facts=facts))
    assert (match.epss, match.kev, match.exploited) == (Epss(0.4, 0.9), kev, True)


def test_not_listed_is_said_only_where_a_catalogue_is_loaded() -> None:
    other = CveFacts("CVE-1999-1", kev=Kev("", "", False, "", ""))
    [match] = match_package(deb("a", "1"), Records(debian(), facts=[other]))
    assert match.exploited is False
    [match] = match_package(deb("a", "1"), Records(debian()))
    assert match.exploited is None
