"""Findings counted by severity, and the line that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from garrison.findings import Decision, Finding, ScanReport, Severity

WORST_FIRST = tuple(sorted(Severity, reverse=True))


def summarize(findings: Iterable[Finding]) -> dict[str, int]:
    """Counts by severity, worst first; all five always present, `unknown` too."""
    counts = Counter(finding.match.severity for finding in findings)
    return {severity.label: counts[severity] for severity in WORST_FIRST}


def summary_line(report: ScanReport) -> str:
    """One line. A report that is incomplete never reads as a clean one."""
    total = len(report.findings)
    packages = len(report.inventory.packages)
    if report.complete and not total and report.suppressed:
        return (
            f"Nothing that counts in {count(packages, 'package')}:"
            f" {count(len(report.suppressed), 'finding')} not counted by decision."
        )
    if not report.complete:
        found = f"{count(total, 'finding')}{_by_severity(report)}" if total else "No findings"
        return f"INCOMPLETE: {found} in what could be matched; this is no clean report."
    if not total:
        return f"No known vulnerabilities in {count(packages, 'package')}."
    return f"{count(total, 'finding')} in {count(packages, 'package')}{_by_severity(report)}."


def decision_text(decision: Decision) -> str:
    """What was decided, by whom and why, in one line."""
    what = decision.status.replace("_", " ")
    why = [part for part in (decision.justification.replace("_", " "), decision.reason) if part]
    text = f"{what}: {'; '.join(why)}" if why else what
    by = f" ({decision.source})" if decision.source else ""
    return f"{text}{by}, until {decision.expires}" if decision.expires else f"{text}{by}"


def _by_severity(report: ScanReport) -> str:
    counts = summarize(report.findings)
    unknown = counts.pop(Severity.UNKNOWN.label)
    parts = [f"{count} {label}" for label, count in counts.items() if count]
    if unknown:
        parts.append(f"{unknown} of UNKNOWN severity (no loaded record rates them)")
    return ": " + ", ".join(parts)


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    if number == 1:
        return f"{number:,} {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("ry") else f"{number:,} {noun}s"
