"""NuGet versions.

Source: NuGet.Versioning, VersionComparer.Default, and learn.microsoft.com, "Package versioning":
semantic versions with one to four numbers, whatever their case, without regard to metadata.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from garrison.packages.versions.errors import LIMIT, InvalidVersionError

Label: TypeAlias = tuple[int, int | str]
Key: TypeAlias = tuple[int, int, int, int, int, tuple[Label, ...]]

_VERSION = re.compile(
    r"\s*([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:\.([0-9]+))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?\s*",
    re.ASCII,
)


def parse(text: str) -> Key:
    """A key that sorts as NuGet does."""
    match = _VERSION.fullmatch(text) if len(text) <= LIMIT else None
    if match is None:
        raise InvalidVersionError("NuGet", text)
    major, minor, patch, revision = (int(part or 0) for part in match.groups()[:4])
    labels = match[5]
    if labels is None:
        return (major, minor, patch, revision, 1, ())
    return (major, minor, patch, revision, 0, tuple(map(_label, labels.lower().split("."))))


def _label(text: str) -> Label:
    return (0, int(text)) if text.isdigit() else (1, text)
