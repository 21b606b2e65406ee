"""Images taken in, and questions answered, on SQLite and PostgreSQL.

    python -m bench.database [--images 1000] [--postgresql URL | --lab] [--json]

An image has 400 packages in three layers: a base that many share, a platform that some share, an
application of its own; versions come from a pool of 40,000, of which 5 % have a finding.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from garrison.database import Database, Key, images, matches
from garrison.database.images import ImageQuery
from garrison.database.matches import FindingQuery
from garrison.findings.finding import Match, Severity
from garrison.packages.package import Inventory, Layer, OperatingSystem, Package
from lab.postgres import Postgres

NOW = datetime(2026, 11, 24, tzinfo=UTC)
POOL = 40_000
ADVISORIES = 12_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--postgresql", metavar="URL")
    parser.add_argument("--lab", action="store_true", help="start a PostgreSQL of its own")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for name, url in _databases(options):
        results[name] = measure(url, options.images)
        if not options.json:
            print(name)
            for what, value in results[name].items():
                print(f"  {what:44} {value:12,.2f}")
    if options.json:
        print(json.dumps(results))


def _databases(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        yield "sqlite", f"sqlite:///{Path(folder) / 'garrison.db'}"
    if options.postgresql:
        yield "postgresql", options.postgresql
    elif options.lab:
        with Postgres() as server:
            yield "postgresql", server.url(server.new_database())


class Fleet:
    """Made-up images that are as alike as real ones."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = random.Random(seed)
        self._pool = [_package(i) for i in range(POOL)]
        self._bases = [self._rng.sample(self._pool, 120) for _ in range(30)]
        self._platforms = [self._rng.sample(self._pool, 180) for _ in range(200)]

    def image(self, number: int) -> Inventory:
        rng = self._rng
        base, platform = rng.randrange(30), rng.randrange(200)
        parts = (self._bases[base], self._platforms[platform], rng.sample(self._pool, 100))
        layers = tuple(_layer(n) for n in (base, 1000 + platform, 10_000 + number))
        packages = [
            _at(package, layer)
            for part, layer in zip(parts, layers, strict=True)
            for package in part
        ]
        return Inventory(
            reference=f"registry.test/team{number % 50}/app{number // 8}:v{number % 8}",
            digest=f"sha256:{number:064x}",
            platform="linux/amd64",
            os=OperatingSystem("debian", "12"),
            layers=layers,
            packages=tuple(packages),
        )


def _package(number: int) -> Package:
    name, version = f"package-{number // 4}", f"1.{number % 4}"
    return Package(
        type="deb",
        namespace="debian",
        name=name,
        version=version,
        purl=f"pkg:deb/debian/{name}@{version}?arch=amd64",
        path="var/lib/dpkg/status",
        arch="amd64",
        distro="Debian:12",
        source=name,
        source_version=version,
    )


def _at(package: Package, layer: Layer) -> Package:
    return Package(
        type=package.type,
        namespace=package.namespace,
        name=package.name,
        version=package.version,
        purl=package.purl,
        path=package.path,
        arch=package.arch,
        distro=package.distro,
        source=package.source,
        source_version=package.source_version,
        layer=layer.digest,
        diff_id=layer.diff_id,
    )


def _layer(number: int) -> Layer:
    return Layer(f"sha256:{number:064x}", f"sha256:{number + 10**9:064x}", 1 << 20, "RUN build")


def _matches(package: Package) -> Sequence[Match]:
    number = int(package.name.removeprefix("package-"))
    if number % 20:
        return ()
    severity = Severity(number // 20 % 5)
    name = f"CVE-2026-{number % ADVISORIES:05}"
    return (
        Match(
            id=name,
            aliases=(f"DSA-{number}",),
            severity=severity,
            severity_source="test",
            cvss=(),
            fixed_in="2.0" if number % 40 else "",
            evidence="range introduced 0",
            records=(f"DEBIAN-{name}",),
            summary="A flaw " * 10,
            url="https://advisories.test/",
        ),
    )


def ingest(db: Database, one: Inventory, revision: str) -> int:
    with db.write() as c:
        stored = images.store(c, one, NOW, ecosystems=["Debian:12"])
        matches.put(c, revision, {i: _matches(p) for i, p in stored.new_packages})
        matches.recount(c, [stored.image_id])
        return stored.image_id


def measure(url: str, count: int) -> dict[str, float]:
    db = Database(url, key=Key.generate())
    db.migrate()
    with contextlib.closing(db):
        return {**_ingest(db, count), **_ask(db), **_update(db)}


def _ingest(db: Database, count: int) -> dict[str, float]:
    fleet = Fleet()
    inventories = [fleet.image(n) for n in range(count)]
    start = time.perf_counter()
    for one in inventories:
        ingest(db, one, "r1")
    first = time.perf_counter() - start
    db.maintain()
    again = [fleet.image(count + n) for n in range(min(count, 1000))]
    start, cpu = time.perf_counter(), time.process_time()
    for one in again:
        ingest(db, one, "r1")
    warm, busy = time.perf_counter() - start, time.process_time() - cpu
    start = time.perf_counter()
    for one in again:
        ingest(db, one, "r1")
    repeated = time.perf_counter() - start
    return {
        "images taken in, empty at first (1/s)": count / first,
        "images taken in, packages known (1/s)": len(again) / warm,
        "images taken in again, unchanged (1/s)": len(again) / repeated,
        "CPU of this process per image (ms)": 1000 * busy / len(again),
    }


def _ask(db: Database) -> dict[str, float]:
    with db.read() as c:
        page = images.page(c, ImageQuery())
        middle = images.page(c, ImageQuery(cursor=page.next_cursor)).next_cursor
        image_id = page.items[0].id
    questions: dict[str, Callable[[Any], Any]] = {
        "images by severity, 50 (ms)": lambda c: images.page(c, ImageQuery()),
        "images by severity, third page (ms)": lambda c: images.page(c, ImageQuery(cursor=middle)),
        "images by name, 50 (ms)": lambda c: images.page(c, ImageQuery(sort="reference")),
        "images, search (ms)": lambda c: images.page(c, ImageQuery(search="team7/")),
        "images with a package (ms)": lambda c: images.page(c, ImageQuery(package="package-20")),
        "images with an advisory (ms)": lambda c: images.page(
            c, ImageQuery(advisory="CVE-2026-00020")
        ),
        "an image (ms)": lambda c: images.by_id(c, image_id),
        "its layers (ms)": lambda c: images.layers(c, image_id),
        "its packages, 50 (ms)": lambda c: images.packages(c, image_id),
        "its findings, 50 (ms)": lambda c: matches.findings(c, FindingQuery(image_id=image_id)),
        "findings of the fleet, 50 (ms)": lambda c: matches.findings(c, FindingQuery()),
        "findings of an advisory, 50 (ms)": lambda c: matches.findings(
            c, FindingQuery(advisory="DSA-20")
        ),
        "findings of a package, 50 (ms)": lambda c: matches.findings(
            c, FindingQuery(package="package-20")
        ),
        "an advisory (ms)": lambda c: matches.advisory(c, "CVE-2026-00020"),
    }
    return {name: _median(db, ask) for name, ask in questions.items()}


def _median(db: Database, ask: Callable[[Any], Any]) -> float:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        with db.read() as c:
            ask(c)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _update(db: Database) -> dict[str, float]:
    start = time.perf_counter()
    with db.write() as c:
        matches.recount(c)
    recounted = time.perf_counter() - start
    times = []
    for changed in (range(0), range(200)):
        start = time.perf_counter()
        _rematch(db, f"r{len(changed) + 2}", changed)
        times.append(time.perf_counter() - start)
    return {
        "counting all images again (ms)": 1000 * recounted,
        "new revision, nothing changed (ms)": 1000 * times[0],
        "new revision, 200 packages changed (ms)": 1000 * times[1],
    }


def _rematch(db: Database, revision: str, changed: Sequence[int]) -> None:
    """Match every package again; the packages of these numbers have one match more."""
    with db.write() as c:
        touched: set[int] = set()
        after = 0
        while batch := matches.unmatched(c, revision, 1000, after=after):
            after = batch[-1][0]
            found = {
                i: (*_matches(p), *(_new() if int(p.name.split("-")[1]) in changed else ()))
                for i, p in batch
            }
            touched |= images.with_packages(c, matches.put(c, revision, found))
        matches.recount(c, touched)


def _new() -> tuple[Match, ...]:
    return (Match("CVE-2026-99999", (), Severity.HIGH, "", (), "", "range", ()),)


if __name__ == "__main__":
    main()
