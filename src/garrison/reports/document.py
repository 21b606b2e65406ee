"""A report as one JSON document: the shape in docs/reference, schema 1.

Fields are only ever added.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from garrison.findings import Decision, Finding, ScanReport, full_name
from garrison.packages import Inventory, Package, Support, support_of
from garrison.reports.summary import summarize

SCHEMA = 1


def as_document(report: ScanReport, *, now: datetime | None = None) -> dict[str, Any]:
    """The whole report. now: for `intel.age`, seconds; without it the age is null."""
    inventory = report.inventory
    os = inventory.os
    return {
        "schema": SCHEMA,
        "complete": report.complete,
        "warnings": list(report.warnings),
        "intel": {
            "revision": report.intel_revision or None,
            "updated_at": report.intel_updated_at or None,
            "age": _age(report.intel_updated_at, now),
            "missing_ecosystems": list(report.missing_ecosystems),
        },
        "image": {
            "reference": inventory.reference,
            "digest": inventory.digest,
            "platform": inventory.platform,
            "os": None
            if os is None
            else {
                "id": os.id,
                "version_id": os.version_id,
                "name": os.pretty_name or None,
                "support": _support(report.support),
            },
            "layers": [
                {"digest": layer.digest, "diff_id": layer.diff_id, "size": layer.size}
                for layer in inventory.layers
            ],
        },
        "summary": summarize(report.findings),
        "findings": [finding_document(finding) for finding in report.findings],
        "suppressed": [finding_document(finding) for finding in report.suppressed],
        "packages": [_listed_package(package) for package in inventory.packages],
        "skipped": [
            {"path": item.path, "layer": item.layer, "code": item.code, "reason": item.reason}
            for item in inventory.skipped
        ],
        "duration": round(inventory.duration, 3),
    }


def packages_document(inventory: Inventory, *, now: datetime | None = None) -> dict[str, Any]:
    """What a scan's document says of the packages, without what advisories say.

    now: for `image.os.support`; without it that is null.
    """
    support = support_of(inventory.os, now.date()) if inventory.os and now else None
    document = as_document(ScanReport(inventory, (), support=support))
    kept = {key: document[key] for key in ("schema", "image", "packages", "skipped", "duration")}
    return {**kept, "unreadable": list(inventory.unreadable)}


def _support(support: Support | None) -> dict[str, Any] | None:
    if support is None:
        return None
    return {
        "state": support.state,
        "phase": support.phase or None,
        "until": support.until or None,
        "ended": support.ended or None,
        "as_of": support.as_of or None,
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """One finding."""
    match = finding.match
    return {
        "id": match.id,
        "aliases": list(match.aliases),
        "package": package_document(finding.package),
        "severity": match.severity.label,
        "severity_source": match.severity_source or None,
        "cvss": [{"vector": item.vector, "score": item.score} for item in match.cvss],
        "fixed_in": match.fixed_in or None,
        "layer": finding.package.layer,
        "diff_id": finding.package.diff_id,
        "evidence": match.evidence,
        "records": list(match.records),
        "summary": match.summary,
        "published": match.published or None,
        "epss": match.epss.score if match.epss else None,
        "epss_percentile": match.epss.percentile if match.epss else None,
        "kev": match.exploited,
        "kev_added": match.kev.added if match.kev else None,
        "kev_due": match.kev.due or None if match.kev else None,
        "url": match.url,
        "decision": None if finding.decision is None else _decision(finding.decision),
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "kind": decision.kind,
        "status": decision.status,
        "justification": decision.justification or None,
        "reason": decision.reason,
        "source": decision.source,
        "expires": decision.expires or None,
    }


def package_document(package: Package) -> dict[str, Any]:
    """What a finding says of its package."""
    document = {
        "type": package.type,
        "name": full_name(package),
        "version": package.version,
        "purl": package.purl,
        "path": package.path,
    }
    if package.source or package.distro:
        document["source"] = package.source or package.name
        document["source_version"] = package.source_version or package.version
    return document


def _listed_package(package: Package) -> dict[str, Any]:
    return {
        **package_document(package),
        "layer": package.layer,
        "diff_id": package.diff_id,
        "position": package.position,
        "development": package.development,
        "owner": package.owner or None,
    }


def _age(updated_at: str, now: datetime | None) -> int | None:
    if not updated_at or now is None:
        return None
    return max(0, int((now - datetime.fromisoformat(updated_at)).total_seconds()))
