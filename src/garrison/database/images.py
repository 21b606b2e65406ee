"""Images and the packages in them: interned once, shared by layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection

from garrison.database.page import Page
from garrison.findings.finding import Severity
from garrison.packages.package import Inventory, Layer, OperatingSystem, Package, Skipped

ImageSort: TypeAlias = Literal["severity", "reference", "scanned"]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """package_ids: every package in the image. new_packages: those the fleet had not seen before
    this transaction; match them in the same one, with `matches.put`.
    """

    image_id: int
    package_ids: tuple[int, ...]
    new_packages: tuple[tuple[int, Package], ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Findings of an image by severity; fixable: how many of them have a fixed version."""

    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0
    unknown: int = 0
    fixable: int = 0

    @property
    def total(self) -> int:
        return self.critical + self.high + self.medium + self.low + self.unknown

    def of(self, severity: Severity) -> int:
        count = getattr(self, severity.label)
        assert isinstance(count, int)
        return count


@dataclass(frozen=True, slots=True)
class ImageRow:
    """reference: the newest one that named it. size: bytes of compressed layers.

    packages: how many. ecosystems: whose advisories the image needs. unreadable: paths of
    package databases that could not be read. pending: packages that were not matched yet.
    """

    id: int
    digest: str
    reference: str
    platform: str
    os: OperatingSystem | None
    size: int
    packages: int
    counts: Counts
    ecosystems: tuple[str, ...]
    unreadable: tuple[str, ...]
    pending: int
    first_seen: datetime
    scanned_at: datetime

    def missing(self, loaded: Collection[str]) -> tuple[str, ...]:
        """Ecosystems the image needs for which no advisories are loaded.

        `Debian:12` is served by `Debian` too.
        """
        return tuple(
            e for e in self.ecosystems if e not in loaded and e.partition(":")[0] not in loaded
        )

    def complete(self, loaded: Collection[str]) -> bool:
        """Whether an image without findings is clean: never show it as such when this is False."""
        return not self.missing(loaded) and not self.unreadable and not self.pending

    def warnings(self, loaded: Collection[str]) -> tuple[str, ...]:
        """Why it is not complete, as sentences; empty when it is."""
        said = [f"No advisories are loaded for {name}." for name in self.missing(loaded)]
        said += [f"The package database {path} could not be read." for path in self.unreadable]
        if self.pending:
            said.append(f"{self.pending} packages have not been matched with advisories yet.")
        return tuple(said)


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """moved_at: when it was first seen naming another image; None: it still names this one."""

    reference: str
    first_seen: datetime
    last_seen: datetime
    moved_at: datetime | None


@dataclass(frozen=True, slots=True)
class ImageDetail:
    """An image's page. skipped: files that could not be read, the scan went on without."""

    image: ImageRow
    references: tuple[ReferenceRow, ...]
    labels: dict[str, str] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    scan_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LayerRow:
    """position: 0 is the oldest. packages: how many it brought that are visible in the image."""

    position: int
    layer: Layer
    packages: int


@dataclass(frozen=True, slots=True)
class PackageRow:
    package_id: int
    package: Package


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """search: part of a reference, or the beginning of a digest.

    min_severity: only images with a finding at or above it. fixable: with one that has a fix.
    advisory: id or alias; package: exact name. sort: `severity` and `scanned` descend.
    """

    limit: int = 50
    cursor: str | None = None
    search: str = ""
    sort: ImageSort = "severity"
    min_severity: Severity | None = None
    fixable: bool = False
    advisory: str = ""
    package: str = ""


def store(
    c: Connection, inventory: Inventory, now: datetime, *, ecosystems: Iterable[str]
) -> StoredImage:
    """Keep what a scan found, replacing what is known of the same digest.

    ecosystems: whose advisories the image needs. Required: without them an image that nothing is
    known about would look clean.
    The counters are stale until `matches.recount` has run in the same transaction.

    Raises:
        ValueError: the inventory has no digest.
    """
    raise NotImplementedError


def page(c: Connection, query: ImageQuery) -> Page[ImageRow]:
    """Images with their counters."""
    raise NotImplementedError


def by_digest(c: Connection, digest: str) -> ImageDetail | None:
    raise NotImplementedError


def by_id(c: Connection, image_id: int) -> ImageDetail | None:
    raise NotImplementedError


def layers(c: Connection, image_id: int) -> tuple[LayerRow, ...]:
    """The image's layers, oldest first."""
    raise NotImplementedError


def packages(
    c: Connection, image_id: int, limit: int = 50, cursor: str | None = None, *, search: str = ""
) -> Page[PackageRow]:
    """What is installed, by name; each with its path, position, owner and layer.

    search: part of the name.
    """
    raise NotImplementedError


def with_packages(c: Connection, package_ids: Iterable[int]) -> frozenset[int]:
    """Ids of the images in which any of these packages is installed."""
    raise NotImplementedError
