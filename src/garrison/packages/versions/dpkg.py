"""Debian versions: `[epoch:]upstream[-revision]`.

Source: deb-version(7) and dpkg's parseversion(). What dpkg refuses is refused; what it only warns
about (an upstream version that starts with a letter, odd characters) is ordered as dpkg does.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from garrison.packages.versions.errors import LIMIT, InvalidVersionError

Part: TypeAlias = tuple[tuple[object, ...], ...]
Key: TypeAlias = tuple[int, Part, Part]

_PIECES = re.compile(r"([^0-9]*)([0-9]*)")
_MAX_EPOCH = 2**31 - 1
# The end of a part sorts after a tilde and before everything else.
_END = ((0,),)


def parse(text: str) -> Key:
    """A key that sorts as `dpkg --compare-versions` does."""
    version = text.strip()
    if not version or len(version) > LIMIT:
        raise InvalidVersionError("Debian", text, "empty" if not version else "too long")
    if not version.isascii() or any(char.isspace() for char in version):
        raise InvalidVersionError("Debian", text, "spaces or characters outside ASCII")
    epoch = 0
    head, colon, rest = version.partition(":")
    if colon:
        epoch, version = _epoch(head, text), rest
    upstream, dash, revision = version.rpartition("-")
    if not dash:
        upstream, revision = version, ""
    if not upstream:
        raise InvalidVersionError("Debian", text, "no upstream version")
    return (epoch, _part(upstream), _part(revision))


def _epoch(head: str, text: str) -> int:
    if not head.isdigit() or len(head) > 20 or int(head) > _MAX_EPOCH:
        raise InvalidVersionError("Debian", text, "epoch is not a number")
    return int(head)


def _part(text: str) -> Part:
    """Alternating text and numbers as dpkg's verrevcmp() walks them; nothing is as good as 0."""
    pieces: list[tuple[object, ...]] = []
    for letters, digits in _PIECES.findall(text or "0"):
        if letters or digits:
            pieces.append(((*map(_order, letters), 0), int(digits or "0")))
    pieces.append(_END)
    return tuple(pieces)


def _order(char: str) -> int:
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256
