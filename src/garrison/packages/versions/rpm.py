"""RPM versions: `[epoch:]version[-release]`.

Source: rpm, rpmio/rpmvercmp.c and `rpmverCmp`; docs/manual/dependencies.md. Text is cut into
numbers, words, `~` and `^`; all else only separates. A tilde sorts below the end of a version, a
caret above it and below everything that goes on in another way; a number is above a word.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from garrison.packages.versions.errors import LIMIT, InvalidVersionError

Part: TypeAlias = tuple[tuple[object, ...], ...]
Key: TypeAlias = tuple[int, Part, Part]

_PIECES = re.compile(r"(~)|(\^)|([A-Za-z]+)|([0-9]+)")
_EPOCH = re.compile(r"([0-9]*):(.*)", re.DOTALL)
_TILDE, _END, _CARET, _WORD, _NUMBER = range(5)
_MAX_EPOCH = 2**32 - 1


def parse(text: str) -> Key:
    """A key that sorts as rpm does; without a release it sorts below every release."""
    label = text.strip()
    if not label or len(label) > LIMIT or not label.isprintable() or " " in label:
        raise InvalidVersionError("RPM", text)
    epoch = 0
    if match := _EPOCH.fullmatch(label):
        digits, label = match.groups()
        epoch = int(digits or "0")
        if epoch > _MAX_EPOCH or not label:
            raise InvalidVersionError("RPM", text)
    version, dash, release = label.rpartition("-")
    if not dash:
        version, release = label, ""
    if not version:
        raise InvalidVersionError("RPM", text, "no version")
    return (epoch, _part(version), _part(release) if dash else ())


def _part(text: str) -> Part:
    pieces: list[tuple[object, ...]] = []
    for tilde, caret, word, number in _PIECES.findall(text):
        if tilde:
            pieces.append((_TILDE,))
        elif caret:
            pieces.append((_CARET,))
        elif word:
            pieces.append((_WORD, word))
        else:
            pieces.append((_NUMBER, int(number)))
    pieces.append((_END,))
    return tuple(pieces)
