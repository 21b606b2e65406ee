"""Plain tables on stdout: columns by content, no frames, so that they can be cut and searched."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print `rows` under `heads`; `empty` where there are none."""
    if not rows:
        print(empty)
        return
    lines = [list(heads), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def clean(text: str) -> str:
    """`text` without what could move a terminal's cursor: names come from images."""
    return "".join(char if char.isprintable() else "?" for char in text)
