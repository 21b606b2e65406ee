"""Findings and counters come out of a join; here they are computed again without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from garrison.database import Database, images, matches
from garrison.database.images import Counts, ImageQuery
from garrison.database.matches import FindingQuery, FindingRow
from garrison.database.tables import metadata
from garrison.findings.finding import Match, Severity
from garrison.packages.package import Inventory, Package
from tests.integration.database.conftest import KINDS
from tests.integration.database.samples import (
    deb,
    ingest,
    inventory,
    layer,
    match,
    pypi,
    store,
)


def all_findings(db: Database, query: FindingQuery) -> list[FindingRow]:
    found: list[FindingRow] = []
    with db.read() as c:
        while True:
            page = matches.findings(c, query)
            found += page.items
            if page.next_cursor is None:
                return found
            query = replace(query, cursor=page.next_cursor)


def all_images(db: Database, query: ImageQuery) -> list[images.ImageRow]:
    found: list[images.ImageRow] = []
    with db.read() as c:
        while True:
            page = images.page(c, query)
            found += page.items
            if page.next_cursor is None:
                return found
            query = replace(query, cursor=page.next_cursor)


def test_finding_names_package_layer_and_match(db: Database) -> None:
    base, app = layer(1), layer(2)
    one = inventory(1, [deb("openssl", at=base), pypi("requests", at=app)], [base, app])
    known = {"openssl": [match("CVE-2026-1", fixed_in="3.0.9")], "requests": [match("CVE-2026-2")]}
    with db.write() as c:
        stored = ingest(c, one, known)

    found = all_findings(db, FindingQuery(image_id=stored.image_id))

    assert [f.finding.match for f in found] == [known["requests"][0], known["openssl"][0]]
    assert [f.finding.package for f in found] == [one.packages[1], one.packages[0]]
    assert {(f.image_id, f.image_digest, f.reference) for f in found} == {
        (stored.image_id, one.digest, one.reference)
    }


def test_owned_python_package_is_the_distributions(db: Database) -> None:
    """The same version elsewhere does count, also when the owned one came first."""
    owned = pypi("requests", position="owned", owner="python3-requests")
    free = pypi("requests", folder="opt/app/lib")
    known = {"requests": [match("CVE-2026-2")]}
    with db.write() as c:
        first = ingest(c, inventory(1, [owned]), known)
        second = ingest(c, inventory(2, [owned, free]), known)

    assert all_findings(db, FindingQuery(image_id=first.image_id)) == []
    found = all_findings(db, FindingQuery(image_id=second.image_id))
    assert [f.finding.package.path for f in found] == [free.path]
    rows = all_images(db, ImageQuery())
    assert [(row.id, row.counts.total) for row in rows] == [
        (second.image_id, 1),
        (first.image_id, 0),
    ]


def test_queries_narrow_findings(db: Database) -> None:
    known = {
        "a": [match("CVE-2026-1", Severity.CRITICAL, fixed_in="2", aliases=["GHSA-a"])],
        "b": [match("CVE-2026-2", Severity.LOW), match("CVE-2026-3", Severity.UNKNOWN)],
    }
    with db.write() as c:
        ingest(c, inventory(1, [deb("a"), deb("b")]), known)
        ingest(c, inventory(2, [deb("b")]), known)

    def names(query: FindingQuery) -> list[str]:
        return [f.finding.match.id.removeprefix("CVE-2026-") for f in all_findings(db, query)]

    assert names(FindingQuery()) == ["1", "2", "2", "3", "3"]
    assert names(FindingQuery(min_severity=Severity.LOW)) == ["1", "2", "2"]
    assert names(FindingQuery(severities=(Severity.UNKNOWN, Severity.CRITICAL))) == ["1", "3", "3"]
    assert names(FindingQuery(package="a")) == ["1"]
    assert names(FindingQuery(advisory="CVE-2026-2")) == ["2", "2"]
    assert names(FindingQuery(advisory="GHSA-a")) == ["1"]
    assert names(FindingQuery(advisory="TEST-CVE-2026-3")) == ["3", "3"]
    assert names(FindingQuery(fixable=True)) == ["1"]
    assert [i.reference for i in all_images(db, ImageQuery(advisory="GHSA-a"))] == [
        "registry.test/app1:latest"
    ]
    assert len(all_images(db, ImageQuery(package="b"))) == 2
    assert len(all_images(db, ImageQuery(min_severity=Severity.CRITICAL))) == 1
    assert len(all_images(db, ImageQuery(fixable=True))) == 1


def test_advisory_lists_packages_and_images(db: Database) -> None:
    known = {
        "a": [match("CVE-2026-1", Severity.LOW, aliases=["GHSA-a"])],
        "b": [match("CVE-2026-1", Severity.CRITICAL, fixed_in="7", aliases=["GHSA-b"])],
        "gone": [match("CVE-2026-1")],
    }
    with db.write() as c:
        ingest(c, inventory(1, [deb("a"), deb("b"), deb("gone")]), known)
        ingest(c, inventory(2, [deb("b")]), known)
        ingest(c, inventory(1, [deb("a"), deb("b")]), known)

    with db.read() as c:
        found = matches.advisory(c, "GHSA-b")
        unknown = matches.advisory(c, "CVE-1999-1")

    assert unknown is None
    assert found is not None
    assert (found.id, found.severity, found.images) == ("CVE-2026-1", Severity.CRITICAL, 2)
    assert found.aliases == ("GHSA-a", "GHSA-b")
    assert [(p.package.name, p.fixed_in, p.images) for p in found.packages] == [
        ("a", "", 1),
        ("b", "7", 2),
    ]


def test_new_advisories_reach_images_without_a_scan(db: Database) -> None:
    with db.write() as c:
        first = ingest(c, inventory(1, [deb("a"), deb("b")]))
        ingest(c, inventory(2, [deb("b")]))
    with db.read() as c:
        waiting = matches.unmatched(c, "r2", 1)
        rest = matches.unmatched(c, "r2", 5, after=waiting[-1][0])
    assert sorted(p.name for _, p in waiting + rest) == ["a", "b"]

    with db.write() as c:
        changed = matches.put(
            c, "r2", {i: [match("CVE-2026-9")] if p.name == "a" else [] for i, p in waiting + rest}
        )
        touched = images.with_packages(c, changed)
        matches.recount(c, touched)

    assert changed == {i for i, p in waiting + rest if p.name == "a"}
    assert touched == {first.image_id}
    with db.read() as c:
        assert matches.unmatched(c, "r2") == []
        assert len(matches.unmatched(c, "r3")) == 2
    assert [row.counts.high for row in all_images(db, ImageQuery())] == [1, 0]


def test_matches_of_a_package_are_replaced_as_a_whole(db: Database) -> None:
    old = [match("CVE-1", aliases=["GHSA-1"]), match("CVE-2")]
    with db.write() as c:
        stored = ingest(c, inventory(1, [deb("a")]), {"a": old})
        package_id = stored.package_ids[0]
        assert matches.put(c, "r2", {package_id: list(reversed(old))}) == frozenset()
        assert matches.put(c, "r3", {package_id: [match("CVE-3")]}) == {package_id}
        matches.recount(c)

    assert [f.finding.match.id for f in all_findings(db, FindingQuery())] == ["CVE-3"]
    assert all_findings(db, FindingQuery(advisory="GHSA-1")) == []


def test_image_is_pending_until_its_packages_were_matched(db: Database) -> None:
    """Counters of nothing must not look like a clean image."""
    with db.write() as c:
        stored = store(c, inventory(1, [deb("a"), deb("b")]))
    assert [row.pending for row in all_images(db, ImageQuery())] == [2]

    with db.write() as c:
        matches.put(c, "r1", {stored.package_ids[0]: []})
        matches.recount(c, [stored.image_id])
    row = all_images(db, ImageQuery())[0]
    assert row.pending == 1
    assert not row.complete({"Debian"})

    with db.write() as c:
        matches.put(c, "r1", {stored.package_ids[1]: []})
        matches.recount(c)
    assert all_images(db, ImageQuery())[0].complete({"Debian"})


# The join against a computation without a database.

_LAYERS = tuple(layer(i) for i in range(3))
_NAMES = st.sampled_from("abcd")
_packages = st.one_of(
    st.builds(deb, _NAMES, st.sampled_from(["1", "2"]), at=st.sampled_from((*_LAYERS, None))),
    st.builds(
        pypi,
        _NAMES,
        st.sampled_from(["1", "2"]),
        at=st.sampled_from((*_LAYERS, None)),
        position=st.sampled_from(["installed", "owned", "vendored"]),
        folder=st.sampled_from(["usr", "opt"]),
    ),
)
_inventories = st.builds(
    inventory,
    st.integers(1, 3),
    st.lists(_packages, max_size=8),
    st.sampled_from([_LAYERS, _LAYERS[:2], ()]),
)
_matches = st.dictionaries(
    st.tuples(st.sampled_from(["deb", "pypi"]), _NAMES, st.sampled_from(["1", "2"])),
    st.lists(
        st.builds(
            match,
            st.sampled_from(["CVE-1", "CVE-2", "CVE-3"]),
            st.sampled_from(Severity),
            fixed_in=st.sampled_from(["", "9"]),
        ),
        max_size=3,
        unique_by=lambda m: m.id,
    ),
)
_Known = dict[tuple[str, str, str], list[Match]]
_Found = tuple[str, str, str, str]


def expected(one: Inventory, known: _Known) -> set[tuple[_Found, Severity, str]]:
    """digest, advisory, purl, path of every finding; one package per purl and path."""
    seen: dict[tuple[str, str], Package] = {}
    for package in one.packages:
        seen.setdefault((package.purl, package.path), package)
    return {
        ((one.digest, m.id, package.purl, package.path), m.severity, m.fixed_in)
        for package in seen.values()
        if not (package.type in ("pypi", "npm") and package.position == "owned")
        for m in known.get((package.type, package.name, package.version), ())
    }


def clear(db: Database) -> None:
    with db.write() as c:
        for table in reversed(metadata.sorted_tables):
            if table.name not in ("audit", "key_check"):
                c.execute(table.delete())


@pytest.mark.parametrize("both", [KINDS])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(scans=st.lists(_inventories, min_size=1, max_size=5), first=_matches, second=_matches)
def test_findings_and_counters_equal_a_brute_force_computation(
    both: Sequence[str],
    kept: dict[str, Database],
    scans: list[Inventory],
    first: _Known,
    second: _Known,
) -> None:
    """Scans, repeated ones too, then other advisories: on both databases the same, and right."""
    answers = []
    for kind in both:
        database = fresh(kept, kind)
        apply(database, scans, first, second)
        answers.append(answer(database))
    latest = {one.digest: one for one in scans}
    want = {digest: expected(one, second) for digest, one in latest.items()}

    for findings, counts in answers:
        assert len(findings) == len(set(findings))
        assert set(findings) == {row for rows in want.values() for row in rows}
        assert counts == {digest: counted(rows) for digest, rows in want.items()}
    assert answers[0] == answers[1]


@pytest.fixture
def kept(new_database: Callable[[str], Database]) -> dict[str, Database]:
    return {kind: new_database(kind) for kind in KINDS}


def fresh(kept: dict[str, Database], kind: str) -> Database:
    """An empty database: a new object on the old file, since ids must not be remembered."""
    old = kept[kind]
    clear(old)
    return Database(_url(old), key=old.key)


def _url(db: Database) -> str:
    with db.read() as c:
        return c.engine.url.render_as_string(hide_password=False)


def apply(db: Database, scans: list[Inventory], first: _Known, second: _Known) -> None:
    def of(package: Package, known: _Known) -> list[Match]:
        return known.get((package.type, package.name, package.version), [])

    for one in scans:
        with db.write() as c:
            stored = store(c, one)
            matches.put(c, "r1", {i: of(p, first) for i, p in stored.new_packages})
            matches.recount(c, [stored.image_id])
    with db.write() as c:
        changed = matches.put(c, "r2", {i: of(p, second) for i, p in matches.unmatched(c, "r2")})
        matches.recount(c, images.with_packages(c, changed))


def answer(db: Database) -> tuple[list[Any], dict[str, Counts]]:
    findings = [
        (
            (
                f.image_digest,
                f.finding.match.id,
                f.finding.package.purl,
                f.finding.package.path,
            ),
            f.finding.match.severity,
            f.finding.match.fixed_in,
        )
        for f in all_findings(db, FindingQuery(limit=3))
    ]
    counts = {row.digest: row.counts for row in all_images(db, ImageQuery(limit=2))}
    db.close()
    return findings, counts


def counted(rows: set[tuple[_Found, Severity, str]]) -> Counts:
    by = [severity for _, severity, _ in rows]
    return Counts(
        critical=by.count(Severity.CRITICAL),
        high=by.count(Severity.HIGH),
        medium=by.count(Severity.MEDIUM),
        low=by.count(Severity.LOW),
        unknown=by.count(Severity.UNKNOWN),
        fixable=sum(bool(fixed) for _, _, fixed in rows),
    )
