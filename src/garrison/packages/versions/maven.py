"""Maven versions.

Source: Maven's version order specification (POM reference) and the behaviour of ComparableVersion
of Maven 4, whose published cases are the tests. A version is a nested list: `-` and each change
between digits and letters open an inner list. Numbers are above lists, lists above words; known
words sort around the release (`alpha < beta < milestone < rc < snapshot < release < sp`), unknown
ones after them by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import total_ordering
from itertools import zip_longest
from typing import TypeAlias

from garrison.packages.versions.errors import InvalidVersionError

_LIMIT = 256
"""As Maven's own: each `-` nests one level and comparing recurses."""

_QUALIFIERS = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_RELEASE = _QUALIFIERS.index("")
_RELEASE_WORDS = frozenset({"ga", "final", "release", ""})
_DIGITS = "0123456789"
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}
_PIECE = re.compile(r"[0-9]+|[^0-9.\-]+|[.\-]")

Rank: TypeAlias = tuple[int, str]
_RELEASE_RANK: Rank = (_RELEASE, "")


def _rank(word: str) -> Rank:
    """Known words by their place, unknown ones after all of them by name."""
    if word in _RELEASE_WORDS:
        return _RELEASE_RANK
    word = "rc" if word == "cr" else word
    return (_QUALIFIERS.index(word), "") if word in _QUALIFIERS else (len(_QUALIFIERS), word)


@dataclass(frozen=True, slots=True)
class Word:
    """A qualifier, with the number directly behind it (`rc1`, `rc-1`) or None."""

    text: str
    number: int | None = None

    @property
    def rank(self) -> Rank:
        short = self.number is not None and self.text in _SHORT
        return _rank(_SHORT[self.text] if short else self.text)


@dataclass(slots=True)
class Group:
    """A list of items, as `-` opens one."""

    items: list[Item] = field(default_factory=list)


Item: TypeAlias = int | Word | Group


@total_ordering
class Key:
    """A parsed version. Equal means that neither sorts before the other (`1` and `1-ga`)."""

    __slots__ = ("root",)

    def __init__(self, root: Group) -> None:
        self.root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and _compare(self.root, other.root) == 0

    def __lt__(self, other: Key) -> bool:
        return _compare(self.root, other.root) < 0

    def __hash__(self) -> int:
        # Only what cannot differ between equal versions: the first number.
        first = self.root.items[0] if self.root.items else 0
        return hash(first) if isinstance(first, int) else 0


def parse(text: str) -> Key:
    """A key that sorts as Maven does, case-insensitive. Any text is a version but an empty one."""
    version = text.strip().lower()
    if not version or len(version) > _LIMIT:
        raise InvalidVersionError("Maven", text, "empty" if not version else "too long")
    builder = _Builder()
    pieces = _PIECE.findall(version)
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        builder.take(piece, following)
    return Key(builder.finish())


class _Builder:
    """Pieces to nested lists. `word` and `number` are the item being read, `lists` the open lists,
    outermost first."""

    def __init__(self) -> None:
        self.lists = [Group()]
        self.word: str | None = None
        self.number: str | None = None

    def take(self, piece: str, following: str) -> None:
        if piece == ".":
            self._add()
        elif piece == "-":
            self._dash(following)
        elif piece[0] in _DIGITS:
            self._digits(piece)
        else:
            self._letters(piece)

    def _dash(self, following: str) -> None:
        if self.word is not None and self.number is None and following and following[0] in _DIGITS:
            return  # `rc-1` reads as `rc1`
        self._add()
        self._open()

    def _digits(self, piece: str) -> None:
        if self.word is not None and self.lists[-1].items:
            self._open()
        self.number = piece

    def _letters(self, piece: str) -> None:
        if self.number is not None:
            self._add()
            self._open()
        self.word = piece

    def _add(self) -> None:
        """End the item being read; an empty one is 0."""
        number = None if self.number is None else int(self.number)
        item: Item = (number or 0) if self.word is None else Word(self.word, number)
        self.lists[-1].items.append(item)
        self.word = self.number = None

    def _open(self) -> None:
        inner = Group()
        self.lists[-1].items.append(inner)
        self.lists.append(inner)

    def finish(self) -> Group:
        if self.word is not None or self.number is not None:
            if self.number is None and self.lists[-1].items:
                self._open()  # `.X` reads as `-X`
            self._add()
        for group in reversed(self.lists):
            _normalize(group)
        return self.lists[0]


def _normalize(group: Group) -> None:
    """Drop zeros and empty lists that a release part may end in: `1.0.0-rc` is `1-rc`."""
    items = group.items
    for at in range(len(items) - 1, -1, -1):
        item = items[at]
        if item != 0 and not (isinstance(item, Group) and not item.items):
            continue
        following = items[at + 1] if at + 1 < len(items) else None
        if isinstance(following, Group):
            following = following.items[0]
        if following is None or isinstance(following, Word):
            del items[at]
    if len(items) == 1 and isinstance(items[0], Group):
        group.items = items[0].items


def _compare(a: Item | None, b: Item | None) -> int:
    """Negative, zero or positive; None is an item that is not there."""
    if isinstance(a, Group) or isinstance(b, Group):
        if isinstance(a, int):
            return 1
        if isinstance(b, int):
            return -1
        return _compare_lists(_items(a), _items(b))
    if isinstance(a, Word) or isinstance(b, Word):
        if isinstance(a, int):
            return 1
        if isinstance(b, int):
            return -1
        left, right = _word_key(a), _word_key(b)
        return (left > right) - (left < right)
    return (a or 0) - (b or 0)


def _items(item: Item | None) -> list[Item]:
    if item is None:
        return []
    return item.items if isinstance(item, Group) else [item]


def _compare_lists(left: list[Item], right: list[Item]) -> int:
    for a, b in zip_longest(left, right):
        if result := _compare(a, b):
            return result
    return 0


def _word_key(word: Word | None) -> tuple[Rank, int]:
    """A word without a number is below the same word with one, except that `ga` is `ga0`."""
    if word is None:
        return (_RELEASE_RANK, 0)
    if word.number is not None:
        return (word.rank, word.number)
    return (word.rank, 0 if word.rank == _RELEASE_RANK else -1)
