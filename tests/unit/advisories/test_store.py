"""The snapshot: built beside the one in force, replaced in one step, read as one revision."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from garrison.advisories import AdvisoryStore, SnapshotError, UpdateRunningError, snapshot_path
from garrison.advisories.snapshot import Validators, next_snapshot
from garrison.advisories.state import UpdateState, write_state
from tests.unit.advisories.records import (
    NOW,
    Json,
    cvss,
    entry,
    load,
    members,
    raw,
    record,
    until,
)

LATER = "2026-11-25T12:00:00Z"
A = record("GHSA-a", entry("PyPI", "Foo", until("2.0")), aliases=["CVE-2024-1"])
B = record("PYSEC-b", entry("PyPI", "bar", until("1.0")), aliases=["CVE-2024-2"])
OLD = record("PYSEC-w", entry("PyPI", "foo", until("9")), withdrawn="2026-01-01T00:00:00Z")


def replace_feed(
    data: Path, feed: str, records: list[Json]
) -> tuple[str, set[tuple[str, str]] | None]:
    with next_snapshot(data) as writer:
        writer.replace_feed(feed, members(records), now=LATER)
        revision = writer.commit(LATER)
        names = writer.changed_names
        return revision, None if names is None else set(names)


def test_nothing_loaded(tmp_path: Path) -> None:
    assert AdvisoryStore.open(tmp_path) is None


def test_lookup_by_normalised_name(tmp_path: Path) -> None:
    store = load(tmp_path, PyPI=[A, B, OLD])
    found = store.lookup("PyPI", ["foo", "bar", "absent"])
    assert {name: [row.advisory.id for row in rows] for name, rows in found.items()} == {
        "foo": ["GHSA-a"],
        "bar": ["PYSEC-b"],
    }
    assert found["foo"][0].advisory.aliases == ("CVE-2024-1",)
    assert store.lookup("npm", ["foo"]) == {}


def test_counts(tmp_path: Path) -> None:
    """Withdrawn records count as records, unreadable ones do not."""
    with next_snapshot(tmp_path) as writer:
        broken = [("BAD.json", b"{"), ("GHSA-a-again.json", raw(A))]
        noted = record("PYSEC-n", entry("PyPI", "nothing"))
        writer.replace_feed("PyPI", members([A, B, OLD, noted]) + broken, now=NOW)
        writer.commit(NOW)
    store = AdvisoryStore(snapshot_path(tmp_path))
    [feed] = store.ecosystems()
    assert (feed.name, feed.records, feed.withdrawn, feed.skipped, feed.notes) == (
        "PyPI", 4, 1, 2, 1,
    )  # fmt: skip
    assert [(item.ecosystem, item.id) for item in store.skipped()] == [
        ("PyPI", "BAD"),
        ("PyPI", "GHSA-a"),
    ]
    assert [item.id for item in store.notes()] == ["PYSEC-n"]
    assert store.updated_at == NOW


def test_whole_advisory(tmp_path: Path) -> None:
    reference = {"type": "ADVISORY", "url": "https://a.test/1"}
    full = {**A, "details": "long\ntext", "references": [reference]}
    store = load(tmp_path, PyPI=[full])
    found = store.advisory("GHSA-a")
    assert found is not None
    assert found.details == "long\ntext"
    assert found.references[0].url == "https://a.test/1"
    assert found.affected[0].name == "foo"
    assert store.advisory("absent") is None
    assert store.records_of("CVE-2024-1") == ["GHSA-a"]


def test_related_by_alias_and_upstream(tmp_path: Path) -> None:
    debian = record("DEBIAN-CVE-2024-1", entry("Debian:12", "foo", until("1")),
                    upstream=["CVE-2024-1"])  # fmt: skip
    store = load(tmp_path, PyPI=[A, B, OLD], Debian=[debian])
    related = store.related(["CVE-2024-1", "CVE-2024-2", "CVE-0"])
    assert {id: [item.id for item in found] for id, found in related.items()} == {
        "CVE-2024-1": ["DEBIAN-CVE-2024-1", "GHSA-a"],
        "CVE-2024-2": ["PYSEC-b"],
    }


def test_a_release_without_records_is_not_covered(tmp_path: Path) -> None:
    """A Debian feed that says nothing about Debian 11 does not make its packages sound."""
    both = record("D-1", entry("Debian:12", "a", until("1")), entry("npm", "a", until("1.0.0")))
    store = load(tmp_path, Debian=[both])
    assert store.covers("Debian:12")
    assert not store.covers("Debian:11")
    # A stray entry of another ecosystem is no feed of it.
    assert not store.covers("npm")


def test_the_latest_copy_of_a_record_counts(tmp_path: Path) -> None:
    """A record about several ecosystems is in the archive of each, and they are not in step."""
    both = [entry("PyPI", "a", until("1.0")), entry("npm", "a", until("1.0.0"))]
    newer = [entry("PyPI", "a", until("2.0")), entry("npm", "a", until("2.0.0"))]
    store = load(
        tmp_path,
        PyPI=[record("GHSA-x", *both)],
        npm=[record("GHSA-x", *newer) | {"modified": "2026-01-01T00:00:00.5Z"}],
    )
    for ecosystem in ("PyPI", "npm"):
        [row] = store.lookup(ecosystem, ["a"])["a"]
        assert row.affected.ranges[0].events[1].version.startswith("2.0")
    assert [feed.records for feed in store.ecosystems()] == [1, 1]


def test_equal_content_has_an_equal_revision(tmp_path: Path) -> None:
    first = load(tmp_path / "a", PyPI=[A], npm=[B])
    second = load(tmp_path / "b", npm=[B], PyPI=[A])
    assert first.revision == second.revision
    assert load(tmp_path / "c", PyPI=[A]).revision != first.revision


def test_an_update_names_what_changed(tmp_path: Path) -> None:
    load(tmp_path, PyPI=[A, B, OLD])
    changed = {**B, "affected": [entry("PyPI", "bar", until("1.1"))]}
    new = record("PYSEC-n", entry("PyPI", "new", until("1.0")))
    assert replace_feed(tmp_path, "PyPI", [changed, new, OLD])[1] == {
        ("PyPI", "foo"),
        ("PyPI", "bar"),
        ("PyPI", "new"),
    }
    assert replace_feed(tmp_path, "PyPI", [changed, new, OLD])[1] == set()


def test_a_new_severity_elsewhere_changes_a_package_too(tmp_path: Path) -> None:
    """Debian's records carry no vector: a record that shares the CVE decides."""
    debian = record("DEBIAN-1", entry("Debian:12", "foo", until("1")), upstream=["CVE-2024-1"])
    load(tmp_path, PyPI=[A], Debian=[debian])
    rated = {**A, "severity": cvss("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")}
    assert replace_feed(tmp_path, "PyPI", [rated])[1] == {("PyPI", "foo"), ("Debian:12", "foo")}


def test_the_first_load_changes_everything(tmp_path: Path) -> None:
    assert replace_feed(tmp_path, "PyPI", [A])[1] is None


def test_a_failing_feed_leaves_itself_and_others_alone(tmp_path: Path) -> None:
    """Cut in the middle of a feed: the old records of that feed stay, the other feed is new."""
    load(tmp_path, PyPI=[A], npm=[B])

    def cut() -> Iterator[tuple[str, bytes]]:
        yield from members([B])
        raise EOFError

    with next_snapshot(tmp_path) as writer:
        writer.replace_feed("npm", members([OLD]), now=LATER)
        with pytest.raises(EOFError):
            writer.replace_feed("PyPI", cut(), now=LATER)
        writer.commit(LATER)
    store = AdvisoryStore(snapshot_path(tmp_path))
    assert store.records_of("GHSA-a") == ["GHSA-a"]
    assert store.records_of("CVE-2024-2") == []
    assert {feed.name: feed.updated_at for feed in store.ecosystems()} == {
        "PyPI": NOW,
        "npm": LATER,
    }


def test_what_is_not_committed_never_happened(tmp_path: Path) -> None:
    before = load(tmp_path, PyPI=[A])
    content = snapshot_path(tmp_path).read_bytes()
    with next_snapshot(tmp_path) as writer:
        writer.replace_feed("PyPI", members([B]), now=LATER)
    assert snapshot_path(tmp_path).read_bytes() == content
    assert before.reopened() is before
    assert sorted(item.name for item in (tmp_path / "intel").iterdir()) == ["advisories.db", "lock"]


def test_leftovers_of_a_crash_are_overwritten(tmp_path: Path) -> None:
    load(tmp_path, PyPI=[A])
    (tmp_path / "intel" / "advisories.db.next").write_bytes(b"half a file")
    replace_feed(tmp_path, "npm", [B])
    assert len(AdvisoryStore(snapshot_path(tmp_path)).ecosystems()) == 2


def test_an_open_store_keeps_its_revision(tmp_path: Path) -> None:
    """Answers never mix two revisions: an update is seen when one asks for it."""
    store = load(tmp_path, PyPI=[A])
    revision, _ = replace_feed(tmp_path, "PyPI", [B])
    assert set(store.lookup("PyPI", ["foo", "bar"])) == {"foo"}
    fresh = store.reopened()
    assert fresh.revision == revision != store.revision
    assert set(fresh.lookup("PyPI", ["foo", "bar"])) == {"bar"}


def test_one_update_at_a_time(tmp_path: Path) -> None:
    with next_snapshot(tmp_path), pytest.raises(UpdateRunningError), next_snapshot(tmp_path):
        pass


def test_validators_are_remembered_per_feed(tmp_path: Path) -> None:
    given = Validators('"tag"', "Mon, 01 Jan 2026 00:00:00 GMT")
    with next_snapshot(tmp_path) as writer:
        assert writer.validators("PyPI") == Validators()
        writer.replace_feed("PyPI", members([A]), validators=given, now=NOW)
        writer.commit(NOW)
    with next_snapshot(tmp_path) as writer:
        assert writer.validators("PyPI") == given
        assert writer.validators("npm") == Validators()


def test_confirmed_feeds_are_as_fresh_as_the_confirmation(tmp_path: Path) -> None:
    store = load(tmp_path, PyPI=[A], npm=[B])
    write_state(tmp_path / "intel", UpdateState(LATER, {"npm": LATER}))
    assert [feed.updated_at for feed in store.ecosystems()] == [NOW, LATER]
    assert store.updated_at == LATER


@pytest.mark.parametrize("content", [b"", b"no database at all" * 500])
def test_a_damaged_snapshot_is_named_and_rebuilt(tmp_path: Path, content: bytes) -> None:
    path = snapshot_path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(SnapshotError) as caught:
        AdvisoryStore.open(tmp_path)
    assert caught.value.hint == "Run: garrison intel update"
    assert load(tmp_path, PyPI=[A]).revision


def test_a_snapshot_of_another_version_is_loaded_anew(tmp_path: Path) -> None:
    """Its validators too are void: an unchanged file must be read again."""
    with next_snapshot(tmp_path) as writer:
        writer.replace_feed("PyPI", members([A]), validators=Validators('"x"'), now=NOW)
        writer.commit(NOW)
    with sqlite3.connect(snapshot_path(tmp_path)) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(SnapshotError):
        AdvisoryStore.open(tmp_path)
    with next_snapshot(tmp_path) as writer:
        assert writer.validators("PyPI") == Validators()
        writer.replace_feed("npm", members([B]), now=NOW)
        writer.commit(NOW)
        assert writer.changed_names is None
    assert [feed.name for feed in AdvisoryStore(snapshot_path(tmp_path)).ecosystems()] == ["npm"]
