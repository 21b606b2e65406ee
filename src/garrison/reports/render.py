"""A report as text in one of the formats."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias, get_args

import msgspec

from garrison.findings import ScanReport
from garrison.reports.document import as_document

Format: TypeAlias = Literal["table", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)


def render(
    report: ScanReport,
    format: Format,
    *,
    now: datetime | None = None,
    width: int = 100,
    color: bool = False,
) -> str:
    """The report as text that ends in a line break.

    width, color: of the table alone.
    """
    if format == "json":
        document = msgspec.json.encode(as_document(report, now=now))
        return msgspec.json.format(document, indent=2).decode() + "\n"
    # rich belongs to the command line; a Defender has none.
    from garrison.reports.table import as_table

    return as_table(report, width=width, color=color)
