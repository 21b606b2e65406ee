"""Findings → alert: which of them somebody is told about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from garrison.findings.finding import Finding, Severity


@dataclass(frozen=True, slots=True)
class AlertImage:
    """The image an alert is about. os: its pretty name, or empty."""

    reference: str
    digest: str
    platform: str
    os: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """What one message says.

    findings: those told for the first time, worst first; never empty. counts: of every finding of
    the image by severity, also those below the threshold and those of unknown severity.
    warnings: why the counts may be too low.
    """

    image: AlertImage
    threshold: Severity
    findings: tuple[Finding, ...]
    counts: Mapping[Severity, int]
    at: datetime
    warnings: tuple[str, ...] = ()

    @property
    def worst(self) -> Severity:
        return self.findings[0].match.severity

    def fresh_by_severity(self) -> dict[Severity, int]:
        """How many of `findings` have each severity, worst first, without zeros."""
        counted = Counter(f.match.severity for f in self.findings)
        return {s: counted[s] for s in sorted(counted, reverse=True)}


def alert_for(
    image: AlertImage,
    threshold: Severity,
    fresh: Iterable[Finding],
    counts: Mapping[Severity, int],
    at: datetime,
    warnings: tuple[str, ...] = (),
) -> Alert | None:
    """The alert for findings not told before, or None when none reaches the threshold.

    fresh: findings of the image that this profile was not told of yet.
    """
    told = tuple(sorted((f for f in fresh if f.match.severity >= threshold), key=_worst_first))
    if not told:
        return None
    return Alert(image, threshold, told, dict(counts), at, warnings)


def _worst_first(finding: Finding) -> tuple[int, float, bool, str, str]:
    score = max((c.score for c in finding.match.cvss), default=0.0)
    return (
        -finding.match.severity,
        -score,
        not finding.match.fixed_in,
        finding.package.name,
        finding.match.id,
    )
