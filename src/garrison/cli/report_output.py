"""Where reports go: `--format` and `--output` of `scan` and `sbom`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from garrison.cli.output import note
from garrison.errors import InvalidSettingError

F = TypeVar("F", bound=str)
_FILE_WIDTH = 120
"""Columns of a table that no terminal shows."""
_NARROWEST = 80


@dataclass(frozen=True, slots=True)
class Sink(Generic[F]):
    """One report to write; None for `file`: standard output."""

    format: F
    file: Path | None


@dataclass(frozen=True, slots=True)
class Page:
    """What a table may use."""

    width: int
    color: bool


def sinks(
    given: Sequence[str], json: bool, output: Path | None, known: Sequence[F]
) -> tuple[Sink[F], ...]:
    """What `--format` asks for: `table`, `sarif=FILE`, several with commas or repeated.

    The one without a file goes to `output`, or to standard output.

    Raises: InvalidSettingError.
    """
    found: list[Sink[F]] = []
    for text in _words(given, json):
        name, equals, file = text.partition("=")
        format = next((each for each in known if each == name), None)
        if format is None:
            raise InvalidSettingError(
                "format", f"no format {name!r}", f"Use one of: {', '.join(known)}."
            )
        if equals and not file:
            raise InvalidSettingError(
                "format", f"--format {text} names no file", f"Write {name}=FILE."
            )
        found.append(Sink(format, Path(file) if file else output))
    targets = [sink.file for sink in found]
    if len(set(targets)) < len(targets):
        raise InvalidSettingError(
            "format",
            "two formats would go to the same place",
            "Name a file for each but one: --format table,sarif=report.sarif.",
        )
    if output is not None and output not in targets:
        raise InvalidSettingError(
            "output", "every format has a file already", "Leave out --output, or one =FILE."
        )
    return tuple(found)


def write(sinks: Sequence[Sink[F]], render: Callable[[F, Page], str]) -> None:
    """Render and write each; standard output last, so that a file's error comes first.

    Raises: InvalidSettingError: a file cannot be written.
    """
    for sink in sorted(sinks, key=lambda sink: sink.file is None):
        if sink.file is not None:
            _write_file(sink.file, render(sink.format, Page(_FILE_WIDTH, False)))
            note(f"{sink.format} written to {sink.file}")
        else:
            sys.stdout.write(render(sink.format, _terminal()))
            sys.stdout.flush()


def now(environ: Mapping[str, str]) -> datetime:
    """The time a document bears: `SOURCE_DATE_EPOCH`, where set, makes it reproducible.

    Raises: InvalidSettingError.
    """
    given = environ.get("SOURCE_DATE_EPOCH", "")
    if not given:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidSettingError(
            "SOURCE_DATE_EPOCH", f"SOURCE_DATE_EPOCH is {given!r}", "Use seconds since 1970."
        ) from None


def _words(given: Sequence[str], json: bool) -> list[str]:
    words = [word.strip() for text in given for word in text.split(",") if word.strip()]
    if json and words and words != ["json"]:
        raise InvalidSettingError(
            "format", "--json is --format json", "Use one of them: --format table,json=FILE."
        )
    return ["json"] if json else words or ["table"]


def _write_file(path: Path, text: str) -> None:
    try:
        # Names in an image need not be text; whoever reads the file sees a mark instead.
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidSettingError("output", f"cannot write {path}: {error.strerror}") from error


def _terminal() -> Page:
    import shutil

    if not sys.stdout.isatty():
        columns = os.environ.get("COLUMNS", "")
        return Page(max(int(columns), _NARROWEST) if columns.isdigit() else _FILE_WIDTH, False)
    width = shutil.get_terminal_size((100, 24)).columns
    return Page(width, "NO_COLOR" not in os.environ)
