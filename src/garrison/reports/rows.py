"""A report as CSV: one finding, or one package, a line. Columns are only ever added at the end."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from io import StringIO

from garrison.findings import Finding, ScanReport, full_name
from garrison.packages import Inventory, Package

FINDING_COLUMNS = (
    "id", "aliases", "severity", "score", "package", "version", "fixed_in", "type", "purl", "path",
    "source", "source_version", "layer", "severity_source", "vector", "published", "url", "summary",
    "decision", "justification", "reason", "epss", "exploited",
)  # fmt: skip
PACKAGE_COLUMNS = (
    "type", "package", "version", "purl", "path", "position", "owner", "source", "source_version",
    "arch", "distro", "layer", "diff_id",
)  # fmt: skip

# A spreadsheet takes these for the beginning of a formula, and names come from images.
_FORMULA = re.compile(r"[=+\-@\t\r]")
_SCOPED = re.compile(r"@[\w.~-]+(/[\w.~-]+)?")


def findings_csv(report: ScanReport) -> str:
    """Findings, worst first, then suppressed ones."""
    return _csv(FINDING_COLUMNS, map(_finding, [*report.findings, *report.suppressed]))


def packages_csv(inventory: Inventory) -> str:
    """Packages."""
    return _csv(PACKAGE_COLUMNS, map(_package, inventory.packages))


def _finding(finding: Finding) -> list[str]:
    package, match, decision = finding.package, finding.match, finding.decision
    best = match.cvss[0] if match.cvss else None
    return [
        match.id,
        " ".join(match.aliases),
        match.severity.label,
        f"{best.score:.1f}" if best else "",
        full_name(package),
        package.version,
        match.fixed_in,
        package.type,
        package.purl,
        package.path,
        package.source,
        package.source_version,
        package.layer or package.diff_id,
        match.severity_source,
        best.vector if best else "",
        match.published,
        match.url,
        match.summary,
        decision.status if decision else "",
        decision.justification if decision else "",
        decision.reason if decision else "",
        f"{match.epss.score:.5f}" if match.epss else "",
        "" if match.exploited is None else "yes" if match.exploited else "no",
    ]


def _package(package: Package) -> list[str]:
    return [
        package.type,
        full_name(package),
        package.version,
        package.purl,
        package.path,
        package.position,
        package.owner,
        package.source,
        package.source_version,
        package.arch,
        package.distro,
        package.layer,
        package.diff_id,
    ]


def _csv(columns: Iterable[str], rows: Iterable[list[str]]) -> str:
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(map(_cell, row))
    return out.getvalue()


def _cell(text: str) -> str:
    """Text that no spreadsheet runs; `@types/node` is a name and stays as it is."""
    if _FORMULA.match(text) and not _SCOPED.fullmatch(text):
        return "'" + text
    return text
