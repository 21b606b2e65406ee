"""Semantic versions: npm, crates.io and Go.

Source: semver.org 2.0.0, section 11; node-semver's loose mode; golang.org/x/mod/semver. Read
leniently, since advisories are: a leading `v` or `=`, missing minor and patch numbers (zero) and
zero-led numbers are accepted. Build metadata (`+incompatible` too) does not take part in the
order. Go pseudo-versions need no rule of their own: they are pre-releases.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from garrison.packages.versions.errors import LIMIT, InvalidVersionError

Identifier: TypeAlias = tuple[int, int | str]
Key: TypeAlias = tuple[int, int, int, int, tuple[Identifier, ...]]

_VERSION = re.compile(
    r"[v=\s]*([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]*)?\s*",
    re.ASCII,
)
_GO_TOOLCHAIN = re.compile(r"(?:go)?([0-9]+(?:\.[0-9]+){0,2})(?:(beta|rc)([0-9]+))?", re.ASCII)


def parse(text: str) -> Key:
    """A key that sorts by precedence."""
    match = _VERSION.fullmatch(text) if len(text) <= LIMIT else None
    if match is None:
        raise InvalidVersionError("semantic", text)
    major, minor, patch, pre = match.groups()
    numbers = (int(major), int(minor or 0), int(patch or 0))
    if pre is None:
        return (*numbers, 1, ())
    return (*numbers, 0, tuple(map(_identifier, pre.split("."))))


def _identifier(text: str) -> Identifier:
    return (0, int(text)) if text.isdigit() else (1, text)


def from_go_toolchain(text: str) -> str:
    """The semantic version of a Go release: `go1.21rc2` is `1.21.0-rc.2`, as in Go's advisories.

    Other text is returned as it is. A build's `go1.22.1 X:experiment` counts as 1.22.1.
    """
    match = _GO_TOOLCHAIN.fullmatch(text.split(" ", 1)[0])
    if match is None:
        return text
    numbers, kind, count = match.groups()
    release = ".".join([*numbers.split("."), "0", "0"][:3])
    return f"{release}-{kind}.{count}" if kind else release
