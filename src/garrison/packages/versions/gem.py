"""RubyGems versions.

Source: Gem::Version. Numbers and letters are segments; letters sort below numbers, missing
segments are zero, zeros at the end of the release and of the whole do not count, `-` reads
`.pre.`.
"""

from __future__ import annotations

import re
from functools import total_ordering
from itertools import zip_longest

from garrison.packages.versions.errors import LIMIT, InvalidVersionError

_VERSION = re.compile(
    r"\s*([0-9]+(?:\.[0-9a-zA-Z]+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?\s*", re.ASCII
)
_SEGMENT = re.compile(r"[0-9]+|[a-zA-Z]+")


@total_ordering
class Key:
    """The canonical segments; equal keys have equal segments."""

    __slots__ = ("segments",)

    def __init__(self, segments: tuple[tuple[int, int | str], ...]) -> None:
        self.segments = segments

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.segments == other.segments

    def __hash__(self) -> int:
        return hash(self.segments)

    def __lt__(self, other: Key) -> bool:
        # Padded, not prefix-compared: a missing segment is 0, which letters are below.
        for mine, theirs in zip_longest(self.segments, other.segments, fillvalue=_ZERO):
            if mine != theirs:
                return mine < theirs
        return False


_ZERO: tuple[int, int | str] = (1, 0)


def parse(text: str) -> Key:
    """A key that sorts as Gem::Version does; an empty version is 0."""
    match = _VERSION.fullmatch(text) if len(text) <= LIMIT else None
    if match is None:
        raise InvalidVersionError("RubyGems", text)
    version = (match[1] or "0").replace("-", ".pre.")
    segments = [_segment(piece) for piece in _SEGMENT.findall(version)]
    first_text = next((at for at, (kind, _) in enumerate(segments) if kind == 0), len(segments))
    return Key((*_strip(segments[:first_text]), *_strip(segments[first_text:])))


def _segment(piece: str) -> tuple[int, int | str]:
    return (1, int(piece)) if piece[0].isdigit() else (0, piece)


def _strip(segments: list[tuple[int, int | str]]) -> list[tuple[int, int | str]]:
    end = len(segments)
    while end and segments[end - 1] == _ZERO:
        end -= 1
    return segments[:end]
