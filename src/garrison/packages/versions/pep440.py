"""Python versions, by the `packaging` library."""

from __future__ import annotations

from typing import TypeAlias

from packaging.version import InvalidVersion, Version

from garrison.packages.versions.errors import LIMIT, InvalidVersionError

Key: TypeAlias = Version


def parse(text: str) -> Version:
    """Source: PEP 440. Surrounding space and a leading `v` are accepted, as by `pip`."""
    if len(text) > LIMIT:
        raise InvalidVersionError("Python", text, "too long")
    try:
        return Version(text)
    except InvalidVersion:
        raise InvalidVersionError("Python", text) from None


def public(version: Version) -> Version:
    """Without the local label (`+cu118`), which the specifiers of PEP 440 ignore too."""
    return Version(version.public) if version.local is not None else version
