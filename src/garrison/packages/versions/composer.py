"""Composer versions: PHP's packages.

Source: composer/semver, VersionParser::normalize, and PHP's version_compare(), by which normalised
versions are ordered: `dev < alpha < beta < RC < (release) < patch`, and a number behind any of
these is above none. Branches (`dev-main`) are no versions.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from garrison.packages.versions.errors import LIMIT, InvalidVersionError

Key: TypeAlias = tuple[tuple[int, ...], tuple[tuple[int, int], ...]]

_STAGE = (
    r"[._-]?(?:(?P<stage>stable|beta|b|rc|alpha|a|patch|pl|p)(?P<count>(?:[.-]?[0-9]+)*))?"
    r"(?P<dev>[.-]?dev)?"
)
_CLASSIC = re.compile(
    r"v?([0-9]{1,5})(?:\.([0-9]+|x))?(?:\.([0-9]+|x))?(?:\.([0-9]+|x))?" + _STAGE,
    re.IGNORECASE | re.ASCII,
)
_DATE = re.compile(
    r"v?([0-9]{4}(?:[.:-]?[0-9]{2}){1,6}(?:[.:-]?[0-9]{1,3}){0,2})" + _STAGE,
    re.IGNORECASE | re.ASCII,
)
_OPEN = 9999999
"""What `x` in a branch stands for."""
_DEV, _ALPHA, _BETA, _RC, _RELEASE, _PATCH = range(6)
_STAGES = {
    "alpha": _ALPHA, "a": _ALPHA, "beta": _BETA, "b": _BETA, "rc": _RC,
    "patch": _PATCH, "pl": _PATCH, "p": _PATCH,
}  # fmt: skip
_END = (_RELEASE, -1)


def parse(text: str) -> Key:
    """A key that sorts as Composer does."""
    version = text.strip()
    if len(version) > LIMIT:
        raise InvalidVersionError("Composer", text, "too long")
    version = version.partition(" as ")[0].rstrip()
    version = re.sub(r"@(?:stable|RC|beta|alpha|dev)$", "", version, flags=re.IGNORECASE)
    head, plus, metadata = version.partition("+")
    if plus and re.search(r"\s", metadata):
        raise InvalidVersionError("Composer", text)
    if match := _CLASSIC.fullmatch(head):
        given = match.groups()[:4]
        if "x" in (part.lower() for part in given if part) and not match["dev"]:
            raise InvalidVersionError("Composer", text, "a branch without -dev")
        fill = str(_OPEN) if any(part in ("x", "X") for part in given) else "0"
        numbers = [_OPEN if part in ("x", "X") else int(part or fill) for part in given]
    elif match := _DATE.fullmatch(head):
        numbers = [int(part) for part in re.split(r"[.:-]", match[1])]
    else:
        raise InvalidVersionError("Composer", text)
    return tuple(numbers), _stage(match)


def _stage(match: re.Match[str]) -> tuple[tuple[int, int], ...]:
    parts: list[tuple[int, int]] = []
    stage = _STAGES.get((match["stage"] or "").lower())
    if stage is not None:
        parts.append((stage, 0))
        parts += [(_RELEASE, int(n)) for n in re.findall(r"[0-9]+", match["count"] or "")]
    if match["dev"]:
        parts.append((_DEV, 0))
    return (*parts, _END)
