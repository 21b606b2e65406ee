"""Images and the packages in them: interned once, shared by layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    delete,
    func,
    or_,
    select,
    update,
)

from garrison.database import bulk, catalogue, content, interning
from garrison.database.dialect import (
    dialect_insert,
    insert_or_ignore,
    is_postgresql,
    upsert,
)
from garrison.database.page import Keyset, Page
from garrison.database.tables import (
    advisory_match,
    image,
    image_layer,
    image_ref,
    image_stat,
    layer,
    package,
    package_set,
    set_package,
)
from garrison.database.types import clean, clean_json
from garrison.findings.finding import Severity
from garrison.packages.package import Inventory, Layer, OperatingSystem, Package, Skipped

ImageSort: TypeAlias = Literal["severity", "reference", "scanned"]

COUNTERS = ("critical", "high", "medium", "low", "unknown", "fixable", "exploited", "waived")
"""Columns of image_stat, the fields of Counts."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """package_ids: every package in the image. new_packages: those the fleet had not seen before
    this transaction; match them in the same one, with `matches.put`. renamed: images that its
    reference named until now; count them too, since waivers go by reference.
    """

    image_id: int
    package_ids: tuple[int, ...]
    new_packages: tuple[tuple[int, Package], ...]
    renamed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Findings of an image by severity, without waived ones.

    fixable: how many of them have a fixed version; exploited: how many are known to be exploited;
    waived: how many there are beside them.
    """

    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0
    unknown: int = 0
    fixable: int = 0
    exploited: int = 0
    waived: int = 0

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
    exploited: with one that is known to be exploited.
    advisory: id or alias; package: exact name, with its scope or without.
    sort: `severity` and `scanned` descend.
    """

    limit: int = 50
    cursor: str | None = None
    search: str = ""
    sort: ImageSort = "severity"
    min_severity: Severity | None = None
    fixable: bool = False
    exploited: bool = False
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
    if not inventory.digest:
        raise ValueError("an image is known by its digest, and this one has none")
    found = content.Content.of(inventory)
    catalogue.taking_in(c)
    package_ids, added = interning.ids(c, package, "key", content.PACKAGE_COLUMNS, found.packages)
    set_ids = _store_sets(c, found, package_ids)
    layer_ids, _ = interning.ids(c, layer, "key", content.LAYER_COLUMNS, found.layers)
    image_id = _store_image(c, inventory, sorted(set(ecosystems)), found.count, now)
    links = [
        (
            place.position,
            None if place.layer is None else layer_ids[place.layer],
            None if place.set is None else set_ids[place.set],
        )
        for place in found.places
    ]
    _store_layers(c, image_id, links)
    renamed = _store_reference(c, inventory.reference, image_id, now)
    return StoredImage(
        image_id,
        tuple(sorted(package_ids.values())),
        tuple(sorted((package_ids[k], content.as_package(found.packages[k])) for k in added)),
        renamed,
    )


def _store_sets(
    c: Connection, found: content.Content, package_ids: Mapping[bytes, int]
) -> dict[bytes, int]:
    """The ids of the image's package sets; the content of those that are new is stored."""
    ids, added = interning.ids(c, package_set, "digest", (), dict.fromkeys(found.sets, ()))
    rows = [
        (ids[digest], n, package_ids[link.package], link.counted, *link.place)
        for digest in sorted(added)
        for n, link in enumerate(found.sets[digest])
    ]
    columns = ("set_id", "n", "package_id", "counted", "path", "position", "owner")
    bulk.insert_rows(c, set_package, columns, rows)
    return ids


def _store_image(
    c: Connection, inventory: Inventory, ecosystems: list[str], count: int, now: datetime
) -> int:
    os = inventory.os or OperatingSystem("", "")
    values: dict[str, Any] = {
        "reference": clean(inventory.reference),
        "platform": clean(inventory.platform),
        "os_id": clean(os.id),
        "os_version": clean(os.version_id),
        "os_name": clean(os.pretty_name),
        "os_codename": clean(os.codename),
        "size": sum(one.size for one in inventory.layers),
        "packages": count,
        "ecosystems": clean_json(ecosystems),
        "unreadable": clean_json(inventory.unreadable),
        "skipped": clean_json([asdict(s) for s in inventory.skipped]),
        "labels": clean_json(inventory.labels),
        "scanned_at": now,
        "scan_seconds": inventory.duration,
    }
    values |= {"digest": clean(inventory.digest), "first_seen": now}
    image_id = int(c.execute(_image_upsert(is_postgresql(c)), values).scalar_one())
    empty = dict.fromkeys(COUNTERS, 0) | {"pending": count}
    c.execute(insert_or_ignore(c, image_stat), {"image_id": image_id, **empty})
    return image_id


@lru_cache(maxsize=2)
def _image_upsert(postgresql: bool) -> Any:
    statement = dialect_insert(postgresql, image)
    kept = {"id", "digest", "first_seen"}
    return statement.on_conflict_do_update(
        index_elements=["digest"],
        set_={one.name: statement.excluded[one.name] for one in image.c if one.name not in kept},
    ).returning(image.c.id)


def _store_layers(
    c: Connection, image_id: int, links: list[tuple[int, int | None, int | None]]
) -> None:
    columns = (image_layer.c.position, image_layer.c.layer_id, image_layer.c.set_id)
    mine = image_layer.c.image_id == image_id
    before = c.execute(select(*columns).where(mine).order_by(image_layer.c.position)).all()
    if [tuple(row) for row in before] == links:
        return
    if before:
        c.execute(delete(image_layer).where(mine))
    names = ("image_id", "position", "layer_id", "set_id")
    bulk.insert_rows(c, image_layer, names, [(image_id, *link) for link in links])


def _store_reference(
    c: Connection, reference: str, image_id: int, now: datetime
) -> tuple[int, ...]:
    """Ids of the images that the reference named until now."""
    name = clean(reference)
    moved = c.execute(
        update(image_ref)
        .where(
            image_ref.c.reference == name,
            image_ref.c.image_id != image_id,
            image_ref.c.moved_at.is_(None),
        )
        .values(moved_at=now)
        .returning(image_ref.c.image_id)
    ).scalars()
    renamed = tuple(sorted(moved))
    changes = {"last_seen": now, "moved_at": None}
    c.execute(
        upsert(c, image_ref, ["reference", "image_id"], changes).values(
            reference=name, image_id=image_id, first_seen=now, **changes
        )
    )
    return renamed


def count(c: Connection) -> int:
    """How many images are known."""
    return int(c.execute(select(func.count()).select_from(image)).scalar_one())


def totals(c: Connection) -> Counts:
    """Findings of all images together; one in two images counts twice."""
    names = [one.name for one in fields(Counts)]
    sums = [func.coalesce(func.sum(image_stat.c[name]), 0).label(name) for name in names]
    row = c.execute(select(*sums)).one()
    return Counts(**{name: int(row._mapping[name]) for name in names})


def ids(c: Connection) -> frozenset[int]:
    """Every image."""
    return frozenset(c.execute(select(image.c.id)).scalars())


def pending(c: Connection, image_ids: Iterable[int]) -> frozenset[int]:
    """Those of the images with packages that were never matched."""
    found: set[int] = set()
    for part in bulk.chunks(sorted(image_ids)):
        statement = select(image_stat.c.image_id).where(
            image_stat.c.image_id.in_(part), image_stat.c.pending > 0
        )
        found.update(c.execute(statement).scalars())
    return frozenset(found)


def page(c: Connection, query: ImageQuery) -> Page[ImageRow]:
    """Images with their counters."""
    statement = _select().where(*_conditions(query))
    return _ORDERS[query.sort].fetch(
        c, statement, limit=query.limit, cursor=query.cursor, make=_row
    )


def by_digest(c: Connection, digest: str) -> ImageDetail | None:
    return _detail(c, image.c.digest == digest)


def by_id(c: Connection, image_id: int) -> ImageDetail | None:
    return _detail(c, image.c.id == image_id)


def layers(c: Connection, image_id: int) -> tuple[LayerRow, ...]:
    """The image's layers, oldest first."""
    count = (
        select(func.count())
        .where(set_package.c.set_id == image_layer.c.set_id)
        .correlate(image_layer)
        .scalar_subquery()
    )
    statement = (
        select(image_layer.c.position, layer, count.label("packages"))
        .join_from(image_layer, layer)
        .where(image_layer.c.image_id == image_id)
        .order_by(image_layer.c.position)
    )
    return tuple(
        LayerRow(
            row.position, Layer(row.digest, row.diff_id, row.size, row.created_by), row.packages
        )
        for row in c.execute(statement)
    )


def packages(
    c: Connection, image_id: int, limit: int = 50, cursor: str | None = None, *, search: str = ""
) -> Page[PackageRow]:
    """What is installed, by name; each with its path, position, owner and layer.

    search: part of the name.
    """
    statement = (
        select(*content.LOCATED)
        .select_from(image_layer)
        .join(set_package, set_package.c.set_id == image_layer.c.set_id)
        .join(package, package.c.id == set_package.c.package_id)
        .outerjoin(layer, layer.c.id == image_layer.c.layer_id)
        .where(image_layer.c.image_id == image_id)
    )
    if search:
        statement = statement.where(
            func.lower(package.c.name).contains(search.lower(), autoescape=True)
        )
    order = Keyset(
        "packages",
        [package.c.name, package.c.id, image_layer.c.position, set_package.c.n],
        [str, int, int, int],
    )
    return order.fetch(
        c,
        statement,
        limit=limit,
        cursor=cursor,
        make=lambda row: PackageRow(row.package_id, content.located(row)),
    )


def with_packages(c: Connection, package_ids: Iterable[int]) -> frozenset[int]:
    """Ids of the images in which any of these packages is installed."""
    found: set[int] = set()
    for chunk in bulk.chunks(sorted(set(package_ids))):
        statement = (
            select(image_layer.c.image_id)
            .distinct()
            .join(set_package, set_package.c.set_id == image_layer.c.set_id)
            .where(set_package.c.package_id.in_(chunk))
        )
        found.update(c.execute(statement).scalars())
    return frozenset(found)


def holding(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    """Ids of images by what they hold: conditions over package, set_package, advisory_match.

    Begins at the packages or matches, which are few, and not at the images.
    """
    return (
        select(image_layer.c.image_id)
        .select_from(package)
        .join(set_package, set_package.c.package_id == package.c.id)
        .join(image_layer, image_layer.c.set_id == set_package.c.set_id)
        .where(*conditions)
    )


_ORDERS: dict[ImageSort, Keyset] = {
    "severity": Keyset(
        "images.severity",
        [image_stat.c[name] for name in COUNTERS[:5]] + [image_stat.c.image_id],
        [int] * 6,
        descending=True,
    ),
    "reference": Keyset("images.reference", [image.c.reference, image.c.id], [str, int]),
    "scanned": Keyset(
        "images.scanned", [image.c.scanned_at, image.c.id], [datetime, int], descending=True
    ),
}


def _conditions(query: ImageQuery) -> Iterator[ColumnElement[bool]]:
    if query.search:
        lower = query.search.lower()
        named = select(image_ref.c.image_id).where(
            func.lower(image_ref.c.reference).contains(lower, autoescape=True)
        )
        yield or_(image.c.id.in_(named), image.c.digest.startswith(lower, autoescape=True))
    if query.min_severity is not None:
        levels = [image_stat.c[s.label] for s in Severity if s >= query.min_severity]
        yield or_(*(level > 0 for level in levels))
    if query.fixable:
        yield image_stat.c.fixable > 0
    if query.exploited:
        yield image_stat.c.exploited > 0
    if query.package:
        yield image.c.id.in_(holding(content.package_named(query.package)))
    if query.advisory:
        matched = select(advisory_match.c.package_id).where(content.advisory_named(query.advisory))
        yield image.c.id.in_(holding(package.c.id.in_(matched), set_package.c.counted))


def _select() -> Select[Any]:
    counters = [image_stat.c[name] for name in (*COUNTERS, "pending")]
    return select(image, *counters).join_from(
        image_stat, image, image.c.id == image_stat.c.image_id
    )


def _detail(c: Connection, condition: ColumnElement[bool]) -> ImageDetail | None:
    row = c.execute(_select().where(condition)).one_or_none()
    if row is None:
        return None
    references = c.execute(
        select(image_ref)
        .where(image_ref.c.image_id == row.id)
        .order_by(image_ref.c.last_seen.desc(), image_ref.c.reference)
    )
    return ImageDetail(
        _row(row),
        tuple(ReferenceRow(r.reference, r.first_seen, r.last_seen, r.moved_at) for r in references),
        row.labels,
        tuple(Skipped(**s) for s in row.skipped),
        row.scan_seconds,
    )


def _row(row: Row[Any]) -> ImageRow:
    system = OperatingSystem(row.os_id, row.os_version, row.os_name, row.os_codename)
    return ImageRow(
        id=row.id,
        digest=row.digest,
        reference=row.reference,
        platform=row.platform,
        os=system if row.os_id else None,
        size=row.size,
        packages=row.packages,
        counts=Counts(*(row._mapping[name] for name in COUNTERS)),
        ecosystems=tuple(row.ecosystems),
        unreadable=tuple(row.unreadable),
        pending=row.pending,
        first_seen=row.first_seen,
        scanned_at=row.scanned_at,
    )
