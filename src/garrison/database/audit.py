"""Who changed what: rows that can be added and read, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from garrison.database.page import Keyset, Page
from garrison.database.tables import audit
from garrison.database.types import clean, clean_json


@dataclass(frozen=True, slots=True)
class AuditRow:
    """actor: a user's or token's name, `set-up`, `console` or a Defender's id.

    action: `proxy.save`, `user.create`, …; target: what it was done to.
    """

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]


def record(
    c: Connection,
    *,
    actor: str,
    action: str,
    target: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> None:
    """Add a row, in the transaction of the change it tells of.

    detail: no secrets. Functions of this package that take an `actor` have called this already.
    """
    c.execute(
        insert(audit),
        {
            "at": now,
            "actor": clean(actor),
            "action": action,
            "target": clean(target),
            "detail": clean_json(dict(detail)),
        },
    )


def page(
    c: Connection, limit: int = 50, cursor: str | None = None, *, action: str = ""
) -> Page[AuditRow]:
    """The newest first. action: only these, or those below it (`proxy` finds `proxy.save`)."""
    statement = select(audit)
    if action:
        statement = statement.where(
            (audit.c.action == action) | audit.c.action.startswith(f"{action}.", autoescape=True)
        )
    order = Keyset("audit", [audit.c.id], [int], descending=True)
    return order.fetch(c, statement, limit=limit, cursor=cursor, make=_row)


def _row(row: Row[Any]) -> AuditRow:
    return AuditRow(row.id, row.at, row.actor, row.action, row.target, row.detail)
