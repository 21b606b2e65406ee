"""What an inventory is made of, in the form the tables share: hashed packages, sets and layers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, or_, select

from garrison.database.tables import (
    advisory_match,
    layer,
    match_alias,
    package,
    set_package,
)
from garrison.database.types import clean
from garrison.findings import subject_of
from garrison.packages.package import Inventory, Layer, Package

PACKAGE_COLUMNS = (
    "type",
    "namespace",
    "name",
    "version",
    "arch",
    "distro",
    "source",
    "source_version",
    "purl",
)
LAYER_COLUMNS = ("digest", "diff_id", "size", "created_by")

MAX_INDEXED = 512
"""Characters kept of a package's name, version and source: PostgreSQL indexes 2,704 bytes at
most. The hash is taken before the cut, so that longer ones stay different packages."""

NO_LAYER = -1
"""Position of packages in an image that has no layers."""


class Link(NamedTuple):
    """One package of a set. place: path, position, owner."""

    package: bytes
    place: tuple[str, str, str]
    counted: bool


class Place(NamedTuple):
    """A layer's position in the image, its hash, and that of the packages it shows."""

    position: int
    layer: bytes | None
    set: bytes | None


@dataclass(frozen=True, slots=True)
class Content:
    """packages, layers: rows by hash. sets: sorted links by hash. count: packages with a path."""

    packages: Mapping[bytes, tuple[str, ...]]
    layers: Mapping[bytes, tuple[Any, ...]]
    sets: Mapping[bytes, Sequence[Link]]
    places: tuple[Place, ...]
    count: int

    @classmethod
    def of(cls, inventory: Inventory) -> Content:
        packages: dict[bytes, tuple[str, ...]] = {}
        links: dict[int, list[Link]] = {}
        positions = _positions(inventory.layers)
        seen: set[tuple[object, str]] = set()
        for one in inventory.packages:
            key, row = _identity(one)
            place = (clean(one.path), one.position, clean(one.owner))
            # One finding per package URL and path: a package that a reader names twice is one.
            if (where := (row[-1] or key, place[0])) in seen:
                continue
            seen.add(where)
            packages[key] = row
            position = positions.get(one.layer or one.diff_id, NO_LAYER)
            links.setdefault(position, []).append(Link(key, place, _counted(one)))
        layers = {i: _layer(one) for i, one in enumerate(inventory.layers)}
        sets: dict[bytes, Sequence[Link]] = {}
        places = []
        for position in sorted(layers.keys() | links.keys()):
            digest = None
            if position in links:
                content = sorted(links[position])
                digest = _digest(content)
                sets[digest] = content
            hashed = layers[position][0] if position in layers else None
            places.append(Place(position, hashed, digest))
        return cls(packages, dict(layers.values()), sets, tuple(places), len(seen))


def as_package(row: Sequence[str]) -> Package:
    """A package version without a place: position, path and layer belong to an image.

    row: values in the order of PACKAGE_COLUMNS.
    """
    kind, namespace, name, version, arch, distro, source, source_version, purl = row
    return Package(
        type=kind,
        namespace=namespace,
        name=name,
        version=version,
        purl=purl,
        path="",
        arch=arch,
        distro=distro,
        source=source,
        source_version=source_version,
    )


IDENTITY: tuple[ColumnElement[Any], ...] = (
    package.c.id.label("package_id"),
    *(package.c[name].label(f"package_{name}") for name in PACKAGE_COLUMNS),
)
"""What `identified` needs of a row."""

LOCATED: tuple[ColumnElement[Any], ...] = (
    *IDENTITY,
    set_package.c.path,
    set_package.c.position.label("package_position"),
    set_package.c.owner,
    layer.c.digest.label("layer_digest"),
    layer.c.diff_id,
)
"""What `located` needs of a row."""


def identified(row: Row[Any]) -> Package:
    """The package version of a row with IDENTITY."""
    return as_package([row._mapping[f"package_{name}"] for name in PACKAGE_COLUMNS])


def located(row: Row[Any]) -> Package:
    """The package of a row with LOCATED, where it is in the image."""
    return Package(
        type=row.package_type,
        namespace=row.package_namespace,
        name=row.package_name,
        version=row.package_version,
        purl=row.package_purl,
        path=row.path,
        position=row.package_position,
        arch=row.package_arch,
        distro=row.package_distro,
        source=row.package_source,
        source_version=row.package_source_version,
        owner=row.owner,
        layer=row.layer_digest or "",
        diff_id=row.diff_id or "",
    )


def advisory_named(name: str) -> ColumnElement[bool]:
    """Matches of the advisory that is called so: by its id, an alias or a record's id."""
    aliased = select(match_alias.c.advisory).where(match_alias.c.alias == name)
    return or_(advisory_match.c.advisory == name, advisory_match.c.advisory.in_(aliased))


def package_named(name: str) -> ColumnElement[bool]:
    """Packages called so, by their own name or with npm's scope, Maven's group or Go's path."""
    exact = package.c.name == name
    namespace, joint, own = name.rpartition(":" if ":" in name else "/")
    if not joint:
        return exact
    return or_(exact, and_(package.c.name == own, package.c.namespace == namespace))


def _identity(one: Package) -> tuple[bytes, tuple[str, ...]]:
    row: tuple[str, ...] = (
        one.type,
        one.namespace,
        one.name,
        one.version,
        one.arch,
        one.distro,
        one.source,
        one.source_version,
        one.purl,
    )
    joined = "\0".join(row)
    if not joined.isascii() or joined.count("\0") != len(row) - 1:
        row = tuple(clean(text) for text in row)
        joined = "\0".join(row)
    key = hashlib.sha256(joined.encode()).digest()
    if len(joined) > MAX_INDEXED:
        row = (*(text[:MAX_INDEXED] for text in row[:-1]), row[-1])
    return key, row


def _counted(one: Package) -> bool:
    """Whether matches are findings here: what a distribution package owns, it answers for.

    The matches themselves are of the package version, wherever it is, and know no position.
    """
    return one.position != "owned" or subject_of(one) is not None


def _layer(one: Layer) -> tuple[bytes, tuple[Any, ...]]:
    row = (clean(one.digest), clean(one.diff_id), one.size, clean(one.created_by))
    return hashlib.sha256("\0".join(map(str, row)).encode()).digest(), row


def _positions(layers: Sequence[Layer]) -> dict[str, int]:
    """Where each layer is; of two equal ones the upper, which is what one sees."""
    positions = {one.diff_id: i for i, one in enumerate(layers) if one.diff_id}
    return positions | {one.digest: i for i, one in enumerate(layers) if one.digest}


def _digest(links: Sequence[Link]) -> bytes:
    hashed = hashlib.sha256()
    for link in links:
        hashed.update(link.package + "\0".join((*link.place, "")).encode() + b"\n")
    return hashed.digest()
