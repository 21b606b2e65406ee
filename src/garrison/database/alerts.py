"""Alert profiles, what they were told already, and deliveries that are not lost."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from garrison.database import audit, bulk, matches, waivers
from garrison.database.dialect import insert_or_ignore
from garrison.database.errors import NameTakenError, NotFoundError
from garrison.database.ids import new_id
from garrison.database.matches import FindingRow
from garrison.database.page import Keyset, Page
from garrison.database.tables import (
    advisory_match,
    alert_profile,
    alerted,
    delivery_attempt,
    image,
    image_layer,
    image_stat,
    set_package,
)
from garrison.database.tables import delivery as delivery_table
from garrison.database.types import clean_json
from garrison.findings.finding import Severity

DeliveryState: TypeAlias = Literal["queued", "sending", "sent", "failed"]


@dataclass(frozen=True, slots=True)
class AlertProfileRow:
    """id: public. kind: `slack`. config: what is not secret, as the kind defines it.

    webhook: sealed for keys.SEAL_WEBHOOK. threshold: findings at or above it are told.
    """

    id: str
    name: str
    kind: str
    config: dict[str, Any]
    webhook: bytes
    threshold: Severity
    enabled: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One message on its way. key: idempotency key, the same on every attempt.

    profile_id, image_id: None when deleted meanwhile. findings: how many it tells of.
    attempts: made so far. next_at: when the next is due. error: of the last attempt.
    """

    id: str
    key: str
    profile_id: str | None
    profile_name: str
    image_id: int | None
    image_digest: str | None
    reference: str
    findings: int
    payload: dict[str, Any]
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_at: datetime
    lease_until: datetime | None
    sent_at: datetime | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """n: 1 is the first. trace: the steps of the connection, as in a test."""

    n: int
    at: datetime
    ok: bool
    error: dict[str, Any] | None
    trace: list[dict[str, Any]] | None


def create_profile(
    c: Connection,
    *,
    name: str,
    kind: str,
    config: Mapping[str, Any],
    webhook: bytes,
    threshold: Severity,
    enabled: bool,
    actor: str,
    now: datetime,
) -> AlertProfileRow:
    """Add a profile. Writes its audit row.

    Raises:
        NameTakenError
    """
    values = {
        "uuid": new_id(now),
        "name": name,
        "kind": kind,
        "config": clean_json(dict(config)),
        "webhook": webhook,
        "threshold": int(threshold),
        "enabled": enabled,
        "created_at": now,
        "updated_at": now,
    }
    added = insert_or_ignore(c, alert_profile).values(values).returning(alert_profile)
    row = c.execute(added).one_or_none()
    if row is None:
        raise NameTakenError("alert profile", name)
    made = _profile(row)
    _audit(c, "create", made, actor, now, webhook="set")
    return made


def update_profile(
    c: Connection,
    profile_id: str,
    *,
    name: str,
    config: Mapping[str, Any],
    webhook: bytes | None,
    threshold: Severity,
    enabled: bool,
    actor: str,
    now: datetime,
) -> AlertProfileRow:
    """Change a profile. webhook: None keeps it. Writes its audit row.

    Raises:
        NotFoundError, NameTakenError
    """
    taken = select(alert_profile.c.id).where(
        alert_profile.c.name == name, alert_profile.c.uuid != profile_id
    )
    if c.execute(taken).first() is not None:
        raise NameTakenError("alert profile", name)
    values = {
        "name": name,
        "config": clean_json(dict(config)),
        "threshold": int(threshold),
        "enabled": enabled,
        "updated_at": now,
    }
    if webhook is not None:
        values["webhook"] = webhook
    changed = update(alert_profile).where(alert_profile.c.uuid == profile_id).values(values)
    row = c.execute(changed.returning(alert_profile)).one_or_none()
    if row is None:
        raise NotFoundError("alert profile", profile_id)
    made = _profile(row)
    _audit(c, "update", made, actor, now, webhook="kept" if webhook is None else "set")
    return made


def delete_profile(c: Connection, profile_id: str, *, actor: str, now: datetime) -> bool:
    """Remove a profile; its deliveries stay to be seen, those not sent fail. Audited.

    False when there is none.
    """
    row = c.execute(select(alert_profile).where(alert_profile.c.uuid == profile_id)).one_or_none()
    if row is None:
        return False
    error = {
        "code": "alerts.profile_deleted",
        "message": "the alert profile was deleted before this was sent",
        "hint": "",
    }
    c.execute(
        update(delivery_table)
        .where(
            delivery_table.c.profile_id == row.id,
            delivery_table.c.state.in_(["queued", "sending"]),
        )
        .values(state="failed", error=error, lease_until=None)
    )
    c.execute(delete(alert_profile).where(alert_profile.c.id == row.id))
    _audit(c, "delete", _profile(row), actor, now)
    return True


def profile(c: Connection, profile_id: str) -> AlertProfileRow | None:
    row = c.execute(select(alert_profile).where(alert_profile.c.uuid == profile_id)).one_or_none()
    return None if row is None else _profile(row)


def profiles(c: Connection, limit: int = 50, cursor: str | None = None) -> Page[AlertProfileRow]:
    """All profiles by name."""
    order = Keyset("alert-profiles", [alert_profile.c.name], [str])
    return order.fetch(c, select(alert_profile), limit=limit, cursor=cursor, make=_profile)


def enabled_profiles(c: Connection) -> tuple[AlertProfileRow, ...]:
    """The profiles to be asked after a scan."""
    statement = select(alert_profile).where(alert_profile.c.enabled).order_by(alert_profile.c.id)
    return tuple(_profile(row) for row in c.execute(statement))


def fresh(c: Connection, profile: AlertProfileRow, image_id: int) -> tuple[FindingRow, ...]:
    """Findings of the image at or above the threshold that the profile was not told yet.

    The most severe first. On PostgreSQL the image's counters are locked until the transaction
    ends, so that two transactions do not both find the same news.
    """
    c.execute(
        select(image_stat.c.image_id).where(image_stat.c.image_id == image_id).with_for_update()
    )
    told = exists().where(
        alerted.c.profile_id == alert_profile.c.id,
        alerted.c.image_id == image_id,
        alerted.c.package_id == advisory_match.c.package_id,
        alerted.c.advisory == advisory_match.c.advisory,
    )
    statement = (
        matches.derived()
        .join(alert_profile, alert_profile.c.uuid == profile.id)
        .where(
            image_layer.c.image_id == image_id,
            advisory_match.c.severity >= int(profile.threshold),
            matches.counts(),
            ~told,
        )
        .order_by(
            advisory_match.c.severity.desc(),
            advisory_match.c.advisory.desc(),
            advisory_match.c.package_id,
            image_layer.c.position,
            set_package.c.n,
        )
    )
    return tuple(matches.finding_row(row) for row in c.execute(statement))


def record_alert(
    c: Connection,
    *,
    profile_id: str,
    image_id: int,
    findings: Sequence[FindingRow],
    payload: Mapping[str, Any],
    now: datetime,
) -> DeliveryRow:
    """Queue a delivery and note that the profile was told these findings.

    In the transaction of their cause: either all of it happened, or nothing.
    Raises ValueError without findings; NotFoundError without the profile.
    """
    told = sorted({(row.package_id, row.finding.match.id) for row in findings})
    if not told:
        raise ValueError("an alert tells of at least one finding")
    row = c.execute(select(alert_profile).where(alert_profile.c.uuid == profile_id)).one_or_none()
    if row is None:
        raise NotFoundError("alert profile", profile_id)
    values = {
        "id": new_id(now),
        # A waiver that ended lets the same news be told again.
        "key": _key(profile_id, findings[0].image_digest, told, waivers.ended(c)),
        "profile_id": row.id,
        "profile_name": row.name,
        "image_id": image_id,
        "findings": len(findings),
        "payload": clean_json(dict(payload)),
        "state": "queued",
        "attempts": 0,
        "created_at": now,
        "next_at": now,
    }
    c.execute(insert_or_ignore(c, delivery_table).values(values))
    made = c.execute(_select().where(delivery_table.c.key == values["key"])).one()
    bulk.insert_rows(
        c,
        alerted,
        ("profile_id", "image_id", "package_id", "advisory", "delivery_id"),
        [(row.id, image_id, package_id, name, made.id) for package_id, name in told],
        conflict="DO NOTHING",
    )
    return _delivery(made)


def claim(
    c: Connection, *, limit: int, lease_until: datetime, now: datetime
) -> tuple[DeliveryRow, ...]:
    """Deliveries that are due, the longest waiting first; no other worker gets them.

    A delivery whose worker died comes back when its lease is over.
    """
    due = or_(
        and_(delivery_table.c.state == "queued", delivery_table.c.next_at <= now),
        and_(delivery_table.c.state == "sending", delivery_table.c.lease_until <= now),
    )
    # Two statements: PostgreSQL may run a subquery with LIMIT more than once for one UPDATE.
    chosen = c.execute(
        select(delivery_table.c.id)
        .where(due)
        .order_by(delivery_table.c.next_at, delivery_table.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).scalars()
    ids = list(chosen)
    if not ids:
        return ()
    c.execute(
        update(delivery_table)
        .where(delivery_table.c.id.in_(ids))
        .values(state="sending", lease_until=lease_until, attempts=delivery_table.c.attempts + 1)
    )
    statement = _select().where(delivery_table.c.id.in_(ids))
    ordered = statement.order_by(delivery_table.c.next_at, delivery_table.c.id)
    return tuple(_delivery(row) for row in c.execute(ordered))


def sent(
    c: Connection,
    delivery_id: str,
    *,
    now: datetime,
    trace: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """It arrived."""
    values = {"state": "sent", "sent_at": now, "lease_until": None, "error": None}
    _finish(c, delivery_id, values, delivery_table.c.state != "sent")
    _attempted(c, delivery_id, now, None, trace)


def retry(
    c: Connection,
    delivery_id: str,
    *,
    error: Mapping[str, Any],
    next_at: datetime,
    now: datetime,
    trace: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """It did not arrive; try again at `next_at`."""
    values = {"state": "queued", "next_at": next_at, "lease_until": None}
    _finish(c, delivery_id, values | {"error": clean_json(dict(error))}, _SENDING)
    _attempted(c, delivery_id, now, error, trace)


def failed(
    c: Connection,
    delivery_id: str,
    *,
    error: Mapping[str, Any],
    now: datetime,
    trace: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """It did not arrive, and nothing will change by itself: give up."""
    values = {"state": "failed", "lease_until": None, "error": clean_json(dict(error))}
    _finish(c, delivery_id, values, _SENDING)
    _attempted(c, delivery_id, now, error, trace)


def retry_now(c: Connection, delivery_id: str, *, actor: str, now: datetime) -> bool:
    """Make a queued or failed delivery due at once. Audited.

    False when there is none such, or its profile was deleted.
    """
    changed = c.execute(
        update(delivery_table)
        .where(
            delivery_table.c.id == delivery_id,
            delivery_table.c.state.in_(["queued", "failed"]),
            delivery_table.c.profile_id.is_not(None),
        )
        .values(state="queued", next_at=now)
    )
    if not changed.rowcount:
        return False
    audit.record(
        c,
        actor=actor,
        action="delivery.retry",
        target=f"deliveries/{delivery_id}",
        detail={},
        now=now,
    )
    return True


def make_due(c: Connection, now: datetime) -> int:
    """Let deliveries that wait after a failure be tried now, without an audit row; how many."""
    waiting = delivery_table.c.state == "queued"
    statement = update(delivery_table).where(
        waiting, delivery_table.c.attempts > 0, delivery_table.c.next_at > now
    )
    return c.execute(statement.values(next_at=now)).rowcount


def waiting(c: Connection) -> int:
    """How many deliveries are not sent yet."""
    unsent = delivery_table.c.state.in_(["queued", "sending"])
    return int(
        c.execute(select(func.count()).select_from(delivery_table).where(unsent)).scalar_one()
    )


def next_due(c: Connection) -> datetime | None:
    """When the next delivery is due, or a lease is over; None: nothing is waiting."""
    queued = select(func.min(delivery_table.c.next_at)).where(delivery_table.c.state == "queued")
    sending = select(func.min(delivery_table.c.lease_until)).where(_SENDING)
    moments = [c.execute(statement).scalar_one() for statement in (queued, sending)]
    return min((at for at in moments if at is not None), default=None)


def deliveries(
    c: Connection,
    limit: int = 50,
    cursor: str | None = None,
    *,
    state: DeliveryState | None = None,
    profile_id: str | None = None,
) -> Page[DeliveryRow]:
    """Deliveries, the newest first."""
    statement = _select()
    if state is not None:
        statement = statement.where(delivery_table.c.state == state)
    if profile_id is not None:
        statement = statement.where(alert_profile.c.uuid == profile_id)
    order = Keyset("deliveries", [delivery_table.c.id], [str], descending=True)
    return order.fetch(c, statement, limit=limit, cursor=cursor, make=_delivery)


def delivery(c: Connection, delivery_id: str) -> DeliveryRow | None:
    row = c.execute(_select().where(delivery_table.c.id == delivery_id)).one_or_none()
    return None if row is None else _delivery(row)


def attempts(c: Connection, delivery_id: str) -> tuple[AttemptRow, ...]:
    """Every attempt of a delivery, the first first."""
    statement = select(delivery_attempt).where(delivery_attempt.c.delivery_id == delivery_id)
    rows = c.execute(statement.order_by(delivery_attempt.c.n))
    return tuple(AttemptRow(row.n, row.at, row.ok, row.error, row.trace) for row in rows)


_SENDING = delivery_table.c.state == "sending"


def _finish(
    c: Connection, delivery_id: str, values: dict[str, Any], condition: ColumnElement[bool]
) -> None:
    """Change its state, unless another worker that had it after us did: then only note ours."""
    mine = delivery_table.c.id == delivery_id
    if c.execute(update(delivery_table).where(mine, condition).values(values)).rowcount:
        return
    # Locked all the same: attempts are numbered one after the other.
    found = c.execute(select(delivery_table.c.id).where(mine).with_for_update()).one_or_none()
    if found is None:
        raise NotFoundError("delivery", delivery_id)


def _attempted(
    c: Connection,
    delivery_id: str,
    now: datetime,
    error: Mapping[str, Any] | None,
    trace: Sequence[Mapping[str, Any]] | None,
) -> None:
    last = select(func.max(delivery_attempt.c.n)).where(
        delivery_attempt.c.delivery_id == delivery_id
    )
    c.execute(
        insert(delivery_attempt),
        {
            "delivery_id": delivery_id,
            "n": (c.execute(last).scalar_one() or 0) + 1,
            "at": now,
            "ok": error is None,
            "error": None if error is None else clean_json(dict(error)),
            "trace": None if trace is None else clean_json([dict(step) for step in trace]),
        },
    )


def _key(profile_id: str, digest: str, told: Sequence[tuple[int, str]], ended: int) -> str:
    """The same for the same news, so that a repeated transaction queues nothing twice."""
    return hashlib.sha256(msgspec.json.encode([profile_id, digest, told, ended])).hexdigest()


def _audit(
    c: Connection, verb: str, row: AlertProfileRow, actor: str, now: datetime, **more: str
) -> None:
    detail = {
        "name": row.name,
        "kind": row.kind,
        "config": row.config,
        "threshold": row.threshold.label,
        "enabled": row.enabled,
        **more,
    }
    audit.record(
        c,
        actor=actor,
        action=f"alert_profile.{verb}",
        target=f"alert-profiles/{row.id}",
        detail=detail,
        now=now,
    )


def _select() -> Select[Any]:
    return (
        select(delivery_table, alert_profile.c.uuid, image.c.digest, image.c.reference)
        .outerjoin(alert_profile, alert_profile.c.id == delivery_table.c.profile_id)
        .outerjoin(image, image.c.id == delivery_table.c.image_id)
    )


def _profile(row: Row[Any]) -> AlertProfileRow:
    return AlertProfileRow(
        id=row.uuid,
        name=row.name,
        kind=row.kind,
        config=row.config,
        webhook=row.webhook,
        threshold=Severity(row.threshold),
        enabled=row.enabled,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _delivery(row: Row[Any]) -> DeliveryRow:
    return DeliveryRow(
        id=row.id,
        key=row.key,
        profile_id=row.uuid,
        profile_name=row.profile_name,
        image_id=row.image_id,
        image_digest=row.digest,
        reference=row.reference or "",
        findings=row.findings,
        payload=row.payload,
        state=row.state,
        attempts=row.attempts,
        created_at=row.created_at,
        next_at=row.next_at,
        lease_until=row.lease_until,
        sent_at=row.sent_at,
        error=row.error,
    )
