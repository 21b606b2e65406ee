"""A report, or the packages alone, as SPDX 2.3 JSON.

Source: spdx.github.io/spdx-spec/v2.3. Files are not analysed, so no package has a verification
code; findings stand as security references of their package (annex F.2).
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any
from urllib.parse import quote

from garrison import __version__
from garrison.findings import Finding, ScanReport
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

_DOCUMENT = "SPDXRef-DOCUMENT"
_ROOT = "SPDXRef-Image"
_OS = "SPDXRef-OperatingSystem"
_NONE = "NOASSERTION"
_NOT_ID = re.compile(r"[^A-Za-z0-9.-]+")
_TOOL = f"Tool: garrison-{__version__}"


def as_spdx(report: ScanReport, now: datetime) -> dict[str, Any]:
    """The document; with findings where the report has any."""
    inventory, created = report.inventory, timestamp(now)
    names = references(inventory.packages)
    ids = {
        name: _id(package, name) for package, name in zip(inventory.packages, names, strict=True)
    }
    found: dict[Package, list[Finding]] = {}
    for finding in report.findings:
        found.setdefault(finding.package, []).append(finding)
    packages = [_image(inventory, created)]
    if inventory.os is not None:
        packages.append(
            {
                **_package(_OS, inventory.os.id, os_version(inventory.os), "OPERATING-SYSTEM"),
                **({"summary": inventory.os.pretty_name} if inventory.os.pretty_name else {}),
            }
        )
    for package, name in zip(inventory.packages, names, strict=True):
        packages.append(_installed(ids[name], package, found.get(package, []), created))
    body: dict[str, Any] = {
        "SPDXID": _DOCUMENT,
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "name": inventory.reference,
        "creationInfo": {"created": created, "creators": [_TOOL]},
        "packages": packages,
        "relationships": _relationships(inventory, [ids[name] for name in names]),
    }
    if notes := _notes(report):
        body["comment"] = "\n".join(notes)
    label = quote(inventory.reference, safe="")
    body["documentNamespace"] = f"https://spdx.org/spdxdocs/{label}-{document_id(body)}"
    return body


def _package(id: str, name: str, version: str, purpose: str) -> dict[str, Any]:
    return {
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "supplier": _NONE,
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "licenseConcluded": _NONE,
        "licenseDeclared": _NONE,
        "copyrightText": _NONE,
        "primaryPackagePurpose": purpose,
    }


def _image(inventory: Inventory, created: str) -> dict[str, Any]:
    purpose = "APPLICATION" if is_project(inventory) else "CONTAINER"
    package = _package(_ROOT, inventory.reference, inventory.digest or _NONE, purpose)
    algorithm, _, value = inventory.digest.partition(":")
    if value:
        package["checksums"] = [{"algorithm": algorithm.upper(), "checksumValue": value}]
    else:
        del package["versionInfo"]
    if name := image_purl(inventory):
        package["externalRefs"] = [_purl(name)]
    known = [("platform", inventory.platform)] if inventory.platform else []
    known += [("layer", f"{layer.digest} {layer.diff_id}".strip()) for layer in inventory.layers]
    if known:
        package["annotations"] = [_annotation(known, created)]
    return package


def _installed(id: str, package: Package, findings: list[Finding], created: str) -> dict[str, Any]:
    name = package.name
    if package.namespace and package.type not in ("deb", "apk", "rpm"):
        name = f"{package.namespace}{':' if package.type == 'maven' else '/'}{package.name}"
    entry = _package(id, name, package.version, "LIBRARY")
    entry["externalRefs"] = [_purl(package.purl), *map(_security, _unique(findings))]
    if package.source:
        # The wording by which other scanners find the source package.
        version = package.source_version or package.version
        entry["sourceInfo"] = f"built package from: {package.source} {version}"
    entry["annotations"] = [_annotation(facts(package), created)]
    return entry


def _unique(findings: list[Finding]) -> list[Finding]:
    return list({finding.match.id: finding for finding in findings}.values())


def _security(finding: Finding) -> dict[str, str]:
    match = finding.match
    fix = f"fixed in {match.fixed_in}" if match.fixed_in else "no fixed version is known"
    return {
        "referenceCategory": "SECURITY",
        "referenceType": "advisory",
        "referenceLocator": match.url or f"https://osv.dev/vulnerability/{quote(match.id)}",
        "comment": f"{match.id}: {match.severity.label}, {fix}",
    }


def _purl(text: str) -> dict[str, str]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": text,
    }


def _annotation(known: list[tuple[str, str]], created: str) -> dict[str, str]:
    return {
        "annotationDate": created,
        "annotationType": "OTHER",
        "annotator": _TOOL,
        "comment": "\n".join(f"garrison:{name}={value}" for name, value in known),
    }


def _relationships(inventory: Inventory, ids: list[str]) -> list[dict[str, str]]:
    found = [_relation(_DOCUMENT, "DESCRIBES", _ROOT)]
    owners = {
        package.name: id
        for package, id in zip(inventory.packages, ids, strict=True)
        if package.type in ("deb", "apk", "rpm")
    }
    if inventory.os is not None:
        found.append(_relation(_ROOT, "CONTAINS", _OS))
    for package, id in zip(inventory.packages, ids, strict=True):
        # What a distribution package brought is part of it.
        found.append(_relation(owners.get(package.owner, _ROOT), "CONTAINS", id))
    return found


def _relation(of: str, type: str, to: str) -> dict[str, str]:
    return {"spdxElementId": of, "relationshipType": type, "relatedSpdxElement": to}


def _notes(report: ScanReport) -> list[str]:
    notes = [f"warning: {text}" for text in report.warnings]
    notes += [f"cannot be read: {path}" for path in report.inventory.unreadable]
    notes += [
        f"skipped: {item.path}: {item.reason} ({item.code})" for item in report.inventory.skipped
    ]
    return notes


def _id(package: Package, name: str) -> str:
    """Readable, and unique by the hash of what makes it so."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    readable = _NOT_ID.sub("-", f"{package.type}-{package.name}")[:80].strip("-")
    return f"SPDXRef-Package-{readable}-{digest}"
