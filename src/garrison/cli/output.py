"""What commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from garrison.errors import GarrisonError


def print_json(document: Any) -> None:
    """One JSON document on stdout, indented, nothing else there."""
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sys.stdout.write(text.decode() + "\n")


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)


def print_error(error: GarrisonError) -> None:
    """Message, hint and code, on stderr."""
    note(f"error: {error.message}")
    if error.hint:
        note(f"hint:  {error.hint}")
    note(f"code:  {error.code}")
