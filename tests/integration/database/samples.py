"""Made-up images and advisories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from garrison.database import images, matches
from garrison.database.images import StoredImage
from garrison.findings.finding import Cvss, Match, Severity
from garrison.packages.package import Inventory, Layer, OperatingSystem, Package, Position

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def layer(number: int) -> Layer:
    return Layer(f"sha256:{number:064x}", f"sha256:{number + 10**6:064x}", 1000 + number, "RUN x")


def deb(name: str, version: str = "1.0", *, at: Layer | None = None, source: str = "") -> Package:
    return Package(
        type="deb",
        namespace="debian",
        name=name,
        version=version,
        purl=f"pkg:deb/debian/{name}@{version}?arch=amd64",
        path="var/lib/dpkg/status",
        arch="amd64",
        distro="Debian:12",
        source=source or name,
        source_version=version,
        layer=at.digest if at else "",
        diff_id=at.diff_id if at else "",
    )


def pypi(
    name: str,
    version: str = "1.0",
    *,
    at: Layer | None = None,
    position: Position = "installed",
    owner: str = "",
    folder: str = "usr/lib/python3/dist-packages",
) -> Package:
    return Package(
        type="pypi",
        namespace="",
        name=name,
        version=version,
        purl=f"pkg:pypi/{name}@{version}",
        path=f"{folder}/{name}-{version}.dist-info/METADATA",
        position=position,
        owner=owner,
        layer=at.digest if at else "",
        diff_id=at.diff_id if at else "",
    )


def inventory(
    number: int,
    packages: Sequence[Package],
    layers: Sequence[Layer] = (),
    *,
    reference: str = "",
    unreadable: Sequence[str] = (),
) -> Inventory:
    return Inventory(
        reference=reference or f"registry.test/app{number}:latest",
        digest=f"sha256:{number + 10**9:064x}",
        platform="linux/amd64",
        os=OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)", "bookworm"),
        layers=tuple(layers),
        packages=tuple(packages),
        unreadable=tuple(unreadable),
        duration=1.5,
        labels={"team": "blue"},
    )


def match(
    name: str,
    severity: Severity = Severity.HIGH,
    *,
    fixed_in: str = "",
    aliases: Sequence[str] = (),
) -> Match:
    return Match(
        id=name,
        aliases=tuple(aliases),
        severity=severity,
        severity_source="GHSA-test CVSS:3.1",
        cvss=(Cvss("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),),
        fixed_in=fixed_in,
        evidence="range introduced 0",
        records=(f"TEST-{name}",),
        summary=f"What {name} does",
        url=f"https://advisories.test/{name}",
        published="2026-11-01T00:00:00Z",
    )


def store(
    c: Connection,
    one: Inventory,
    now: datetime = NOW,
    *,
    ecosystems: Sequence[str] = ("Debian:12",),
) -> StoredImage:
    return images.store(c, one, now, ecosystems=ecosystems)


def ingest(
    c: Connection,
    one: Inventory,
    known: Mapping[str, Sequence[Match]] | None = None,
    now: datetime = NOW,
    *,
    revision: str = "r1",
) -> StoredImage:
    """Store, match the new packages by name, and count: what the Console does with a result."""
    stored = store(c, one, now)
    found = {i: (known or {}).get(p.name, ()) for i, p in stored.new_packages}
    matches.put(c, revision, found)
    matches.recount(c, [stored.image_id])
    return stored
