"""The order of findings, and that it explains itself."""

from __future__ import annotations

from garrison.advisories import Epss, Kev
from garrison.findings import Match, Severity
from garrison.findings.ranking import percent, rank, reasons

KEV = Kev("2024-06-12", "2024-07-03", False, "", "")


def match(
    severity: Severity, score: float | None = None, kev: bool = False, fix: str = ""
) -> Match:
    return Match(
        "CVE-1", (), severity, "", (), fix, "", (),
        epss=Epss(score, 0.5) if score else None, kev=KEV if kev else None, exploited=kev,
    )  # fmt: skip


def test_severity_then_exploited_then_likely_then_fixable() -> None:
    ordered = [
        match(Severity.CRITICAL),
        match(Severity.HIGH, 0.01, kev=True),
        match(Severity.HIGH, 0.9),
        match(Severity.HIGH, 0.1, fix="2"),
        match(Severity.HIGH, 0.1),
        match(Severity.HIGH),
        match(Severity.LOW, 0.99, kev=True),
        match(Severity.UNKNOWN, 0.99, kev=True),
    ]
    ranks = [rank(item) for item in ordered]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(ranks)


def test_the_place_is_explained_in_the_order_that_decides_it() -> None:
    assert reasons(match(Severity.HIGH, 0.9713, kev=True, fix="2.1")) == (
        "high",
        "known to be exploited since 2024-06-12",
        "exploitation within 30 days 97 % likely",
        "fixed in 2.1",
    )
    assert reasons(match(Severity.UNKNOWN)) == ("severity unknown", "no fix yet")


def test_scores_as_people_read_them() -> None:
    assert [percent(s) for s in (0.00043, 0.0067, 0.0999, 0.1, 1.0)] == [
        "< 0.1 %", "0.7 %", "10.0 %", "10 %", "100 %",
    ]  # fmt: skip
