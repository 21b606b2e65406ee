"""A report, or the packages alone, as CycloneDX 1.6 JSON.

Source: cyclonedx.org, schema 1.6 and "Authoritative Guide to SBOM"; the property names
`aquasecurity:trivy:…` are those by which other scanners find source packages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from garrison import __version__
from garrison.findings import Decision, Finding, Match, ScanReport, Severity
from garrison.findings.severity import severity_of_score
from garrison.packages import Inventory, Package
from garrison.reports.subject import (
    document_id,
    facts,
    image_purl,
    is_project,
    os_version,
    references,
    timestamp,
)

_ROOT = "image"
_OS = "os"
_STATES = {
    "affected": "exploitable",
    "under_investigation": "in_triage",
    "not_affected": "not_affected",
    "fixed": "resolved",
    # Accepted is not "not affected": it stays exploitable, and somebody said they will not fix.
    "accepted": "exploitable",
}
# CycloneDX has other words for some of VEX's justifications.
JUSTIFICATIONS = {
    "component_not_present": "code_not_present",
    "vulnerable_code_not_present": "code_not_present",
    "vulnerable_code_not_in_execute_path": "code_not_reachable",
    "vulnerable_code_cannot_be_controlled_by_adversary": "requires_environment",
    "inline_mitigations_already_exist": "protected_by_mitigating_control",
}
_WORDS = frozenset(
    {"code_not_present", "code_not_reachable", "requires_configuration", "requires_dependency",
     "requires_environment", "protected_by_compiler", "protected_at_runtime",
     "protected_at_perimeter", "protected_by_mitigating_control"}
)  # fmt: skip


def as_cyclonedx(
    report: ScanReport, now: datetime, *, packages_only: bool = False
) -> dict[str, Any]:
    """The bill of materials; with vulnerabilities unless it is for the packages alone."""
    inventory = report.inventory
    names = references(inventory.packages)
    body: dict[str, Any] = {
        "metadata": {
            "timestamp": timestamp(now),
            "tools": {
                "components": [{"type": "application", "name": "garrison", "version": __version__}]
            },
            "component": _image(inventory),
            **({"properties": _notes(report)} if _notes(report) else {}),
        },
        "components": [
            *_os(inventory),
            *(
                _component(package, name)
                for package, name in zip(inventory.packages, names, strict=True)
            ),
        ],
        "dependencies": _dependencies(inventory, names),
    }
    if not packages_only:
        by_package = dict(zip(inventory.packages, names, strict=True))
        findings = [*report.findings, *report.suppressed]
        body["vulnerabilities"] = _vulnerabilities(findings, by_package)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": document_id(body).urn,
        "version": 1,
        **body,
    }


def _image(inventory: Inventory) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "application" if is_project(inventory) else "container",
        "bom-ref": _ROOT,
        "name": inventory.reference,
    }
    if inventory.digest:
        component["version"] = inventory.digest
        algorithm, _, value = inventory.digest.partition(":")
        component["hashes"] = [{"alg": algorithm.upper().replace("SHA", "SHA-"), "content": value}]
    if name := image_purl(inventory):
        component["purl"] = name
    properties = [("platform", inventory.platform)] if inventory.platform else []
    properties += [
        ("layer", f"{layer.digest} {layer.diff_id}".strip()) for layer in inventory.layers
    ]
    if properties:
        component["properties"] = _properties(properties)
    return component


def _os(inventory: Inventory) -> Iterable[dict[str, Any]]:
    os = inventory.os
    if os is not None:
        yield {
            "type": "operating-system",
            "bom-ref": _OS,
            "name": os.id,
            "version": os_version(os),
            **({"description": os.pretty_name} if os.pretty_name else {}),
            "properties": _properties(
                [("os:versionId", os.version_id), ("os:codename", os.codename)]
            ),
        }


def _component(package: Package, name: str) -> dict[str, Any]:
    component: dict[str, Any] = {"type": "library", "bom-ref": name}
    distribution = package.type in ("deb", "apk", "rpm")
    if package.namespace and not distribution:
        component["group"] = package.namespace
    component |= {"name": package.name, "version": package.version, "purl": package.purl}
    properties = _properties(facts(package))
    if package.source:
        properties += [
            {"name": "aquasecurity:trivy:SrcName", "value": package.source},
            *_trivy_version(package.source_version or package.version),
        ]
    component["properties"] = properties
    if package.path:
        component["evidence"] = {"occurrences": [{"location": package.path}]}
    return component


def _trivy_version(version: str) -> Iterable[dict[str, str]]:
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    for name, value in (("SrcVersion", upstream), ("SrcRelease", revision), ("SrcEpoch", epoch)):
        if value:
            yield {"name": f"aquasecurity:trivy:{name}", "value": value}


def _dependencies(inventory: Inventory, names: list[str]) -> list[dict[str, Any]]:
    """The image holds the system and what no package manager of it brought; the system the rest.

    What depends on what inside is not known, and not made up.
    """
    system = [
        name
        for package, name in zip(inventory.packages, names, strict=True)
        if inventory.os is not None and package.type in ("deb", "apk", "rpm")
    ]
    own = set(system)
    direct = [*([_OS] if inventory.os else []), *(name for name in names if name not in own)]
    found = [{"ref": _ROOT, "dependsOn": direct}]
    if inventory.os is not None:
        found.append({"ref": _OS, "dependsOn": system})
    return found


def _vulnerabilities(
    findings: Iterable[Finding], names: dict[Package, str]
) -> list[dict[str, Any]]:
    """One entry for each advisory, severity, fix and decision; with all packages it affects."""
    groups: dict[tuple[Match, Decision | None], list[Finding]] = {}
    for finding in findings:
        key = (replace(finding.match, evidence=""), finding.decision)
        groups.setdefault(key, []).append(finding)
    return [
        _vulnerability(number, match, decision, group, names)
        for number, ((match, decision), group) in enumerate(groups.items())
    ]


def _vulnerability(
    number: int,
    match: Match,
    decision: Decision | None,
    findings: list[Finding],
    names: dict[Package, str],
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "bom-ref": f"vulnerability-{number + 1}-{match.id}",
        "id": match.id,
        "source": {"name": "OSV", **({"url": match.url} if match.url else {})},
    }
    if match.aliases:
        entry["references"] = [{"id": id, "source": _source(id)} for id in match.aliases]
    entry["ratings"] = _ratings(match)
    if match.summary:
        entry["description"] = match.summary
    if match.fixed_in:
        entry["recommendation"] = f"Upgrade to {match.fixed_in} or later."
    if match.url:
        entry["advisories"] = [{"url": match.url}]
    if match.published:
        entry["published"] = match.published
    if decision is not None:
        entry["analysis"] = _analysis(decision)
    entry["affects"] = [
        {
            "ref": names[finding.package],
            "versions": [{"version": finding.package.version, "status": _status(decision)}],
        }
        for finding in findings
    ]
    evidence = dict.fromkeys(finding.match.evidence for finding in findings)
    properties = [("evidence", text) for text in evidence]
    properties += [("record", id) for id in match.records]
    properties += [("fixedIn", match.fixed_in)] if match.fixed_in else []
    properties += [("epss", f"{match.epss.score:.5f}")] if match.epss else []
    properties += [("exploitedSince", match.kev.added)] if match.kev else []
    entry["properties"] = _properties(properties)
    return entry


def _status(decision: Decision | None) -> str:
    return (
        "unaffected"
        if decision is not None and decision.status in ("not_affected", "fixed")
        else "affected"
    )


def _analysis(decision: Decision) -> dict[str, Any]:
    analysis: dict[str, Any] = {"state": _STATES[decision.status]}
    if decision.status == "not_affected" and decision.justification:
        word = JUSTIFICATIONS.get(decision.justification, decision.justification)
        if word in _WORDS:
            analysis["justification"] = word
    if decision.status == "accepted":
        analysis["response"] = ["will_not_fix"]
    parts = [decision.reason, f"Source: {decision.source}" if decision.source else ""]
    parts.append(f"Until {decision.expires}" if decision.expires else "")
    if detail := ". ".join(part.rstrip(".") for part in parts if part):
        analysis["detail"] = detail
    return analysis


def _ratings(match: Match) -> list[dict[str, Any]]:
    """The deciding one first."""
    vectors = [
        {
            "score": cvss.score,
            "severity": _severity_word(severity_of_score(cvss.score, _version(cvss.vector))),
            "method": _method(cvss.vector),
            "vector": cvss.vector,
        }
        for cvss in match.cvss
    ]
    word = _severity_word(match.severity)
    if vectors and vectors[0]["severity"] == word and "CVSS" in match.severity_source:
        return vectors
    return [
        {
            "source": {"name": match.severity_source or "no record rates it"},
            "severity": word,
            "method": "other",
        },
        *vectors,
    ]


def _severity_word(severity: Severity) -> str:
    return severity.label


def _version(vector: str) -> int:
    return int(vector[5]) if vector.startswith("CVSS:") and vector[5:6].isdigit() else 2


def _method(vector: str) -> str:
    head = vector.partition("/")[0]
    return {"CVSS:4.0": "CVSSv4", "CVSS:3.1": "CVSSv31", "CVSS:3.0": "CVSSv3"}.get(head, "CVSSv2")


def _source(id: str) -> dict[str, str]:
    if id.startswith("CVE-"):
        return {"name": "NVD", "url": f"https://nvd.nist.gov/vuln/detail/{id}"}
    if id.startswith("GHSA-"):
        return {"name": "GitHub", "url": f"https://github.com/advisories/{id}"}
    return {"name": "OSV", "url": f"https://osv.dev/vulnerability/{id}"}


def _notes(report: ScanReport) -> list[dict[str, str]]:
    """What a reader should know before trusting the document."""
    notes = [("warning", text) for text in report.warnings]
    notes += [("advisories", report.intel_revision)] if report.intel_revision else []
    notes += [("missingEcosystem", name) for name in report.missing_ecosystems]
    notes += [("unreadable", path) for path in report.inventory.unreadable]
    notes += [
        ("skipped", f"{item.path}: {item.reason} ({item.code})")
        for item in report.inventory.skipped
    ]
    return _properties(notes)


def _properties(items: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": f"garrison:{name}", "value": value} for name, value in items if value]
