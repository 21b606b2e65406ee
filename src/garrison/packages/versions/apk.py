"""Alpine versions: `1.2.3b_rc1_p2~hash-r4`.

Source: apk-tools, version.c (the order of apk 3). The number after `.` is compared as text when
either side starts with a zero; a pre-release suffix sorts below the end of the version; otherwise
the longer version is the greater one.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from garrison.packages.versions.errors import LIMIT, InvalidVersionError

Key: TypeAlias = tuple[tuple[object, ...], ...]

_VERSION = re.compile(
    r"(?P<first>[0-9]+)(?P<numbers>(?:\.[0-9]+)*)(?P<letter>[a-z]?)"
    r"(?P<suffixes>(?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*)"
    r"(?:~(?P<hash>[0-9a-f]+))?(?:-r(?P<revision>[0-9]+))?",
    re.ASCII,
)
_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_SUFFIXES = {
    name: rank
    for rank, name in enumerate(("alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"))
}
_RELEASE = _SUFFIXES[""]

# What stands at the first place where two versions differ in kind decides, in this order.
_PRE, _END, _REVISION, _HASH, _NUMBER_OF_SUFFIX, _POST, _LETTER, _DIGIT = range(8)


def parse(text: str) -> Key:
    """A key that sorts as `apk version -t` does."""
    match = _VERSION.fullmatch(text) if len(text) <= LIMIT else None
    if match is None:
        raise InvalidVersionError("Alpine", text)
    key: list[tuple[object, ...]] = [(_DIGIT, int(match["first"]))]
    for number in match["numbers"].split(".")[1:]:
        # Zero-led numbers are compared as text, and as text they are below all others.
        key.append((_DIGIT, 0, number) if number[0] == "0" else (_DIGIT, 1, int(number)))
    if match["letter"]:
        key.append((_LETTER, match["letter"]))
    for name, number in _SUFFIX.findall(match["suffixes"]):
        rank = _SUFFIXES[name]
        key.append((_PRE if rank < _RELEASE else _POST, rank))
        if number:
            key.append((_NUMBER_OF_SUFFIX, int(number)))
    if match["hash"] is not None:
        key.append((_HASH, match["hash"]))
    if match["revision"] is not None:
        key.append((_REVISION, int(match["revision"])))
    key.append((_END,))
    return tuple(key)
