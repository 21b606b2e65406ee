"""How to reach registries: users, passwords and certificates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from garrison.database import audit
from garrison.database.dialect import upsert
from garrison.database.page import Keyset, Page
from garrison.database.tables import registry


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """host: with the port where there is one. password: sealed for keys.SEAL_REGISTRY.

    ca: PEM, trusted for this registry alone.
    """

    host: str
    user: str
    password: bytes | None
    plain_http: bool
    ca: str
    created_at: datetime
    updated_at: datetime


def put(
    c: Connection,
    *,
    host: str,
    user: str,
    password: bytes | None,
    plain_http: bool,
    ca: str,
    actor: str,
    now: datetime,
) -> RegistryRow:
    """Add a registry or replace what is known of it. Writes its audit row."""
    changes = {
        "user": user,
        "password": password,
        "plain_http": plain_http,
        "ca": ca,
        "updated_at": now,
    }
    statement = upsert(c, registry, ["host"], changes).values(host=host, created_at=now, **changes)
    row = c.execute(statement.returning(registry)).one()
    detail = {"user": user, "plain_http": plain_http, "password_set": password is not None}
    audit.record(
        c, actor=actor, action="registry.put", target=f"registries/{host}", detail=detail, now=now
    )
    return _row(row)


def by_host(c: Connection, host: str) -> RegistryRow | None:
    row = c.execute(select(registry).where(registry.c.host == host)).one_or_none()
    return None if row is None else _row(row)


def page(c: Connection, limit: int = 50, cursor: str | None = None) -> Page[RegistryRow]:
    """All registries by host."""
    order = Keyset("registries", [registry.c.host], [str])
    return order.fetch(c, select(registry), limit=limit, cursor=cursor, make=_row)


def remove(c: Connection, host: str, *, actor: str, now: datetime) -> bool:
    """Forget a registry; False when it is not known. Writes its audit row."""
    if not c.execute(delete(registry).where(registry.c.host == host)).rowcount:
        return False
    audit.record(
        c, actor=actor, action="registry.remove", target=f"registries/{host}", detail={}, now=now
    )
    return True


def _row(row: Row[Any]) -> RegistryRow:
    return RegistryRow(
        row.host,
        row.user,
        row.password,
        row.plain_http,
        row.ca,
        row.created_at,
        row.updated_at,
    )
