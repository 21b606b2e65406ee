"""Which findings become an alert."""

from __future__ import annotations

import pytest

from garrison.alerts import alert_for
from garrison.findings.finding import Severity
from tests.unit.alerts.samples import IMAGE, NOW, finding

S = Severity


@pytest.mark.parametrize(
    ("threshold", "severities", "told"),
    [
        (S.HIGH, [S.MEDIUM, S.LOW, S.UNKNOWN], []),
        (S.HIGH, [S.HIGH, S.CRITICAL, S.LOW], [S.CRITICAL, S.HIGH]),
        (S.LOW, [S.UNKNOWN, S.LOW], [S.LOW]),
        (S.CRITICAL, [S.HIGH], []),
        (S.HIGH, [], []),
    ],
)
def test_threshold(threshold: Severity, severities: list[Severity], told: list[Severity]) -> None:
    """A severity that is not known is not above anything; it is counted in the message."""
    fresh = [finding(f"CVE-{i}", severity) for i, severity in enumerate(severities)]

    alert = alert_for(IMAGE, threshold, fresh, {S.UNKNOWN: 7}, NOW)

    assert [f.match.severity for f in alert.findings] == told if alert else told == []
    if alert:
        assert alert.counts[S.UNKNOWN] == 7
        assert alert.worst is told[0]


def test_the_worst_and_repairable_come_first() -> None:
    fresh = [
        finding("CVE-A", S.HIGH, score=7.1),
        finding("CVE-B", S.HIGH, score=8.8, fixed_in=""),
        finding("CVE-C", S.CRITICAL, score=9.1),
        finding("CVE-D", S.HIGH, score=8.8),
    ]

    alert = alert_for(IMAGE, S.HIGH, fresh, {}, NOW)

    assert alert is not None
    assert [f.match.id for f in alert.findings] == ["CVE-C", "CVE-D", "CVE-B", "CVE-A"]
    assert alert.fresh_by_severity() == {S.CRITICAL: 1, S.HIGH: 3}
