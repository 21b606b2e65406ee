"""Scans that were asked for: queued → running → done or failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, Row, Select, func, insert, or_, select, update

from garrison.database.errors import NotFoundError
from garrison.database.ids import new_id
from garrison.database.page import Keyset, Page
from garrison.database.tables import defender, image, scan
from garrison.database.types import clean, clean_json

ScanState: TypeAlias = Literal["queued", "running", "done", "failed"]
Origin: TypeAlias = Literal["defender", "ci"]
"""Who scanned: a Defender, or a build that reports what it found."""

MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ScanRow:
    """defender_id: the only Defender that may do it, or None. claimed_by: the one that does.

    done, total: bytes. step: what it is doing. error: `code`, `message`, `hint`, `who`, `hop`.
    image_id, image_digest: the result. requested_by, claimed_by_name: for people. labels: what a
    build says of itself (`branch`, `commit`, …).
    """

    id: str
    reference: str
    platform: str
    state: ScanState
    defender_id: str | None
    claimed_by: str | None
    claimed_by_name: str
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lease_until: datetime | None
    attempts: int
    done: int
    total: int
    step: str
    error: dict[str, Any] | None
    image_id: int | None
    image_digest: str | None
    origin: Origin = "defender"
    labels: Mapping[str, str] = field(default_factory=dict)


def enqueue(
    c: Connection,
    *,
    reference: str,
    platform: str,
    defender_id: str | None,
    requested_by: str,
    now: datetime,
) -> ScanRow:
    """Ask for a scan. defender_id: only this Defender may do it.

    Raises:
        NotFoundError: there is no such Defender, or it was removed.
    """
    if defender_id is not None:
        alive = select(defender.c.id).where(
            defender.c.id == defender_id, defender.c.removed_at.is_(None)
        )
        if c.execute(alive).one_or_none() is None:
            raise NotFoundError("Defender", defender_id)
    values = {
        "id": new_id(now),
        "reference": reference,
        "platform": platform,
        "state": "queued",
        "defender_id": defender_id,
        "requested_by": requested_by,
        "created_at": now,
        "attempts": 0,
        "done": 0,
        "total": 0,
        "step": "",
    }
    c.execute(insert(scan), values)
    row = get(c, str(values["id"]))
    assert row is not None
    return row


def reported(
    c: Connection,
    *,
    reference: str,
    platform: str,
    labels: Mapping[str, str],
    image_id: int,
    requested_by: str,
    now: datetime,
) -> ScanRow:
    """Note a scan that a build did: it is done."""
    values = {
        "id": new_id(now),
        "reference": clean(reference),
        "platform": clean(platform),
        "state": "done",
        "requested_by": requested_by,
        "created_at": now,
        "started_at": now,
        "finished_at": now,
        "attempts": 1,
        "done": 0,
        "total": 0,
        "step": "",
        "image_id": image_id,
        "origin": "ci",
        "labels": clean_json(dict(labels)),
    }
    c.execute(insert(scan), values)
    row = get(c, str(values["id"]))
    assert row is not None
    return row


def by_defender(c: Connection, digest: str) -> int | None:
    """The image of that digest, if a Defender has looked into it."""
    statement = (
        select(image.c.id)
        .join(scan, scan.c.image_id == image.c.id)
        .where(image.c.digest == digest, scan.c.state == "done", scan.c.origin == "defender")
        .limit(1)
    )
    found = c.execute(statement).one_or_none()
    return None if found is None else int(found.id)


def last_report(c: Connection, image_id: int) -> ScanRow | None:
    """The newest scan of an image that a build reported."""
    statement = (
        _select()
        .where(scan.c.image_id == image_id, scan.c.origin == "ci")
        .order_by(scan.c.id.desc())
        .limit(1)
    )
    row = c.execute(statement).one_or_none()
    return None if row is None else _row(row)


def get(c: Connection, scan_id: str) -> ScanRow | None:
    row = c.execute(_select().where(scan.c.id == scan_id)).one_or_none()
    return None if row is None else _row(row)


def page(
    c: Connection,
    limit: int = 50,
    cursor: str | None = None,
    *,
    state: ScanState | None = None,
    image_id: int | None = None,
) -> Page[ScanRow]:
    """Scans, the newest first."""
    statement = _select()
    if state is not None:
        statement = statement.where(scan.c.state == state)
    if image_id is not None:
        statement = statement.where(scan.c.image_id == image_id)
    order = Keyset("scans", [scan.c.id], [str], descending=True)
    return order.fetch(c, statement, limit=limit, cursor=cursor, make=_row)


def queued(c: Connection) -> int:
    """How many scans wait for a Defender."""
    waiting = select(func.count()).select_from(scan).where(scan.c.state == "queued")
    return int(c.execute(waiting).scalar_one())


def claim(
    c: Connection, defender_id: str, *, limit: int, lease_until: datetime, now: datetime
) -> list[ScanRow]:
    """Give this Defender the oldest queued scans: its own and those that anybody may do.

    No scan goes to two Defenders. lease_until: when it counts as lost unless `progress` extends
    it.
    """
    # Two statements: PostgreSQL may run a subquery with LIMIT more than once for one UPDATE.
    chosen = c.execute(
        select(scan.c.id)
        .where(
            scan.c.state == "queued",
            or_(scan.c.defender_id.is_(None), scan.c.defender_id == defender_id),
        )
        .order_by(scan.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).scalars()
    ids = list(chosen)
    if not ids:
        return []
    c.execute(
        update(scan)
        .where(scan.c.id.in_(ids))
        .values(
            state="running",
            claimed_by=defender_id,
            started_at=now,
            lease_until=lease_until,
            attempts=scan.c.attempts + 1,
            done=0,
            total=0,
            step="",
        )
    )
    return _by_ids(c, ids)


def progress(
    c: Connection,
    scan_id: str,
    *,
    defender_id: str,
    done: int,
    total: int,
    step: str,
    lease_until: datetime,
) -> bool:
    """Note how far it is and extend the lease; False when the scan is no longer this Defender's."""
    changed = c.execute(
        update(scan)
        .where(scan.c.id == scan_id, scan.c.state == "running", scan.c.claimed_by == defender_id)
        .values(done=done, total=total, step=clean(step), lease_until=lease_until)
    )
    return changed.rowcount > 0


def done(c: Connection, scan_id: str, image_id: int, now: datetime) -> bool:
    """The result is in. False when it was already: a repeated result changes nothing.

    A result is a fact from whatever state: a scan that counted as lost is done by it too.

    Raises:
        NotFoundError
    """
    changed = c.execute(
        update(scan)
        .where(scan.c.id == scan_id, scan.c.state != "done")
        .values(
            state="done",
            image_id=image_id,
            finished_at=now,
            lease_until=None,
            error=None,
            step="",
        )
    )
    return changed.rowcount > 0 or _exists(c, scan_id)


def fail(
    c: Connection,
    scan_id: str,
    error: Mapping[str, Any],
    now: datetime,
    *,
    defender_id: str | None = None,
) -> bool:
    """It could not be done, and why; False when it is finished already.

    defender_id: who says so; ignored (False) when the scan is another's meanwhile.

    Raises:
        NotFoundError
    """
    statement = update(scan).where(scan.c.id == scan_id, scan.c.state.in_(["queued", "running"]))
    if defender_id is not None:
        statement = statement.where(scan.c.claimed_by == defender_id)
    changed = c.execute(statement.values(_failure(error, now)))
    return changed.rowcount > 0 or _exists(c, scan_id)


def requeue_lost(
    c: Connection, now: datetime, *, max_attempts: int = MAX_ATTEMPTS
) -> tuple[ScanRow, ...]:
    """Queue running scans again whose lease is over; after `max_attempts` they fail.

    Returns what changed: look at `state`.
    """
    lost = (
        select(scan.c.id, scan.c.attempts)
        .where(scan.c.state == "running", scan.c.lease_until <= now)
        .order_by(scan.c.id)
        .with_for_update(skip_locked=True)
    )
    rows = c.execute(lost).all()
    again = [row.id for row in rows if row.attempts < max_attempts]
    over = [row.id for row in rows if row.attempts >= max_attempts]
    if again:
        c.execute(
            update(scan)
            .where(scan.c.id.in_(again))
            .values(state="queued", claimed_by=None, lease_until=None, step="")
        )
    if over:
        error = {
            "code": "scan.lost",
            "message": f"no result after {max_attempts} attempts",
            "hint": "Look at the Defender that had it: it stopped or lost its session each time.",
        }
        c.execute(update(scan).where(scan.c.id.in_(over)).values(_failure(error, now)))
    ids = again + over
    return tuple(_by_ids(c, ids)) if ids else ()


def defender_removed(c: Connection, defender_id: str, now: datetime) -> None:
    """Scans that only this Defender might do fail; what it was doing for all is queued again."""
    error = {
        "code": "scan.defender_removed",
        "message": "the Defender that was to scan this image has been removed",
        "hint": "Scan it again with another Defender.",
    }
    c.execute(
        update(scan)
        .where(scan.c.defender_id == defender_id, scan.c.state.in_(["queued", "running"]))
        .values(_failure(error, now))
    )
    c.execute(
        update(scan)
        .where(scan.c.claimed_by == defender_id, scan.c.state == "running")
        .values(state="queued", claimed_by=None, lease_until=None, step="")
    )


def _failure(error: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "state": "failed",
        "error": clean_json(dict(error)),
        "finished_at": now,
        "lease_until": None,
        "step": "",
    }


def _exists(c: Connection, scan_id: str) -> bool:
    """False, or NotFoundError: what a change that touched no row has to say."""
    if c.execute(select(scan.c.id).where(scan.c.id == scan_id)).one_or_none() is None:
        raise NotFoundError("scan", scan_id)
    return False


def _by_ids(c: Connection, ids: list[str]) -> list[ScanRow]:
    statement = _select().where(scan.c.id.in_(ids)).order_by(scan.c.id)
    return [_row(row) for row in c.execute(statement)]


def _select() -> Select[Any]:
    return (
        select(scan, image.c.digest.label("image_digest"), defender.c.name.label("claimed_by_name"))
        .outerjoin(image, image.c.id == scan.c.image_id)
        .outerjoin(defender, defender.c.id == scan.c.claimed_by)
    )


def _row(row: Row[Any]) -> ScanRow:
    return ScanRow(
        id=row.id,
        reference=row.reference,
        platform=row.platform,
        state=row.state,
        defender_id=row.defender_id,
        claimed_by=row.claimed_by,
        claimed_by_name=row.claimed_by_name or "",
        requested_by=row.requested_by,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        lease_until=row.lease_until,
        attempts=row.attempts,
        done=row.done,
        total=row.total,
        step=row.step,
        error=row.error,
        image_id=row.image_id,
        image_digest=row.image_digest,
        origin=row.origin,
        labels=row.labels or {},
    )
