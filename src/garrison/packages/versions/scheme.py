"""Which scheme orders the versions of an ecosystem, and how to compare two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from garrison.packages.versions import apk, composer, dpkg, gem, maven, nuget, pep440, rpm, semver
from garrison.packages.versions.errors import InvalidVersionError


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to order versions.

    parse: gives a key that only compares with keys of the same scheme, hashable, equal for equal
        versions. Raises InvalidVersionError. Results are remembered: advisories and images name
        the same versions over and over.
    """

    name: str
    parse: Callable[[str], Any]

    def valid(self, text: str) -> bool:
        """Whether `parse` accepts it."""
        try:
            self.parse(text)
        except InvalidVersionError:
            return False
        return True

    def sort_key(self, text: str) -> tuple[int, Any]:
        """A key for every text: invalid versions come before all valid ones, in text order."""
        try:
            return (1, self.parse(text))
        except InvalidVersionError:
            return (0, text)

    def compare(self, a: str, b: str) -> int:
        """-1, 0 or 1, by `sort_key`; a total order over all texts."""
        left, right = self.sort_key(a), self.sort_key(b)
        return 0 if left == right else -1 if left < right else 1


def _scheme(name: str, parse: Callable[[str], Any]) -> Scheme:
    return Scheme(name, lru_cache(maxsize=32768)(parse))


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        _scheme("dpkg", dpkg.parse),
        _scheme("apk", apk.parse),
        _scheme("rpm", rpm.parse),
        _scheme("pep440", pep440.parse),
        _scheme("semver", semver.parse),
        _scheme("gem", gem.parse),
        _scheme("maven", maven.parse),
        _scheme("composer", composer.parse),
        _scheme("nuget", nuget.parse),
    )
}

# OSV's ecosystem names without the release suffix.
_ECOSYSTEMS = {
    "Alpaquita": "apk",
    "Alpine": "apk",
    "BellSoft Hardened Containers": "apk",
    "Chainguard": "apk",
    "MinimOS": "apk",
    "Wolfi": "apk",
    "Debian": "dpkg",
    "Echo": "dpkg",
    "Ubuntu": "dpkg",
    "AlmaLinux": "rpm",
    "Azure Linux": "rpm",
    "Mageia": "rpm",
    "Photon OS": "rpm",
    "Red Hat": "rpm",
    "Rocky Linux": "rpm",
    "SUSE": "rpm",
    "openEuler": "rpm",
    "openSUSE": "rpm",
    "PyPI": "pep440",
    "npm": "semver",
    "crates.io": "semver",
    "Go": "semver",
    "Hex": "semver",
    "Pub": "semver",
    "SwiftURL": "semver",
    "NuGet": "nuget",
    "Packagist": "composer",
    "RubyGems": "gem",
    "Maven": "maven",
}


def scheme_for(ecosystem: str) -> Scheme | None:
    """The scheme of an OSV ecosystem, with or without release (`Debian:12`); None if unknown."""
    name = _ECOSYSTEMS.get(ecosystem.partition(":")[0])
    return SCHEMES.get(name) if name else None


def compare(scheme: str | Scheme, a: str, b: str) -> int:
    """-1, 0 or 1. Raises KeyError for an unknown scheme name, nothing for odd versions."""
    return (SCHEMES[scheme] if isinstance(scheme, str) else scheme).compare(a, b)
