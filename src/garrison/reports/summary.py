"""Findings counted by severity, and the line that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from garrison.findings import Finding, ScanReport, Severity

WORST_FIRST = tuple(sorted(Severity, reverse=True))


def summarize(findings: Iterable[Finding]) -> dict[str, int]:
    """Counts by severity, worst first; all five always present, `unknown` too."""
    counts = Counter(finding.match.severity for finding in findings)
    return {severity.label: counts[severity] for severity in WORST_FIRST}


def summary_line(report: ScanReport) -> str:
    """One line. A report that is incomplete never reads as a clean one."""
    total = len(report.findings)
    packages = len(report.inventory.packages)
    if not report.complete:
        found = f"{_count(total, 'finding')}{_by_severity(report)}" if total else "No findings"
        return f"INCOMPLETE: {found} in what could be matched; this is no clean report."
    if not total:
        return f"No known vulnerabilities in {_count(packages, 'package')}."
    return f"{_count(total, 'finding')} in {_count(packages, 'package')}{_by_severity(report)}."


def _by_severity(report: ScanReport) -> str:
    counts = summarize(report.findings)
    unknown = counts.pop(Severity.UNKNOWN.label)
    parts = [f"{count} {label}" for label, count in counts.items() if count]
    if unknown:
        parts.append(f"{unknown} of UNKNOWN severity (no loaded record rates them)")
    return ": " + ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
