"""A report as SARIF 2.1.0, as code scanning services read it.

Source: OASIS SARIF 2.1.0; GitHub Docs, "SARIF support for code scanning": what it needs of rules
and locations, its limits, and `security-severity`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from garrison import __version__
from garrison.findings import Finding, Match, ScanReport, Severity, full_name
from garrison.findings.severity import severity_of_score
from garrison.packages import Inventory
from garrison.reports.subject import is_project
from garrison.reports.summary import decision_text, summary_line

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MAX_RESULTS = 25_000
"""GitHub refuses a file with more."""

_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    # Nobody said that it is harmless.
    Severity.UNKNOWN: "warning",
}
# A score inside the band that code scanning names by the same word, where the severity did not
# come from a score. None for unknown: any number would be made up.
_SCORES = {
    Severity.CRITICAL: 9.5,
    Severity.HIGH: 8.0,
    Severity.MEDIUM: 5.5,
    Severity.LOW: 2.0,
}
_IMAGE = "IMAGE"
_PROJECT = "%SRCROOT%"
"""The name that code scanning knows for the root of what was checked out."""


def as_sarif(report: ScanReport) -> dict[str, Any]:
    """The report as one SARIF log. Suppressed findings stand in it, marked as such."""
    findings = [*report.findings, *report.suppressed]
    shown = findings[:MAX_RESULTS]
    rules = _rules(shown)
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    inventory = report.inventory
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "Garrison",
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": rules,
                    }
                },
                # What uploads of several images of one commit are told apart by.
                "automationDetails": {"id": f"garrison/{inventory.reference}/"},
                "invocations": [_invocation(report, len(findings) - len(shown))],
                "originalUriBaseIds": {
                    _base(inventory): {
                        "description": {"text": f"The root of {inventory.reference}"}
                    }
                },
                "columnKind": "utf16CodeUnits",
                "properties": {
                    "image": inventory.reference,
                    "digest": inventory.digest,
                    "platform": inventory.platform,
                    "advisories": report.intel_revision,
                    "complete": report.complete,
                },
                "results": [
                    _result(finding, index, _base(inventory), bool(report.suppressed))
                    for finding in shown
                ],
            }
        ],
    }


def _rules(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One rule for each advisory, in the order of its first finding."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.match.id, []).append(finding)
    return [_rule(group) for group in groups.values()]


def _rule(findings: Sequence[Finding]) -> dict[str, Any]:
    worst = max(findings, key=lambda finding: (finding.match.severity, _score(finding.match) or 0))
    match = worst.match
    packages = sorted({full_name(finding.package) for finding in findings})
    title = match.summary or f"Vulnerability in {', '.join(packages[:5])}"
    rule: dict[str, Any] = {
        "id": match.id,
        "name": "VulnerablePackage",
        "shortDescription": {"text": _sentence(f"{match.id}: {title}")},
        "fullDescription": {"text": _sentence(title)},
        "defaultConfiguration": {"level": _LEVELS[match.severity]},
        "help": {"text": _help(match, packages), "markdown": _markdown(match, packages)},
        "properties": {
            "tags": [
                "security",
                "vulnerability",
                match.severity.label,
                *(["exploited"] if match.kev else []),
            ],
            "precision": "very-high",
        },
    }
    if match.url:
        rule["helpUri"] = match.url
    if (score := _score(match)) is not None:
        rule["properties"]["security-severity"] = f"{score:.1f}"
    return rule


def _score(match: Match) -> float | None:
    """A number that says the same as the severity: the best vector's where it does."""
    for cvss in match.cvss:
        if cvss.score > 0 and severity_of_score(cvss.score) is match.severity:
            return cvss.score
    return _SCORES.get(match.severity)


def _help(match: Match, packages: Sequence[str]) -> str:
    lines = [
        f"Advisory: {match.id}",
        f"Also known as: {', '.join(match.aliases) or '-'}",
        f"Severity: {match.severity.label} ({match.severity_source or 'no record rates it'})",
        f"Packages: {', '.join(packages)}",
        f"Fixed in: {match.fixed_in or 'no version yet'}",
    ]
    return "\n".join([*lines, match.url] if match.url else lines)


def _markdown(match: Match, packages: Sequence[str]) -> str:
    rows = [
        ("Also known as", ", ".join(match.aliases) or "-"),
        ("Severity", f"{match.severity.label} ({match.severity_source or 'no record rates it'})"),
        ("Packages", ", ".join(packages)),
        ("Fixed in", match.fixed_in or "no version yet"),
    ]
    title = f"[{match.id}]({match.url})" if match.url else match.id
    table = "\n".join(f"| {name} | {_cell(text)} |" for name, text in rows)
    return f"**{title}**\n\n| | |\n| --- | --- |\n{table}\n"


def _cell(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*_[]<>" else char for char in text)


def _base(inventory: Inventory) -> str:
    return _PROJECT if is_project(inventory) else _IMAGE


def _result(finding: Finding, index: dict[str, int], base: str, all_say: bool) -> dict[str, Any]:
    package, match = finding.package, finding.match
    name = full_name(package)
    fix = f"Fixed in {match.fixed_in}." if match.fixed_in else "No fixed version is known."
    uri = quote(package.path or name, safe="/")
    result: dict[str, Any] = {
        "ruleId": match.id,
        "ruleIndex": index[match.id],
        "level": _LEVELS[match.severity],
        "message": {
            "text": f"{name} {package.version} is affected by {match.id}"
            f" ({match.severity.label} severity). {fix}"
        },
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri, "uriBaseId": base},
                    "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1},
                },
                "logicalLocations": [
                    {"name": name, "fullyQualifiedName": package.purl, "kind": "package"}
                ],
                "message": {"text": f"{name} {package.version}"},
            }
        ],
        "partialFingerprints": _fingerprints(finding),
        "properties": {
            "purl": package.purl,
            "version": package.version,
            "fixedIn": match.fixed_in,
            "layer": package.layer or package.diff_id,
            "position": package.position,
            "evidence": match.evidence,
        },
    }
    if match.epss:
        result["properties"]["epss"] = match.epss.score
    if match.kev:
        result["properties"]["exploitedSince"] = match.kev.added
    if finding.decision is not None:
        result["properties"]["decision"] = finding.decision.status
    if all_say:
        # When one result says so, each has to (SARIF 3.27.23).
        result["suppressions"] = list(_suppressions(finding))
    return result


def _fingerprints(finding: Finding) -> dict[str, str]:
    """The same for the same vulnerability at the same place, whatever image, layer or version.

    `primaryLocationLineHash` is the only one that GitHub reads.
    """
    package = finding.package
    parts = (finding.match.id, package.type, full_name(package), package.arch, package.path)
    value = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return {"primaryLocationLineHash": f"{value}:1", "garrison/v1": value}


def _suppressions(finding: Finding) -> Iterable[dict[str, Any]]:
    if finding.decision is not None and finding.decision.suppresses:
        yield {
            "kind": "external",
            "status": "accepted",
            "justification": decision_text(finding.decision),
        }


def _invocation(report: ScanReport, left_out: int) -> dict[str, Any]:
    notes = [("warning", warning) for warning in report.warnings]
    notes += [
        ("warning", f"{item.path}: {item.reason} ({item.code})")
        for item in report.inventory.skipped
    ]
    if left_out:
        notes.append(("error", f"{left_out} results are left out: {MAX_RESULTS} at most"))
    if not report.complete:
        notes.append(("error", summary_line(report)))
    return {
        "executionSuccessful": report.complete,
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": text}} for level, text in notes
        ],
    }


def _sentence(text: str) -> str:
    text = " ".join(text.split())[:1000]
    return text if text.endswith((".", "!", "?")) else f"{text}."
