"""An advisory: which versions of which packages it is about, and what is said of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

EventKind: TypeAlias = Literal["introduced", "fixed", "last_affected", "limit"]

_PYPI_SEPARATORS = re.compile(r"[-_.]+")


class Event(NamedTuple):
    """One point on a range's time line. `0` is before every version."""

    kind: EventKind
    version: str


class Range(NamedTuple):
    """Versions between events. type: `ECOSYSTEM` or `SEMVER`; GIT ranges are not kept."""

    type: str
    events: tuple[Event, ...]


class Rating(NamedTuple):
    """How bad somebody says it is.

    type: `CVSS_V2`, `CVSS_V3`, `CVSS_V4` with a vector as value; `urgency` and the name of a
        distribution with its own word; `severity` with a word; `cvss_v3` and the like with a bare
        score.
    """

    type: str
    value: str


class Reference(NamedTuple):
    """A link. type: OSV's word for it (`ADVISORY`, `FIX`, `WEB`, …)."""

    type: str
    url: str


@dataclass(frozen=True, slots=True)
class Affected:
    """What an advisory says about one package.

    ecosystem: with the release (`Debian:12`) where there is one.
    name: normalised for its ecosystem, see `normalize_name`.
    versions: affected versions listed one by one.
    ratings: what holds for this package alone.
    """

    ecosystem: str
    name: str
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()
    ratings: tuple[Rating, ...] = ()


@dataclass(frozen=True, slots=True)
class Advisory:
    """One record of a feed.

    aliases: other ids of the same vulnerability. upstream: ids of the vulnerabilities that a
        distribution's advisory is about. published, modified, withdrawn: RFC 3339 or empty;
        `modified` may lie in the future. url: the page to show.
    details, references, affected: empty in the rows of a lookup, which has no use for them.
    """

    id: str
    modified: str = ""
    published: str = ""
    withdrawn: str = ""
    aliases: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    ratings: tuple[Rating, ...] = ()
    summary: str = ""
    url: str = ""
    details: str = ""
    references: tuple[Reference, ...] = ()
    affected: tuple[Affected, ...] = ()

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Its own id, its aliases and its upstream ids, without repetition."""
        return tuple(dict.fromkeys((self.id, *self.aliases, *self.upstream)))


@dataclass(frozen=True, slots=True)
class AffectedRow:
    """An advisory, and what it says about the package that was looked up."""

    advisory: Advisory
    affected: Affected


def normalize_name(ecosystem: str, name: str) -> str:
    """The one spelling of a package's name that advisories and packages are compared by.

    Only where the ecosystem itself knows several spellings: PyPI (PEP 503), NuGet, Packagist.
    Everywhere else names differ by case, dots and dashes.
    """
    base = ecosystem.partition(":")[0]
    if base == "PyPI":
        return _PYPI_SEPARATORS.sub("-", name).lower()
    if base in {"NuGet", "Packagist"}:
        return name.lower()
    return name
