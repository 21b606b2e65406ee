"""Advisories in memory: what `match` needs of a store, and no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from garrison.advisories import Advisory, AffectedRow, CveFacts
from garrison.advisories.osv import read_record
from garrison.packages import Package
from garrison.packages.releases import serving
from tests.unit.advisories.records import Json, raw


class Records:
    """A `Lookup` over OSV records."""

    revision = "r1"
    updated_at = "2026-11-24T12:00:00Z"

    knows_exploited = False

    def __init__(
        self, *records: Json, covers: Iterable[str] = (), facts: Iterable[CveFacts] = ()
    ) -> None:
        self._facts = {item.id: item for item in facts}
        self.knows_exploited = any(item.kev for item in self._facts.values())
        advisories = [read_record(raw(item)).advisory for item in records]
        self._live = [item for item in advisories if not item.withdrawn]
        self._covers = {*covers, *(part.ecosystem for item in advisories for part in item.affected)}

    def covers(self, ecosystem: str) -> bool:
        return bool(serving(ecosystem, self._covers))

    def lookup(self, ecosystem: str, names: Iterable[str]) -> Mapping[str, tuple[AffectedRow, ...]]:
        found: dict[str, tuple[AffectedRow, ...]] = {}
        wanted = set(names)
        for advisory in self._live:
            for part in advisory.affected:
                if part.ecosystem in serving(ecosystem, self._covers) and part.name in wanted:
                    found[part.name] = (*found.get(part.name, ()), AffectedRow(advisory, part))
        return found

    def related(self, identifiers: Iterable[str]) -> Mapping[str, tuple[Advisory, ...]]:
        return {
            id: tuple(item for item in self._live if id in item.identifiers) for id in identifiers
        }

    def facts(self, cves: Iterable[str]) -> Mapping[str, CveFacts]:
        return {cve: self._facts[cve] for cve in cves if cve in self._facts}


def package(type: str, name: str, version: str, **more: Any) -> Package:
    purl = f"pkg:{type}/{name}@{version}"
    return Package(
        type=type,
        namespace=more.pop("namespace", ""),
        name=name,
        version=version,
        purl=purl,
        path=more.pop("path", f"lib/{name}"),
        **more,
    )


def deb(source: str, version: str, distro: str = "Debian:12", binary: str = "") -> Package:
    return package(
        "deb", binary or source, version, distro=distro, source=source, source_version=version
    )
