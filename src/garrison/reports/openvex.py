"""What was decided about the findings of a report, as OpenVEX 0.2.0.

Findings that nobody decided about are `under_investigation`: a scanner found them, and that is all
that is known. The document is a start for whoever decides, and `--vex` reads it back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from garrison import __version__
from garrison.findings import Decision, Finding, Match, ScanReport
from garrison.reports.subject import document_id, image_purl, timestamp

CONTEXT = "https://openvex.dev/ns/v0.2.0"


def as_openvex(report: ScanReport, now: datetime) -> dict[str, Any]:
    """One statement for each advisory and decision, about the packages in the image."""
    groups: dict[tuple[str, tuple[str, ...], Decision | None], list[Finding]] = {}
    for finding in (*report.findings, *report.suppressed):
        key = (finding.match.id, finding.match.aliases, finding.decision)
        groups.setdefault(key, []).append(finding)
    image = image_purl(report.inventory)
    body: dict[str, Any] = {
        "author": "garrison scan",
        "timestamp": timestamp(now),
        "version": 1,
        "tooling": f"garrison {__version__}",
        "statements": [
            _statement(group[0].match, decision, group, image)
            for (_, _, decision), group in groups.items()
        ],
    }
    return {"@context": CONTEXT, "@id": document_id(body).urn, **body}


def _statement(
    match: Match, decision: Decision | None, findings: list[Finding], image: str
) -> dict[str, Any]:
    vulnerability: dict[str, Any] = {"name": match.id}
    if match.url:
        vulnerability["@id"] = match.url
    if match.summary:
        vulnerability["description"] = match.summary
    if match.aliases:
        vulnerability["aliases"] = list(match.aliases)
    purls = list(dict.fromkeys(finding.package.purl for finding in findings))
    return {
        "vulnerability": vulnerability,
        "products": _products(image, purls),
        **_said(match, decision),
    }


def _products(image: str, purls: list[str]) -> list[dict[str, Any]]:
    """The image with the packages as its parts; without an address the packages themselves."""
    if not image:
        return [_component(purl) for purl in purls]
    return [{**_component(image), "subcomponents": [_component(purl) for purl in purls]}]


def _component(purl: str) -> dict[str, Any]:
    return {"@id": purl, "identifiers": {"purl": purl}}


def _said(match: Match, decision: Decision | None) -> dict[str, str]:
    if decision is None:
        return {"status": "under_investigation"}
    if decision.status == "accepted":
        until = f" until {decision.expires}" if decision.expires else ""
        reason = f": {decision.reason}" if decision.reason else ""
        return {"status": "affected", "action_statement": f"Accepted{until}{reason}"}
    found: dict[str, str] = {"status": decision.status}
    if decision.status == "affected":
        fix = f"Upgrade to {match.fixed_in} or later." if match.fixed_in else "No fix is known."
        found["action_statement"] = decision.reason or fix
    elif decision.status == "not_affected" and not _openvex_word(decision.justification):
        # Exactly one of the two may stand there.
        text = decision.reason or decision.justification.replace("_", " ") or "Not affected."
        found["impact_statement"] = text
    else:
        if decision.status == "not_affected":
            found["justification"] = _openvex_word(decision.justification)
        if decision.reason:
            found["status_notes"] = decision.reason
    return found


def _openvex_word(justification: str) -> str:
    """OpenVEX's word, also for CycloneDX's; empty where there is none."""
    from garrison.findings.vex import JUSTIFICATIONS

    return (
        justification if justification in JUSTIFICATIONS else _FROM_CYCLONEDX.get(justification, "")
    )


_FROM_CYCLONEDX = {
    "code_not_present": "vulnerable_code_not_present",
    "code_not_reachable": "vulnerable_code_not_in_execute_path",
    "protected_by_mitigating_control": "inline_mitigations_already_exist",
    "protected_at_runtime": "inline_mitigations_already_exist",
    "protected_at_perimeter": "inline_mitigations_already_exist",
    "protected_by_compiler": "inline_mitigations_already_exist",
}
