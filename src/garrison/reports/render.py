"""A report as text in one of the formats."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from garrison.findings import ScanReport
from garrison.packages import Inventory
from garrison.reports.document import as_document, packages_document

Format: TypeAlias = Literal["table", "json", "sarif", "cyclonedx", "spdx", "csv", "openvex"]
FORMATS: tuple[Format, ...] = get_args(Format)
PackageFormat: TypeAlias = Literal["table", "json", "cyclonedx", "spdx", "csv"]
PACKAGE_FORMATS: tuple[PackageFormat, ...] = get_args(PackageFormat)
"""Of packages alone: SARIF and OpenVEX are about findings."""


def render(
    report: ScanReport,
    format: Format,
    *,
    now: datetime,
    width: int = 100,
    color: bool = False,
) -> str:
    """The report as text that ends in a line break.

    now: for the time of a document and the age of the advisories; the same report at the same
        time gives the same text. width, color: of the table alone.
    """
    match format:
        case "json":
            return _json(as_document(report, now=now))
        case "sarif":
            from garrison.reports.sarif import as_sarif

            return _json(as_sarif(report))
        case "cyclonedx":
            from garrison.reports.cyclonedx import as_cyclonedx

            return _json(as_cyclonedx(report, now))
        case "spdx":
            from garrison.reports.spdx import as_spdx

            return _json(as_spdx(report, now))
        case "openvex":
            from garrison.reports.openvex import as_openvex

            return _json(as_openvex(report, now))
        case "csv":
            from garrison.reports.rows import findings_csv

            return findings_csv(report)
        case "table":
            from garrison.reports.table import as_table

            return as_table(report, width=width, color=color)


def render_packages(
    inventory: Inventory,
    format: PackageFormat,
    *,
    now: datetime,
    width: int = 100,
    color: bool = False,
) -> str:
    """The packages alone; arguments as of `render`."""
    match format:
        case "json":
            return _json(packages_document(inventory, now=now))
        case "cyclonedx":
            from garrison.reports.cyclonedx import as_cyclonedx

            report = ScanReport(inventory, ())
            return _json(as_cyclonedx(report, now, packages_only=True))
        case "spdx":
            from garrison.reports.spdx import as_spdx

            return _json(as_spdx(ScanReport(inventory, ()), now))
        case "csv":
            from garrison.reports.rows import packages_csv

            return packages_csv(inventory)
        case "table":
            from garrison.reports.table import packages_table

            return packages_table(inventory, width=width, color=color)


def _json(document: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
