"""Join tokens, Defenders, and the scans they are given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection

from garrison.database import Database, audit, defenders, scans
from garrison.database.defenders import DefenderRow, JoinTokenRow
from garrison.database.errors import DatabaseError, JoinTokenError, NotFoundError
from garrison.database.keys import token_hash
from garrison.database.scans import ScanRow
from tests.integration.database.samples import NOW, ingest, inventory, later


def token(c: Connection, text: str, **limits: Any) -> JoinTokenRow:
    values: dict[str, Any] = {"group": "edge", "expires_at": None, "uses": None}
    return defenders.create_join_token(
        c, token_hash=token_hash(text), actor="anna", now=NOW, **(values | limits)
    )


def enrol(c: Connection, name: str, *, removed: bool = False) -> DefenderRow:
    row = defenders.add(
        c,
        name=name,
        group="edge",
        labels={"zone": "a"},
        fingerprint=f"f-{name}",
        serial="1",
        not_after=later(1000),
        version="0.1",
        platform="linux/amd64",
        join_token_id=None,
        now=NOW,
    )
    if removed:
        defenders.remove(c, row.id, actor="anna", now=NOW)
    return row


def connect(c: Connection, row: DefenderRow, at: datetime, revision: int = 1) -> None:
    defenders.connected(
        c,
        row.id,
        name=row.name,
        version="0.2",
        platform="linux/amd64",
        settings_revision=revision,
        proxy="http://proxy.test:3128",
        route="proxy.test:3128",
        now=at,
    )


@pytest.mark.parametrize(
    ("limits", "at", "code"),
    [
        ({}, later(10**8), ""),
        ({"expires_at": later(10)}, later(9), ""),
        ({"expires_at": later(10)}, later(10), "fleet.join_token_expired"),
        ({"uses": 1}, NOW, ""),
    ],
)
def test_join_token_has_limits(
    db: Database, limits: dict[str, Any], at: datetime, code: str
) -> None:
    with db.write() as c:
        made = token(c, "t", **limits)
        if code:
            with pytest.raises(JoinTokenError) as caught:
                defenders.consume_join_token(c, token_hash("t"), at)
            assert caught.value.code == code
        else:
            assert defenders.consume_join_token(c, token_hash("t"), at).id == made.id


def test_join_token_is_refused_with_the_reason(db: Database) -> None:
    def refusal(text: str) -> str:
        with pytest.raises(JoinTokenError) as caught, db.write() as c:
            defenders.consume_join_token(c, token_hash(text), NOW)
        assert caught.value.hint
        return caught.value.code

    with db.write() as c:
        token(c, "used", uses=2)
        defenders.consume_join_token(c, token_hash("used"), NOW)
        assert defenders.consume_join_token(c, token_hash("used"), NOW).uses_left == 0
        revoked = token(c, "revoked")
        assert defenders.revoke_join_token(c, revoked.id, actor="anna", now=NOW)
        assert not defenders.revoke_join_token(c, revoked.id, actor="anna", now=NOW)

    assert refusal("used") == "fleet.join_token_used"
    assert refusal("revoked") == "fleet.join_token_revoked"
    assert refusal("unknown") == "fleet.join_token_unknown"
    with db.read() as c:
        assert len(defenders.join_tokens(c).items) == 2
    with pytest.raises(ValueError, match="at least one"), db.write() as c:
        token(c, "none", uses=0)


def test_last_use_of_a_token_is_given_once(db: Database) -> None:
    with db.write() as c:
        token(c, "t", uses=3)
    used = at_once(db, 8, lambda c, _: defenders.consume_join_token(c, token_hash("t"), NOW))
    assert len([one for one in used if not isinstance(one, BaseException)]) == 3


def at_once(db: Database, count: int, act: Callable[[Connection, int], object]) -> list[object]:
    """What `act` gave or raised in each of `count` threads."""
    results: list[object] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        try:
            with db.write() as c:
                result = act(c, number)
            results.append(result)
        except DatabaseError as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return results


def test_defender_comes_and_goes(db: Database) -> None:
    with db.write() as c:
        row = enrol(c, "node-1")
        assert row.state == "disconnected"
        connect(c, row, later(1))
    with db.read() as c:
        found = defenders.by_fingerprint(c, "f-node-1")
        assert found == defenders.by_id(c, row.id)
    assert found is not None
    assert (found.state, found.version, found.last_seen) == ("connected", "0.2", later(1))
    assert found.labels == {"zone": "a"}
    with db.write() as c:
        defenders.seen(c, [row.id, "unknown"], later(7))
        defenders.disconnected(c, row.id, later(8))
        defenders.disconnected(c, row.id, later(9))
        found = defenders.by_id(c, row.id)
        assert found is not None
        assert (found.state, found.last_seen, found.disconnected_at) == (
            "disconnected",
            later(7),
            later(8),
        )
        connect(c, row, later(10))
        defenders.all_disconnected(c, later(11))
        found = defenders.by_id(c, row.id)
        assert found is not None
        assert found.disconnected_at == later(11)
        with pytest.raises(NotFoundError):
            defenders.renewed(c, "nobody", fingerprint="x", serial="2", not_after=NOW)
        defenders.renewed(c, row.id, fingerprint="new", serial="2", not_after=later(9))
        assert defenders.by_fingerprint(c, "f-node-1") is None


def test_removed_defender_is_known_as_such(db: Database) -> None:
    with db.write() as c:
        one, two = enrol(c, "one"), enrol(c, "two")
        connect(c, two, NOW, revision=2)
        assert defenders.remove(c, one.id, actor="anna", now=NOW)
        assert not defenders.remove(c, one.id, actor="anna", now=NOW)
    with db.read() as c:
        gone = defenders.by_fingerprint(c, "f-one")
        assert gone is not None
        assert gone.state == "removed"
        assert [row.name for row in defenders.page(c).items] == ["two"]
        assert [row.name for row in defenders.page(c, removed=True).items] == ["one", "two"]
        assert defenders.counts(c, 2) == defenders.DefenderCounts(1, 1, 0)
        assert defenders.counts(c, 3) == defenders.DefenderCounts(1, 1, 1)
        enrolments = audit.page(c, action="defender").items
    assert [row.action for row in enrolments] == [
        "defender.remove",
        "defender.enrol",
        "defender.enrol",
    ]


def test_defenders_are_found_by_part_of_name_or_group(db: Database) -> None:
    with db.write() as c:
        for name in ("Web-1", "web_2", "db%1"):
            enrol(c, name)
    with db.read() as c:

        def names(search: str) -> list[str]:
            return [row.name for row in defenders.page(c, search=search).items]

        assert names("WEB") == ["Web-1", "web_2"]
        assert names("_") == ["web_2"]
        assert names("%") == ["db%1"]
        assert len(names("edg")) == 3
        first = defenders.page(c, 2)
        rest = defenders.page(c, 2, first.next_cursor)
    assert [row.name for row in (*first.items, *rest.items)] == ["Web-1", "db%1", "web_2"]
    assert rest.next_cursor is None


def ask(c: Connection, reference: str, at: datetime = NOW, only: str | None = None) -> ScanRow:
    return scans.enqueue(
        c, reference=reference, platform="", defender_id=only, requested_by="anna", now=at
    )


def claim(c: Connection, defender_id: str, limit: int = 10, at: datetime = NOW) -> list[ScanRow]:
    return scans.claim(c, defender_id, limit=limit, lease_until=later(60), now=at)


def test_scan_goes_to_whom_it_is_for(db: Database) -> None:
    with db.write() as c:
        one, two = enrol(c, "one"), enrol(c, "two")
        ask(c, "first", later(0))
        ask(c, "second", later(1), only=two.id)
        ask(c, "third", later(2))
        assert [row.reference for row in claim(c, one.id, 1)] == ["first"]
        assert [row.reference for row in claim(c, one.id)] == ["third"]
        taken = claim(c, two.id)
        assert [row.reference for row in taken] == ["second"]
        assert claim(c, two.id) == []
    row = taken[0]
    assert (row.state, row.claimed_by, row.claimed_by_name, row.attempts) == (
        "running",
        two.id,
        "two",
        1,
    )
    assert (row.started_at, row.lease_until) == (NOW, later(60))


def test_scan_for_nobody_is_refused(db: Database) -> None:
    with db.write() as c:
        gone = enrol(c, "gone", removed=True)
    for target in ("nobody", gone.id):
        with pytest.raises(NotFoundError), db.write() as c:
            ask(c, "x", only=target)


def test_no_scan_is_given_out_twice(db: Database) -> None:
    with db.write() as c:
        nodes = [enrol(c, f"n{n}") for n in range(8)]
        for n in range(40):
            ask(c, f"image{n}", later(n))
    taken: list[str] = []
    for _ in range(3):
        for rows in at_once(db, 8, lambda c, n: claim(c, nodes[n].id, 2)):
            assert isinstance(rows, list)
            taken += [row.reference for row in rows]
    assert len(taken) == len(set(taken)) == 40


def test_result_is_taken_once_and_repeated_silently(db: Database) -> None:
    with db.write() as c:
        node, other = enrol(c, "one"), enrol(c, "two")
        scan = ask(c, "first")
        claim(c, node.id)
        assert scans.progress(
            c, scan.id, defender_id=node.id, done=5, total=9, step="layers", lease_until=later(90)
        )
        assert not scans.progress(
            c, scan.id, defender_id=other.id, done=6, total=9, step="", lease_until=later(90)
        )
        found = scans.get(c, scan.id)
        assert found is not None
        assert (found.done, found.total, found.step) == (5, 9, "layers")
        assert found.lease_until == later(90)
        stored = ingest(c, inventory(1, []))
        assert scans.done(c, scan.id, stored.image_id, later(5))
        assert not scans.done(c, scan.id, stored.image_id, later(6))
        assert not scans.fail(c, scan.id, {"code": "late"}, later(7))
        found = scans.get(c, scan.id)
    assert found is not None
    assert (found.state, found.finished_at, found.error) == ("done", later(5), None)
    assert found.image_digest == inventory(1, []).digest
    with pytest.raises(NotFoundError), db.write() as c:
        scans.done(c, "nothing", stored.image_id, NOW)
    with db.read() as c:
        assert scans.get(c, "nothing") is None
        assert [row.id for row in scans.page(c, image_id=stored.image_id).items] == [scan.id]


def test_failure_says_why_and_only_the_one_who_has_it_may_say_so(db: Database) -> None:
    error = {"code": "images.not_found", "message": "no such image", "who": "destination"}
    with db.write() as c:
        node, other = enrol(c, "one"), enrol(c, "two")
        scan = ask(c, "first")
        claim(c, node.id)
        assert not scans.fail(c, scan.id, error, later(1), defender_id=other.id)
        assert scans.fail(c, scan.id, error, later(2), defender_id=node.id)
        found = scans.get(c, scan.id)
    assert found is not None
    assert (found.state, found.error, found.finished_at) == ("failed", error, later(2))


def test_lost_scan_is_queued_again_a_bounded_number_of_times(db: Database) -> None:
    with db.write() as c:
        node = enrol(c, "one")
        scan = ask(c, "first")
        for attempt in range(1, scans.MAX_ATTEMPTS + 1):
            assert [row.attempts for row in claim(c, node.id)] == [attempt]
            assert scans.requeue_lost(c, later(59)) == ()
            changed = scans.requeue_lost(c, later(60))
            assert [row.id for row in changed] == [scan.id]
    lost = changed[0]
    assert lost.state == "failed"
    assert lost.error is not None
    assert lost.error["code"] == "scan.lost"
    with db.write() as c:
        stored = ingest(c, inventory(1, []))
        assert scans.done(c, scan.id, stored.image_id, later(99))
        found = scans.get(c, scan.id)
    assert found is not None
    assert (found.state, found.error) == ("done", None)


def test_scans_of_a_removed_defender_do_not_wait_forever(db: Database) -> None:
    with db.write() as c:
        node = enrol(c, "one")
        bound, free = ask(c, "bound", only=node.id), ask(c, "free", later(1))
        claim(c, node.id)
        waiting = ask(c, "waiting", later(2), only=node.id)
        defenders.remove(c, node.id, actor="anna", now=later(3))
        states = {row.reference: row.state for row in scans.page(c).items}
        assert [row.reference for row in scans.page(c, state="failed").items] == [
            "waiting",
            "bound",
        ]
    assert states == {"bound": "failed", "free": "queued", "waiting": "failed"}
    assert len({bound.id, free.id, waiting.id}) == 3
