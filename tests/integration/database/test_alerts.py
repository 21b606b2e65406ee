"""Alerts: told once, in the transaction of their cause, and not lost on the way."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Connection

from garrison.database import Database, alerts, audit
from garrison.database.alerts import AlertProfileRow, DeliveryRow
from garrison.database.errors import NameTakenError, NotFoundError
from garrison.findings.finding import Severity
from tests.integration.database.samples import NOW, deb, ingest, inventory, later, match, pypi

ERROR = {"code": "egress.proxy_refused", "message": "403", "who": "proxy"}


def profile(c: Connection, name: str = "ops", **changes: Any) -> AlertProfileRow:
    values: dict[str, Any] = {
        "kind": "slack",
        "config": {"channel": "#ops"},
        "webhook": b"sealed",
        "threshold": Severity.HIGH,
        "enabled": True,
    }
    return alerts.create_profile(c, name=name, actor="anna", now=NOW, **(values | changes))


def raise_alert(c: Connection, one: AlertProfileRow, image_id: int) -> DeliveryRow | None:
    found = alerts.fresh(c, one, image_id)
    if not found:
        return None
    return alerts.record_alert(
        c,
        profile_id=one.id,
        image_id=image_id,
        findings=found,
        payload={"text": f"{len(found)} findings"},
        now=NOW,
    )


KNOWN = {
    "a": [match("CVE-1", Severity.CRITICAL), match("CVE-2", Severity.LOW)],
    "b": [match("CVE-3", Severity.HIGH)],
}


def queued(db: Database) -> DeliveryRow:
    with db.write() as c:
        one = profile(c)
        stored = ingest(c, inventory(1, [deb("a"), deb("b")]), KNOWN)
        made = raise_alert(c, one, stored.image_id)
    assert made is not None
    return made


def claim(db: Database, at: float, limit: int = 10) -> tuple[DeliveryRow, ...]:
    with db.write() as c:
        return alerts.claim(c, limit=limit, lease_until=later(at + 60), now=later(at))


def get(db: Database, delivery_id: str) -> DeliveryRow:
    with db.read() as c:
        found = alerts.delivery(c, delivery_id)
    assert found is not None
    return found


def test_profile_is_told_what_is_new_and_bad_enough(db: Database) -> None:
    with db.write() as c:
        one = profile(c)
        all_of_it = profile(c, "all", threshold=Severity.UNKNOWN)
        stored = ingest(c, inventory(1, [deb("a"), deb("b")]), KNOWN)
        fresh = alerts.fresh(c, one, stored.image_id)
        assert [f.finding.match.id for f in fresh] == ["CVE-1", "CVE-3"]
        assert raise_alert(c, one, stored.image_id) is not None
        assert raise_alert(c, one, stored.image_id) is None
        assert len(alerts.fresh(c, all_of_it, stored.image_id)) == 3

        again = ingest(c, inventory(1, [deb("a"), deb("b"), deb("c")]), {"c": [match("CVE-9")]})
        news = alerts.fresh(c, one, again.image_id)
        assert [f.finding.match.id for f in news] == ["CVE-9"]


def test_two_places_of_a_package_are_told_together(db: Database) -> None:
    with db.write() as c:
        one = profile(c)
        packages = [pypi("x", folder="opt/a"), pypi("x", folder="opt/b")]
        stored = ingest(c, inventory(1, packages), {"x": [match("CVE-1")]})
        made = raise_alert(c, one, stored.image_id)
        assert made is not None
        assert made.findings == 2
        assert alerts.fresh(c, one, stored.image_id) == ()


def test_rolled_back_cause_leaves_no_alert(db: Database) -> None:
    def fail(c: Connection) -> None:
        stored = ingest(c, inventory(1, [deb("a")]), KNOWN)
        assert raise_alert(c, profile(c), stored.image_id) is not None
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), db.write() as c:
        fail(c)
    with db.read() as c:
        assert alerts.deliveries(c).items == ()
    assert queued(db).state == "queued"


def test_same_news_from_two_transactions_is_told_once(db: Database) -> None:
    """Scan and re-matching at the same moment, as two replicas do on PostgreSQL."""
    with db.write() as c:
        one = profile(c)
        stored = ingest(c, inventory(1, [deb("a"), deb("b")]), KNOWN)
    made: list[DeliveryRow | None] = []
    barrier = threading.Barrier(6)

    def run() -> None:
        barrier.wait()
        with db.write() as c:
            made.append(raise_alert(c, one, stored.image_id))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert len([one for one in made if one is not None]) == 1


def test_recording_the_same_alert_twice_queues_it_once(db: Database) -> None:
    with db.write() as c:
        one = profile(c)
        stored = ingest(c, inventory(1, [deb("a")]), KNOWN)
        found = alerts.fresh(c, one, stored.image_id)
        made = [
            alerts.record_alert(
                c,
                profile_id=one.id,
                image_id=stored.image_id,
                findings=found,
                payload={},
                now=NOW,
            )
            for _ in range(2)
        ]
        assert made[0] == made[1]
        with pytest.raises(ValueError, match="at least one"):
            alerts.record_alert(
                c, profile_id=one.id, image_id=stored.image_id, findings=[], payload={}, now=NOW
            )


def test_delivery_is_sent(db: Database) -> None:
    made = queued(db)
    assert (made.state, made.findings, made.payload) == ("queued", 2, {"text": "2 findings"})
    assert made.image_digest == inventory(1, []).digest
    taken = claim(db, 0)
    assert [(row.id, row.state, row.attempts) for row in taken] == [(made.id, "sending", 1)]
    assert claim(db, 1) == ()
    with db.write() as c:
        alerts.sent(c, made.id, now=later(2), trace=[{"hop": "tcp", "ok": True}])
    done = get(db, made.id)
    assert (done.state, done.sent_at, done.error, done.key) == ("sent", later(2), None, made.key)
    with db.read() as c:
        assert alerts.attempts(c, made.id) == (
            alerts.AttemptRow(1, later(2), True, None, [{"hop": "tcp", "ok": True}]),
        )
        assert alerts.next_due(c) is None


def test_failed_attempt_is_retried_and_every_attempt_is_seen(db: Database) -> None:
    made = queued(db)
    claim(db, 0)
    with db.write() as c:
        alerts.retry(c, made.id, error=ERROR, next_at=later(30), now=later(1))
        assert alerts.next_due(c) == later(30)
    waiting = get(db, made.id)
    assert (waiting.state, waiting.error, waiting.next_at) == ("queued", ERROR, later(30))
    assert claim(db, 29) == ()
    assert len(claim(db, 30)) == 1
    with db.write() as c:
        assert alerts.next_due(c) == later(90)
        alerts.failed(c, made.id, error=ERROR, now=later(31))
    assert get(db, made.id).state == "failed"
    assert claim(db, 9999) == ()
    with db.write() as c:
        assert alerts.retry_now(c, made.id, actor="anna", now=later(40))
    assert [row.attempts for row in claim(db, 40)] == [3]
    with db.write() as c:
        assert not alerts.retry_now(c, made.id, actor="anna", now=later(41))
        alerts.sent(c, made.id, now=later(42))
        assert [(a.n, a.ok) for a in alerts.attempts(c, made.id)] == [
            (1, False),
            (2, False),
            (3, True),
        ]
        with pytest.raises(NotFoundError):
            alerts.sent(c, "nothing", now=NOW)


def test_delivery_of_a_dead_worker_comes_back(db: Database) -> None:
    made = queued(db)
    claim(db, 0)
    assert claim(db, 59) == ()
    assert [row.attempts for row in claim(db, 60)] == [2]
    with db.write() as c:
        alerts.sent(c, made.id, now=later(61))
        alerts.retry(c, made.id, error=ERROR, next_at=later(70), now=later(62))
    assert get(db, made.id).state == "sent"
    with db.read() as c:
        assert [(a.n, a.ok) for a in alerts.attempts(c, made.id)] == [(1, True), (2, False)]


def test_no_delivery_is_claimed_twice(db: Database) -> None:
    with db.write() as c:
        one = profile(c)
        for n in range(30):
            stored = ingest(c, inventory(n, [deb("a")]), KNOWN)
            raise_alert(c, one, stored.image_id)
    taken: list[str] = []
    barrier = threading.Barrier(6)

    def run() -> None:
        barrier.wait()
        for _ in range(4):
            taken.extend(row.id for row in claim(db, 0, 2))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken.extend(row.id for row in claim(db, 0, 100))
    assert len(taken) == len(set(taken)) == 30


def test_profiles_change_and_their_webhook_is_kept(db: Database) -> None:
    with db.write() as c:
        one = profile(c)
        profile(c, "b-team", enabled=False)
        changed = alerts.update_profile(
            c,
            one.id,
            name="a-team",
            config={},
            webhook=None,
            threshold=Severity.LOW,
            enabled=True,
            actor="anna",
            now=later(1),
        )
        assert (changed.webhook, changed.threshold, changed.updated_at) == (
            b"sealed",
            Severity.LOW,
            later(1),
        )
        assert [p.name for p in alerts.profiles(c).items] == ["a-team", "b-team"]
        assert alerts.enabled_profiles(c) == (changed,)
        assert alerts.profile(c, one.id) == changed
        with pytest.raises(NameTakenError):
            profile(c, "b-team")
        entries = [row.action for row in audit.page(c, action="alert_profile").items]
        assert "sealed" not in str(audit.page(c).items)
    assert entries == ["alert_profile.update", "alert_profile.create", "alert_profile.create"]
    for name, error in (("b-team", NameTakenError), ("new", NotFoundError)):
        with pytest.raises(error), db.write() as c:
            alerts.update_profile(
                c,
                one.id if name == "b-team" else "nothing",
                name=name,
                config={},
                webhook=None,
                threshold=Severity.LOW,
                enabled=True,
                actor="anna",
                now=NOW,
            )


def test_deleted_profile_sends_nothing_more(db: Database) -> None:
    made = queued(db)
    with db.write() as c:
        profile_id = made.profile_id or ""
        assert [d.id for d in alerts.deliveries(c, profile_id=profile_id).items] == [made.id]
        assert alerts.delete_profile(c, profile_id, actor="anna", now=NOW)
        assert not alerts.delete_profile(c, profile_id, actor="anna", now=NOW)
        assert not alerts.retry_now(c, made.id, actor="anna", now=NOW)
        assert [d.id for d in alerts.deliveries(c, state="failed").items] == [made.id]
    left = get(db, made.id)
    assert (left.state, left.profile_id, left.profile_name) == ("failed", None, "ops")
    assert left.error is not None
    assert left.error["code"] == "alerts.profile_deleted"
    assert claim(db, 9999) == ()
