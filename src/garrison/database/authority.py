"""The Console's own certificate authority, which identifies the fleet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from garrison.database.dialect import insert_or_ignore
from garrison.database.tables import authority


@dataclass(frozen=True, slots=True)
class AuthorityRow:
    """certificate: PEM. key: PEM, sealed for keys.SEAL_AUTHORITY. generation: 1 is the first."""

    generation: int
    certificate: str
    key: bytes
    created_at: datetime


def current(c: Connection) -> AuthorityRow | None:
    """The authority that certificates are issued by; None before the first start."""
    newest = select(authority).order_by(authority.c.generation.desc()).limit(1)
    row = c.execute(newest).one_or_none()
    return None if row is None else _row(row)


def ensure(c: Connection, *, certificate: str, key: bytes, now: datetime) -> AuthorityRow:
    """The authority in force, which is this one if there was none.

    Two Consoles that start at once on one database agree on the first's: use what comes back.
    """
    values = {"generation": 1, "certificate": certificate, "key": key, "created_at": now}
    c.execute(insert_or_ignore(c, authority).values(values))
    found = current(c)
    assert found is not None
    return found


def _row(row: Row[Any]) -> AuthorityRow:
    return AuthorityRow(row.generation, row.certificate, row.key, row.created_at)
