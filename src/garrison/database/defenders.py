"""Join tokens and the Defenders that came with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from garrison.database import audit, scans
from garrison.database.errors import (
    JoinTokenExpiredError,
    JoinTokenRevokedError,
    JoinTokenUnknownError,
    JoinTokenUsedError,
    NotFoundError,
)
from garrison.database.ids import new_id
from garrison.database.page import Keyset, Page
from garrison.database.tables import defender, join_token
from garrison.database.types import clean, clean_json

DefenderState: TypeAlias = Literal["connected", "disconnected", "removed"]


@dataclass(frozen=True, slots=True)
class JoinTokenRow:
    """uses_left, expires_at: None: without limit."""

    id: str
    group: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    uses_left: int | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class DefenderRow:
    """fingerprint: SHA-256 of its certificate (DER), hexadecimal, lower case.

    settings_revision: of the proxy settings it runs with. proxy: their proxy without
    credentials, or empty. route: how its session left the node: `direct` or the proxy's address.
    """

    id: str
    name: str
    group: str
    labels: dict[str, str]
    fingerprint: str
    serial: str
    not_after: datetime
    version: str
    platform: str
    settings_revision: int
    proxy: str
    route: str
    enrolled_at: datetime
    connected_at: datetime | None
    last_seen: datetime | None
    disconnected_at: datetime | None
    removed_at: datetime | None

    @property
    def state(self) -> DefenderState:
        if self.removed_at is not None:
            return "removed"
        up = self.connected_at is not None and self.disconnected_at is None
        return "connected" if up else "disconnected"


@dataclass(frozen=True, slots=True)
class DefenderCounts:
    """out_of_date: those whose settings are not the revision asked for; removed ones left out."""

    total: int
    connected: int
    out_of_date: int


def create_join_token(
    c: Connection,
    *,
    token_hash: bytes,
    group: str,
    expires_at: datetime | None,
    uses: int | None,
    actor: str,
    now: datetime,
) -> JoinTokenRow:
    """Add a join token. Writes its audit row. Raises ValueError for fewer than one use."""
    if uses is not None and uses < 1:
        raise ValueError("a join token is good for at least one use")
    values = {
        "id": new_id(now),
        "token_hash": token_hash,
        "group_name": group,
        "created_by": actor,
        "created_at": now,
        "expires_at": expires_at,
        "uses_left": uses,
    }
    row = c.execute(insert(join_token).values(values).returning(join_token)).one()
    detail = {
        "group": group,
        "uses": uses,
        "expires_at": None if expires_at is None else expires_at.isoformat(),
    }
    audit.record(
        c,
        actor=actor,
        action="join_token.create",
        target=f"join-tokens/{row.id}",
        detail=detail,
        now=now,
    )
    return _token(row)


def join_tokens(c: Connection, limit: int = 50, cursor: str | None = None) -> Page[JoinTokenRow]:
    """All join tokens, revoked and used ones too, the newest first."""
    order = Keyset("join-tokens", [join_token.c.id], [str], descending=True)
    return order.fetch(c, select(join_token), limit=limit, cursor=cursor, make=_token)


def revoke_join_token(c: Connection, token_id: str, *, actor: str, now: datetime) -> bool:
    """Let nobody in with it any more; False when there is none, or it is revoked. Audited."""
    statement = update(join_token).where(
        join_token.c.id == token_id, join_token.c.revoked_at.is_(None)
    )
    if not c.execute(statement.values(revoked_at=now)).rowcount:
        return False
    audit.record(
        c,
        actor=actor,
        action="join_token.revoke",
        target=f"join-tokens/{token_id}",
        detail={},
        now=now,
    )
    return True


def consume_join_token(c: Connection, token_hash: bytes, now: datetime) -> JoinTokenRow:
    """Use the token once, in the transaction that adds the Defender.

    Raises:
        JoinTokenError: a subclass says whether it is unknown, revoked, expired or used up.
    """
    statement = (
        update(join_token)
        .where(
            join_token.c.token_hash == token_hash,
            join_token.c.revoked_at.is_(None),
            or_(join_token.c.expires_at.is_(None), join_token.c.expires_at > now),
            or_(join_token.c.uses_left.is_(None), join_token.c.uses_left > 0),
        )
        .values(uses_left=join_token.c.uses_left - 1)
        .returning(join_token)
    )
    row = c.execute(statement).one_or_none()
    if row is not None:
        return _token(row)
    found = c.execute(select(join_token).where(join_token.c.token_hash == token_hash)).one_or_none()
    if found is None:
        raise JoinTokenUnknownError
    if found.revoked_at is not None:
        raise JoinTokenRevokedError
    if found.expires_at is not None and found.expires_at <= now:
        raise JoinTokenExpiredError
    raise JoinTokenUsedError


def add(
    c: Connection,
    *,
    name: str,
    group: str,
    labels: Mapping[str, str],
    fingerprint: str,
    serial: str,
    not_after: datetime,
    version: str,
    platform: str,
    join_token_id: str | None,
    now: datetime,
    defender_id: str | None = None,
) -> DefenderRow:
    """Enrol a Defender. Writes its audit row; the actor is the join token.

    defender_id: the UUID that stands in its certificate; made here when None.
    """
    values = {
        "id": defender_id or new_id(now),
        "name": clean(name),
        "group_name": group,
        "labels": clean_json(dict(labels)),
        "fingerprint": fingerprint,
        "serial": serial,
        "not_after": not_after,
        "join_token_id": join_token_id,
        "version": clean(version),
        "platform": clean(platform),
        "settings_revision": 0,
        "proxy": "",
        "route": "",
        "enrolled_at": now,
    }
    row = c.execute(insert(defender).values(values).returning(defender)).one()
    audit.record(
        c,
        actor=f"join-tokens/{join_token_id}" if join_token_id else "console",
        action="defender.enrol",
        target=f"defenders/{row.id}",
        detail={"name": name, "group": group},
        now=now,
    )
    return _row(row)


def renewed(
    c: Connection, defender_id: str, *, fingerprint: str, serial: str, not_after: datetime
) -> None:
    """Its certificate was replaced by this one.

    Raises:
        NotFoundError
    """
    _change(c, defender_id, fingerprint=fingerprint, serial=serial, not_after=not_after)


def by_id(c: Connection, defender_id: str) -> DefenderRow | None:
    row = c.execute(select(defender).where(defender.c.id == defender_id)).one_or_none()
    return None if row is None else _row(row)


def by_fingerprint(c: Connection, fingerprint: str) -> DefenderRow | None:
    """Whose certificate this is; a removed Defender too: look at `state`."""
    found = c.execute(select(defender).where(defender.c.fingerprint == fingerprint))
    row = found.one_or_none()
    return None if row is None else _row(row)


def connected(
    c: Connection,
    defender_id: str,
    *,
    name: str,
    version: str,
    platform: str,
    settings_revision: int,
    proxy: str,
    route: str,
    now: datetime,
) -> None:
    """Its session has begun.

    Raises:
        NotFoundError
    """
    _change(
        c,
        defender_id,
        name=clean(name),
        version=clean(version),
        platform=clean(platform),
        settings_revision=settings_revision,
        proxy=clean(proxy),
        route=clean(route),
        connected_at=now,
        last_seen=now,
        disconnected_at=None,
    )


def seen(c: Connection, defender_ids: Iterable[str], now: datetime) -> None:
    """These sent something; one statement, so that a gateway reports many at once."""
    ids = sorted(defender_ids)
    for start in range(0, len(ids), 1000):
        c.execute(
            update(defender)
            .where(defender.c.id.in_(ids[start : start + 1000]))
            .values(last_seen=now)
        )


def disconnected(c: Connection, defender_id: str, now: datetime) -> None:
    """Its session has ended."""
    c.execute(
        update(defender)
        .where(defender.c.id == defender_id, defender.c.disconnected_at.is_(None))
        .values(disconnected_at=now)
    )


def all_disconnected(c: Connection, now: datetime) -> None:
    """No session is open: the gateway has just started, maybe after a crash."""
    c.execute(
        update(defender)
        .where(defender.c.connected_at.is_not(None), defender.c.disconnected_at.is_(None))
        .values(disconnected_at=now)
    )


def remove(c: Connection, defender_id: str, *, actor: str, now: datetime) -> bool:
    """Decommission: its certificate lets nobody in, its scans fail or go to others. Audited.

    False when there is none, or it is removed already.
    """
    row = c.execute(
        update(defender)
        .where(defender.c.id == defender_id, defender.c.removed_at.is_(None))
        .values(removed_at=now)
        .returning(defender.c.name)
    ).one_or_none()
    if row is None:
        return False
    scans.defender_removed(c, defender_id, now)
    audit.record(
        c,
        actor=actor,
        action="defender.remove",
        target=f"defenders/{defender_id}",
        detail={"name": row.name},
        now=now,
    )
    return True


def page(
    c: Connection,
    limit: int = 50,
    cursor: str | None = None,
    *,
    search: str = "",
    removed: bool = False,
) -> Page[DefenderRow]:
    """Defenders by name. search: part of name or group. removed: those too."""
    statement = select(defender)
    if search:
        lower = search.lower()
        statement = statement.where(
            or_(
                func.lower(defender.c.name).contains(lower, autoescape=True),
                func.lower(defender.c.group_name).contains(lower, autoescape=True),
            )
        )
    if not removed:
        statement = statement.where(defender.c.removed_at.is_(None))
    order = Keyset("defenders", [defender.c.name, defender.c.id], [str, str])
    return order.fetch(c, statement, limit=limit, cursor=cursor, make=_row)


def counts(c: Connection, settings_revision: int, following: str = "") -> DefenderCounts:
    """For the head of the Defenders page.

    settings_revision: the one in force. following: id of a Defender that is never out of date.
    """
    up = and_(defender.c.connected_at.is_not(None), defender.c.disconnected_at.is_(None))
    row = c.execute(
        select(
            func.count().label("total"),
            func.count().filter(up).label("connected"),
            func.count()
            .filter(defender.c.settings_revision != settings_revision, defender.c.id != following)
            .label("out_of_date"),
        ).where(defender.c.removed_at.is_(None))
    ).one()
    return DefenderCounts(row.total, row.connected, row.out_of_date)


def groups(c: Connection) -> list[tuple[str, int, int]]:
    """Each group's name, Defenders, and how many of them have a session."""
    has_session = and_(defender.c.connected_at.is_not(None), defender.c.disconnected_at.is_(None))
    rows = c.execute(
        select(
            defender.c.group_name,
            func.count().label("total"),
            func.count().filter(has_session).label("connected"),
        )
        .where(defender.c.removed_at.is_(None))
        .group_by(defender.c.group_name)
        .order_by(defender.c.group_name)
    ).all()
    return [(row.group_name, row.total, row.connected) for row in rows]


def _change(c: Connection, defender_id: str, **values: Any) -> None:
    changed = c.execute(update(defender).where(defender.c.id == defender_id).values(values))
    if not changed.rowcount:
        raise NotFoundError("Defender", defender_id)


def _token(row: Row[Any]) -> JoinTokenRow:
    return JoinTokenRow(
        row.id,
        row.group_name,
        row.created_by,
        row.created_at,
        row.expires_at,
        row.uses_left,
        row.revoked_at,
    )


def _row(row: Row[Any]) -> DefenderRow:
    return DefenderRow(
        id=row.id,
        name=row.name,
        group=row.group_name,
        labels=row.labels,
        fingerprint=row.fingerprint,
        serial=row.serial,
        not_after=row.not_after,
        version=row.version,
        platform=row.platform,
        settings_revision=row.settings_revision,
        proxy=row.proxy,
        route=row.route,
        enrolled_at=row.enrolled_at,
        connected_at=row.connected_at,
        last_seen=row.last_seen,
        disconnected_at=row.disconnected_at,
        removed_at=row.removed_at,
    )
