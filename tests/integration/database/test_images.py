"""Images: interned, shared by layer, idempotent, paged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Table, func, select

from garrison.database import Database, images
from garrison.database.errors import InvalidCursorError
from garrison.database.images import ImageQuery, ImageRow, ImageSort
from garrison.database.matches import FindingQuery, findings
from garrison.database.tables import image_layer, package, package_set, set_package
from garrison.database.tables import layer as layer_table
from garrison.findings.finding import Severity
from garrison.packages.package import OperatingSystem, Package, Skipped
from tests.integration.database.samples import (
    NOW,
    deb,
    ingest,
    inventory,
    later,
    layer,
    match,
    pypi,
    store,
)


def rows(c: Connection, table: Table) -> int:
    return int(c.execute(select(func.count()).select_from(table)).scalar_one())


def test_equal_layers_are_stored_once(db: Database) -> None:
    """Ten images on one base: its packages are linked once."""
    base = [deb(f"base{n}", at=layer(1)) for n in range(30)]
    with db.write() as c:
        for n in range(10):
            store(
                c, inventory(n, [*base, pypi(f"app{n}", at=layer(2 + n))], [layer(1), layer(2 + n)])
            )
        assert rows(c, package) == 40
        assert rows(c, package_set) == 11
        assert rows(c, set_package) == 40
        assert rows(c, layer_table) == 11
        assert rows(c, image_layer) == 20


def test_layer_that_hides_packages_has_a_set_of_its_own(db: Database) -> None:
    """What a later layer removed is not in the inventory: the set is of what is visible."""
    kept, gone = deb("kept", at=layer(1)), deb("gone", at=layer(1))
    with db.write() as c:
        whole = store(c, inventory(1, [kept, gone], [layer(1)]))
        part = store(c, inventory(2, [kept], [layer(1), layer(2)]))
        assert rows(c, package_set) == 2
        assert rows(c, layer_table) == 2
        assert [row.package.name for row in images.packages(c, part.image_id).items] == ["kept"]
        assert len(images.packages(c, whole.image_id).items) == 2
        assert [row.packages for row in images.layers(c, part.image_id)] == [1, 0]


def test_repeated_scan_changes_nothing(db: Database) -> None:
    one = inventory(1, [deb("a", at=layer(1)), pypi("b", at=layer(2))], [layer(1), layer(2)])
    tables = (package, package_set, set_package, layer_table, image_layer)
    with db.write() as c:
        first = store(c, one)
        before = [rows(c, table) for table in tables]
    with db.write() as c:
        second = store(c, one, later(60))
        assert [rows(c, table) for table in tables] == before
        detail = images.by_id(c, first.image_id)
    assert (second.image_id, second.package_ids) == (first.image_id, first.package_ids)
    assert {p.name for _, p in first.new_packages} == {"a", "b"}
    assert second.new_packages == ()
    assert detail is not None
    assert (detail.image.first_seen, detail.image.scanned_at) == (NOW, later(60))


def test_scan_that_finds_other_packages_replaces_the_first(db: Database) -> None:
    """A newer reader finds more in the same image."""
    one = inventory(1, [deb("a", at=layer(1))], [layer(1)])
    with db.write() as c:
        stored = store(c, one)
        store(c, replace(one, packages=(pypi("b", at=layer(1)),)))
        assert [row.package.name for row in images.packages(c, stored.image_id).items] == ["b"]


def test_tag_that_moves_names_the_new_image(db: Database) -> None:
    old, new = (inventory(n, [], reference="registry.test/app:latest") for n in (1, 2))
    with db.write() as c:
        first = store(c, old, NOW)
        second = store(c, new, later(10))
        store(c, replace(new, reference="registry.test/app:v2"), later(20))
        moved = images.by_id(c, first.image_id)
        now = images.by_id(c, second.image_id)
    assert moved is not None
    assert now is not None
    assert [(r.reference, r.first_seen, r.last_seen, r.moved_at) for r in moved.references] == [
        ("registry.test/app:latest", NOW, NOW, later(10))
    ]
    assert [(r.reference, r.moved_at) for r in now.references] == [
        ("registry.test/app:v2", None),
        ("registry.test/app:latest", None),
    ]
    assert now.image.reference == "registry.test/app:v2"
    with db.write() as c:
        store(c, old, later(30))
        back = images.by_id(c, first.image_id)
    assert back is not None
    assert back.references[0].moved_at is None


def test_image_detail_tells_what_the_scan_said(db: Database) -> None:
    one = replace(
        inventory(1, [deb("a", at=layer(1))], [layer(1)], unreadable=["var/lib/rpm/rpmdb.sqlite"]),
        skipped=(Skipped("a.whl", layer(1).digest, "packages.broken", "not a zip file"),),
    )
    with db.write() as c:
        store(c, one, ecosystems=["PyPI", "Debian:12"])
        detail = images.by_digest(c, one.digest)
        assert images.by_digest(c, "sha256:0") is None
    assert detail is not None
    row = detail.image
    assert row.os == OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)", "bookworm")
    assert (row.size, row.packages, row.platform) == (1001, 1, "linux/amd64")
    assert detail.skipped == one.skipped
    assert detail.labels == {"team": "blue"}
    assert detail.scan_seconds == 1.5
    assert row.missing({"Debian"}) == ("PyPI",)
    assert row.missing({"Debian:12", "PyPI"}) == ()
    assert not row.complete({"Debian", "PyPI"})
    warnings = row.warnings({"Debian"})
    assert len(warnings) == 3
    assert "PyPI" in warnings[0]
    assert "rpmdb.sqlite" in warnings[1]


def test_image_without_os_or_layers(db: Database) -> None:
    """A root file system: packages, but no layer they came with."""
    one = replace(inventory(1, [deb("a"), pypi("b")]), os=None)
    with db.write() as c:
        stored = store(c, one)
        detail = images.by_id(c, stored.image_id)
        found = images.packages(c, stored.image_id).items
        assert images.layers(c, stored.image_id) == ()
    assert detail is not None
    assert detail.image.os is None
    assert [row.package for row in found] == list(one.packages)
    with pytest.raises(ValueError, match="digest"), db.write() as c:
        store(c, replace(one, digest=""))


def test_packages_keep_place_and_layer(db: Database) -> None:
    packages = (
        deb("libc6", at=layer(1), source="glibc"),
        pypi("requests", at=layer(2), position="owned", owner="python3-requests"),
        replace(pypi("x", at=layer(2), position="vendored"), path="opt/x/y"),
        Package(
            "npm",
            "@types",
            "node",
            "1.0",
            "pkg:npm/%40types/node@1.0",
            "opt/n",
            layer="",
            diff_id=layer(2).diff_id,
        ),
    )
    with db.write() as c:
        stored = store(c, inventory(1, packages, [layer(1), layer(2)]))
        found = {r.package.name: r.package for r in images.packages(c, stored.image_id).items}
        layers = images.layers(c, stored.image_id)
        by_scope = images.page(c, ImageQuery(package="@types/node")).items
        assert images.page(c, ImageQuery(package="@other/node")).items == ()
    assert found["libc6"] == packages[0]
    assert found["requests"] == packages[1]
    assert found["x"] == packages[2]
    assert found["node"] == replace(packages[3], layer=layer(2).digest)
    assert [row.layer for row in layers] == [layer(1), layer(2)]
    assert [row.packages for row in layers] == [1, 3]
    assert len(by_scope) == 1


HOSTILE = "a\0b\ud800c" + "é" * 3000


def test_hostile_text_is_kept_apart_and_does_no_harm(db: Database) -> None:
    """NUL, lone surrogates and names longer than an index entry come out of broken images."""
    one = replace(pypi("x"), name=HOSTILE, version=HOSTILE, purl=f"pkg:pypi/{HOSTILE}")
    two = replace(one, name=HOSTILE + "!", purl="pkg:pypi/two")
    whole = replace(
        inventory(1, [one, two], [replace(layer(1), created_by=HOSTILE)]),
        skipped=(Skipped(HOSTILE, "", "x", HOSTILE),),
        labels={HOSTILE: HOSTILE},
        unreadable=(HOSTILE,),
    )
    known = match("CVE-1", aliases=["bad\0alias"])
    with db.write() as c:
        stored = ingest(c, whole, {p.name: [replace(known, summary=HOSTILE)] for p in (one, two)})
        assert len(stored.package_ids) == 2
        found = images.packages(c, stored.image_id).items
        detail = images.by_id(c, stored.image_id)
    assert len(found) == 2
    assert all(row.package.name.startswith("a\ufffdb?cé") for row in found)
    assert detail is not None


def fill(db: Database) -> None:
    levels = [Severity.LOW, Severity.HIGH, Severity.CRITICAL, Severity.LOW, Severity.UNKNOWN]
    with db.write() as c:
        for n in range(12):
            name = f"p{n % 5}"
            ingest(
                c,
                inventory(n, [deb(name)], reference=f"r.test/{'ab'[n % 2]}{n:02}"),
                {name: [match(f"CVE-{n % 5}", levels[n % 5])]},
                later(n % 4),
            )


@pytest.mark.parametrize("sort", ["severity", "reference", "scanned"])
def test_pages_give_every_image_once_in_order(db: Database, sort: ImageSort) -> None:
    fill(db)
    seen: list[ImageRow] = []
    cursor = None
    with db.read() as c:
        while True:
            page = images.page(c, ImageQuery(limit=5, cursor=cursor, sort=sort))
            seen += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    assert len({row.id for row in seen}) == len(seen) == 12
    keys: dict[str, Any] = {
        "severity": lambda r: (
            -r.counts.critical,
            -r.counts.high,
            -r.counts.low,
            -r.counts.unknown,
            -r.id,
        ),
        "reference": lambda r: r.reference,
        "scanned": lambda r: (-r.scanned_at.timestamp(), -r.id),
    }
    assert seen == sorted(seen, key=keys[sort])


def test_pages_hold_while_images_are_added(db: Database) -> None:
    """OFFSET would show a row twice here."""
    fill(db)
    with db.read() as c:
        first = images.page(c, ImageQuery(limit=4, sort="reference"))
    with db.write() as c:
        ingest(c, inventory(99, [], reference="r.test/a000"))
    with db.read() as c:
        second = images.page(c, ImageQuery(limit=4, sort="reference", cursor=first.next_cursor))
    assert not {row.id for row in first.items} & {row.id for row in second.items}


def test_search_finds_part_of_a_reference_or_a_digest(db: Database) -> None:
    fill(db)
    with db.read() as c:

        def found(search: str) -> int:
            return len(images.page(c, ImageQuery(search=search)).items)

        assert found("R.TEST/A") == 6
        assert found("%") == 0
        assert found("a0") == 5
        assert found(inventory(3, []).digest) == 1
        assert found("sha256:") == 12


def test_cursor_of_another_order_is_refused(db: Database) -> None:
    fill(db)
    with db.read() as c:
        cursor = images.page(c, ImageQuery(limit=2)).next_cursor
        with pytest.raises(InvalidCursorError) as caught:
            images.page(c, ImageQuery(limit=2, sort="reference", cursor=cursor))
        assert caught.value.code == "request.bad_cursor"
        for wrong in ("", "x", "é", "W10", "bnVsbA", "e30"):
            with pytest.raises(InvalidCursorError):
                findings(c, FindingQuery(cursor=wrong))
        with pytest.raises(ValueError, match="limit"):
            images.page(c, ImageQuery(limit=0))
