"""A report as a table for a terminal: warnings first, then findings, then the counts."""

from __future__ import annotations

from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from garrison.findings import Finding, ScanReport, Severity, full_name
from garrison.reports.summary import summary_line

_STYLES = {
    Severity.CRITICAL: "bold magenta",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "blue",
    Severity.UNKNOWN: "dim",
}
_LETTERS = {
    Severity.CRITICAL: "C",
    Severity.HIGH: "H",
    Severity.MEDIUM: "M",
    Severity.LOW: "L",
    Severity.UNKNOWN: "?",
}
_DIGITS = 12
"""Hexadecimal digits shown of a digest, as `docker` does."""


def as_table(report: ScanReport, *, width: int = 100, color: bool = False) -> str:
    """The report as text of at most `width` columns."""
    out = StringIO()
    console = Console(
        file=out, width=width, force_terminal=color, no_color=not color, highlight=False
    )
    for warning in report.warnings:
        console.print(_text(f"warning: {warning}", "bold yellow"), soft_wrap=True)
    console.print(_text(_heading(report)), soft_wrap=True)
    if report.findings:
        console.print(_table(report))
    if report.inventory.skipped:
        count = len(report.inventory.skipped)
        files = "1 file" if count == 1 else f"{count} files"
        console.print(f"{files} could not be read and were skipped; --json lists them.")
    style = "" if report.complete else "bold red"
    console.print(Text(summary_line(report), style), soft_wrap=True)
    console.print(Text(_intel(report), "dim"), soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _heading(report: ScanReport) -> str:
    inventory = report.inventory
    os = inventory.os
    system = f"{os.pretty_name or f'{os.id} {os.version_id}'}" if os else "unknown system"
    parts = [inventory.reference, _short(inventory.digest), inventory.platform, system]
    return "  ".join(part for part in parts if part)


def _intel(report: ScanReport) -> str:
    if not report.intel_revision:
        return "No advisories were used: none are loaded."
    return f"Advisories: revision {report.intel_revision}, updated {report.intel_updated_at}."


def _table(report: ScanReport) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1))
    table.add_column("S", no_wrap=True, width=1)
    table.add_column("Package", overflow="fold", ratio=1, min_width=16)
    table.add_column("Installed", overflow="fold", max_width=24)
    table.add_column("Fixed in", overflow="fold", max_width=24)
    table.add_column("Advisory", overflow="fold", min_width=19)
    table.add_column("Layer", no_wrap=True, width=_DIGITS)
    table.expand = True
    for finding in report.findings:
        table.add_row(*_cells(finding))
    return table


def _cells(finding: Finding) -> list[Text]:
    package, match = finding.package, finding.match
    source = package.source if package.source and package.source != package.name else ""
    name = f"{full_name(package)} ({source})" if source else full_name(package)
    return [
        Text(_LETTERS[match.severity], _STYLES[match.severity]),
        _text(name),
        _text(package.version),
        _text(match.fixed_in or "-"),
        _text(match.id),
        _text(_short(package.layer or package.diff_id) or "-", "dim"),
    ]


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:_DIGITS]


def _text(text: str, style: str = "") -> Text:
    """Text as it is: names come from images and must not speak to the terminal."""
    return Text("".join(char if char.isprintable() else "\ufffd" for char in text), style)
