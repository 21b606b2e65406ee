"""A report as a table for a terminal: what it says in all first, then finding by finding.

Written by hand and not with a table library: a thousand findings take milliseconds.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from garrison.findings import Finding, ScanReport, Severity, full_name
from garrison.packages import Inventory, Package, support_sentence
from garrison.reports.subject import is_project
from garrison.reports.summary import count, decision_text, summarize, summary_line

_COLORS = {
    Severity.CRITICAL: "1;35",
    Severity.HIGH: "31",
    Severity.MEDIUM: "33",
    Severity.LOW: "34",
    Severity.UNKNOWN: "1",
}
_BOLD, _DIM, _WARN, _BAD, _GOOD = "1", "2", "1;33", "1;31", "32"
_DIGITS = 12
"""Hexadecimal digits shown of a digest, as `docker` does."""
_GAP = "  "
_WIDE = 130
"""From this width on there is room for layers."""
_MAX_SKIPPED = 5
_MAX_IDS = 10


@dataclass(frozen=True, slots=True)
class _Column:
    """least: columns that stay when there is too little room; longer text then goes on in the next
    line. rest: takes what the others leave; left out where that is less than `least`, unless
    fold, then it goes on in the next lines too."""

    title: str
    least: int
    rest: bool = False
    fold: bool = True


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    color: str = ""


def as_table(report: ScanReport, *, width: int = 100, color: bool = False) -> str:
    """The report as text of at most `width` columns."""
    return _Page(width, color).report(report)


def packages_table(inventory: Inventory, *, width: int = 100, color: bool = False) -> str:
    """The packages alone."""
    return _Page(width, color).packages(inventory)


class _Page:
    def __init__(self, width: int, color: bool) -> None:
        self.width = max(width, 60)
        self.color = color
        self.lines: list[str] = []

    def report(self, report: ScanReport) -> str:
        self._heading(report.inventory)
        style = _BAD if not report.complete else _GOOD if not report.findings else _BOLD
        self._add(summary_line(report), style)
        self._counts(report)
        self._exploited(report.findings)
        for warning in report.warnings:
            self._add(f"warning: {warning}", _WARN)
        self._support(report)
        self._skipped(report.inventory)
        if report.findings:
            self.lines.append("")
            self._findings(report.findings)
        if report.suppressed:
            self._suppressed(report.suppressed)
        self.lines.append("")
        self._add(_intel(report), _DIM)
        return self._text()

    def packages(self, inventory: Inventory) -> str:
        self._heading(inventory)
        types: dict[str, int] = {}
        for package in inventory.packages:
            types[package.type] = types.get(package.type, 0) + 1
        parts = ", ".join(f"{number:,} {type}" for type, number in sorted(types.items()))
        line = count(len(inventory.packages), "package")
        self._add(f"{line}: {parts}." if parts else f"{line}.", _BOLD)
        for path in inventory.unreadable:
            self._add(f"warning: the package database {path} cannot be read", _WARN)
        self._skipped(inventory)
        if inventory.packages:
            self.lines.append("")
            self._package_rows(inventory.packages)
        return self._text()

    def _heading(self, inventory: Inventory) -> None:
        self._add(inventory.reference, _BOLD)
        os = inventory.os
        system = (os.pretty_name or f"{os.id} {os.version_id}".strip()) if os else "unknown system"
        parts = [_short(inventory.digest), inventory.platform, system]
        if is_project(inventory):
            parts = ["lock files of a project"]
        self._add(" · ".join(part for part in parts if part), _DIM)

    def _counts(self, report: ScanReport) -> None:
        """Every severity with its number, so that a zero is read as one."""
        if not report.findings:
            return
        counts = summarize(report.findings)
        parts = []
        for severity, number in zip(sorted(Severity, reverse=True), counts.values(), strict=True):
            style = _COLORS[severity] if number else _DIM
            parts.append(self._paint(f"{severity.label} {number:,}", style))
        fixable = sum(1 for finding in report.findings if finding.match.fixed_in)
        self.lines.append("  ".join([*parts, self._paint(f"fixable {fixable:,}", _DIM)]))

    def _support(self, report: ScanReport) -> None:
        """What is worth knowing of the release's updates, where it is no warning already."""
        if report.inventory.os is None or report.support is None or report.support.over:
            return
        if text := support_sentence(report.inventory.os, report.support):
            self._add(f"note: {text}", _DIM)

    def _exploited(self, findings: Sequence[Finding]) -> None:
        """What is attacked already comes before everything else."""
        ids = list(dict.fromkeys(f.match.id for f in findings if f.match.kev))
        if ids:
            more = f" and {len(ids) - _MAX_IDS} more" if len(ids) > _MAX_IDS else ""
            self._add(f"Known to be exploited: {', '.join(ids[:_MAX_IDS])}{more}.", _BAD)

    def _skipped(self, inventory: Inventory) -> None:
        skipped = inventory.skipped
        if not skipped:
            return
        self._add(f"{count(len(skipped), 'entry')} could not be read, and skipped:", _WARN)
        for item in skipped[:_MAX_SKIPPED]:
            self._add(f"  {item.path or '-'}: {item.reason}", _DIM)
        if len(skipped) > _MAX_SKIPPED:
            self._add(f"  and {len(skipped) - _MAX_SKIPPED:,} more; --json lists them", _DIM)

    def _findings(self, findings: Sequence[Finding]) -> None:
        epss = self.width >= _WIDE and any(finding.match.epss for finding in findings)
        columns = [
            _Column("Severity", 8),
            _Column("Package", 16),
            _Column("Installed", 12),
            _Column("Fixed in", 12),
            _Column("Advisory", 19),
            *([_Column("EPSS", 5)] if epss else []),
            *([_Column("Layer", _DIGITS)] if self.width >= _WIDE else []),
            _Column("About", 24, rest=True, fold=False),
        ]
        last: tuple[object, ...] = ()
        rows = []
        for group in _grouped(findings):
            package, match = group[0].package, group[0].match
            name = _name(group)
            here = (match.severity, name, package.version)
            again = here == last
            last = here
            row = [
                _Cell("" if again else match.severity.label, _COLORS[match.severity]),
                _Cell("" if again else name),
                _Cell("" if again else package.version),
                _Cell(match.fixed_in or "no fix", "" if match.fixed_in else _DIM),
                _Cell(match.id),
            ]
            if epss:
                row.append(_Cell(f"{match.epss.score:.3f}" if match.epss else "-", _DIM))
            if self.width >= _WIDE:
                row.append(_Cell(_short(package.layer or package.diff_id) or "-", _DIM))
            rows.append([*row, _Cell(" ".join(match.summary.split()), _DIM)])
        self._rows(columns, rows)

    def _suppressed(self, findings: Sequence[Finding]) -> None:
        self.lines.append("")
        self._add(f"Not counted, by decision: {count(len(findings), 'finding')}", _BOLD)
        columns = [
            _Column("Severity", 8),
            _Column("Package", 16),
            _Column("Advisory", 19),
            _Column("Decision", 24, rest=True),
        ]
        rows = []
        for group in _grouped(findings):
            match, decision = group[0].match, group[0].decision
            said = decision_text(decision) if decision else ""
            rows.append(
                [_Cell(match.severity.label), _Cell(_name(group)), _Cell(match.id), _Cell(said)]
            )
        self._rows(columns, [[_Cell(cell.text, _DIM) for cell in row] for row in rows])

    def _package_rows(self, packages: Sequence[Package]) -> None:
        columns = [
            _Column("Type", 6),
            _Column("Package", 20),
            _Column("Version", 12),
            _Column("Position", 9),
            _Column("Path", 16, rest=True, fold=False),
        ]
        rows = [
            [
                _Cell(package.type, _DIM),
                _Cell(full_name(package)),
                _Cell(package.version),
                _Cell(f"{package.position}{', dev' if package.development else ''}", _DIM),
                _Cell(package.path, _DIM),
            ]
            for package in packages
        ]
        self._rows(columns, rows)

    def _rows(self, columns: Sequence[_Column], rows: Sequence[Sequence[_Cell]]) -> None:
        rows = [[_Cell(_printable(cell.text), cell.color) for cell in row] for row in rows]
        widths = _widths(columns, rows, self.width)
        self._row([_Cell(column.title, _DIM) for column in columns], widths)
        self.lines.append(self._paint("─" * min(self.width, _total(widths)), _DIM))
        for row in rows:
            pieces = [
                _fold(cell.text, width, whole=not column.rest)
                if column.fold
                else _cut(cell.text, width)
                for cell, column, width in zip(row, columns, widths, strict=True)
            ]
            for number in range(max(map(len, pieces))):
                self._row(
                    [
                        _Cell(texts[number] if number < len(texts) else "", cell.color)
                        for texts, cell in zip(pieces, row, strict=True)
                    ],
                    widths,
                )

    def _row(self, cells: Sequence[_Cell], widths: Sequence[int]) -> None:
        parts = []
        for cell, width in zip(cells, widths, strict=True):
            if width:
                space = " " * (width - _columns(cell.text))
                parts.append(self._paint(cell.text, cell.color) + space)
        self.lines.append(_GAP.join(parts).rstrip())

    def _add(self, text: str, color: str = "") -> None:
        for line in _fold(_printable(text), self.width, whole=False):
            self.lines.append(self._paint(line, color))

    def _paint(self, text: str, color: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self.color and color and text else text

    def _text(self) -> str:
        return "\n".join(self.lines) + "\n"


def _grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings that say the same of several binary packages of one source, or of one package at
    several paths: one line."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        package, match = finding.package, finding.match
        subject = package.source or full_name(package)
        key = (
            match.severity, match.id, match.fixed_in, package.type, subject, package.version,
            finding.decision,
        )  # fmt: skip
        groups.setdefault(key, []).append(finding)
    return sorted(
        groups.values(),
        key=lambda group: (
            -group[0].match.severity,
            group[0].package.source or full_name(group[0].package),
            group[0].package.version,
        ),
    )


def _name(group: Sequence[Finding]) -> str:
    """`zlib1g (zlib)`; where several packages are meant, the source and how many."""
    first = group[0].package
    names = dict.fromkeys(full_name(finding.package) for finding in group)
    if len(names) > 1:
        return f"{first.source} ({len(names)} packages)"
    name = next(iter(names))
    if len(group) > 1:
        return f"{name} ({len(group)} places)"
    return f"{name} ({first.source})" if first.source and first.source != name else name


def _widths(columns: Sequence[_Column], rows: Sequence[Sequence[_Cell]], width: int) -> list[int]:
    """As wide as the longest text where that fits, else the widest give way; 0: left out."""
    widths = [
        max(len(column.title), *(_columns(row[number].text) for row in rows))
        for number, column in enumerate(columns)
    ]
    rest = next((number for number, column in enumerate(columns) if column.rest), None)
    longest = 0
    if rest is not None:
        longest, widths[rest] = widths[rest], columns[rest].least if columns[rest].fold else 0
    while _total(widths) > width:
        room = [(widths[n] - column.least, n) for n, column in enumerate(columns) if n != rest]
        most, number = max(room)
        if most <= 0:
            break
        widths[number] -= 1
    if rest is not None:
        spare = width - _total(widths) - (0 if widths[rest] else len(_GAP))
        if widths[rest] or spare >= columns[rest].least:
            widths[rest] = min(longest, widths[rest] + spare)
    return widths


def _total(widths: Sequence[int]) -> int:
    shown = [width for width in widths if width]
    return sum(shown) + len(_GAP) * (len(shown) - 1)


def _cut(text: str, width: int) -> list[str]:
    if not width:
        return []
    if _columns(text) <= width:
        return [text]
    return [_take(text, width - 1)[0] + "…"]


def _fold(text: str, width: int, *, whole: bool) -> list[str]:
    """Lines of at most `width` columns, broken at spaces where possible.

    whole: the text is a name: break behind a mark rather than inside a word.
    """
    lines = []
    while _columns(text) > width:
        head, rest = _take(text, width)
        marks = " -+~/.:@" if whole else " "
        cut = max(head.rfind(mark) for mark in marks)
        if rest.startswith(" "):
            cut = -1
        if cut >= width // 3:
            head, rest = head[: cut + 1], head[cut + 1 :] + rest
        lines.append(head.rstrip())
        text = rest.lstrip()
    return [*lines, text] if text or not lines else lines


def _take(text: str, width: int) -> tuple[str, str]:
    """The beginning of `text` that fits into `width` columns, and what follows."""
    if text.isascii():
        return text[:width], text[width:]
    used = 0
    for number, char in enumerate(text):
        used += _columns(char)
        if used > width:
            return text[:number], text[number:]
    return text, ""


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _intel(report: ScanReport) -> str:
    if not report.intel_revision:
        return "No advisories were used: none are loaded."
    return f"Advisories: revision {report.intel_revision}, updated {report.intel_updated_at}."


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:_DIGITS]


def _printable(text: str) -> str:
    """Text as it is: names come from images and must not speak to the terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
