"""Outside hosts that were contacted: the list that the firewall team asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Row, case, func, select

from garrison.database.dialect import proposed, upsert
from garrison.database.page import Keyset, Page
from garrison.database.tables import contact, defender
from garrison.database.types import clean


class Contacted(Protocol):
    """What is needed of an `egress.ConnectionRecord`; `at` is UTC-aware."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def purpose(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def at(self) -> datetime: ...
    @property
    def code(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ContactRow:
    """One host and port, by one source, for one purpose, by one route.

    source: `console` or a Defender's id; source_name: for people. succeeded, failed: connections.
    last_ok, last_code: how the last one went, and the error's code.
    """

    id: int
    host: str
    port: int
    source: str
    source_name: str
    purpose: str
    route: str
    first_seen: datetime
    last_seen: datetime
    succeeded: int
    failed: int
    last_ok: bool
    last_code: str


def add(c: Connection, source: str, records: Iterable[Contacted]) -> None:
    """Count these connections."""
    for key, group in sorted(_grouped(records).items()):
        host, port, purpose, route = key
        values = {
            "host": host,
            "port": port,
            "source": source,
            "purpose": purpose,
            "route": route,
            **_summary(group),
        }
        c.execute(_statement(c), values)


def page(
    c: Connection, limit: int = 50, cursor: str | None = None, *, search: str = ""
) -> Page[ContactRow]:
    """Contacts by host and port. search: part of the host's name."""
    statement = select(contact, defender.c.name.label("defender_name")).outerjoin(
        defender, defender.c.id == contact.c.source
    )
    if search:
        statement = statement.where(
            func.lower(contact.c.host).contains(search.lower(), autoescape=True)
        )
    order = Keyset("contacts", [contact.c.host, contact.c.port, contact.c.id], [str, int, int])
    return order.fetch(c, statement, limit=limit, cursor=cursor, make=_row)


_Key = tuple[str, int, str, str]


def _grouped(records: Iterable[Contacted]) -> dict[_Key, list[Contacted]]:
    groups: dict[_Key, list[Contacted]] = {}
    for record in records:
        key = (clean(record.host), record.port, clean(record.purpose), clean(record.route))
        groups.setdefault(key, []).append(record)
    return groups


def _summary(group: list[Contacted]) -> dict[str, Any]:
    last = max(group, key=lambda record: record.at)
    succeeded = sum(record.ok for record in group)
    return {
        "first_seen": min(record.at for record in group),
        "last_seen": last.at,
        "succeeded": succeeded,
        "failed": len(group) - succeeded,
        "last_ok": last.ok,
        "last_code": clean(last.code),
    }


def _statement(c: Connection) -> Any:
    new = proposed(c, contact)
    newer = new.last_seen >= contact.c.last_seen
    return upsert(
        c,
        contact,
        ["host", "port", "source", "purpose", "route"],
        {
            "first_seen": case(
                (new.first_seen < contact.c.first_seen, new.first_seen), else_=contact.c.first_seen
            ),
            "last_seen": case((newer, new.last_seen), else_=contact.c.last_seen),
            "succeeded": contact.c.succeeded + new.succeeded,
            "failed": contact.c.failed + new.failed,
            "last_ok": case((newer, new.last_ok), else_=contact.c.last_ok),
            "last_code": case((newer, new.last_code), else_=contact.c.last_code),
        },
    )


def _row(row: Row[Any]) -> ContactRow:
    return ContactRow(
        id=row.id,
        host=row.host,
        port=row.port,
        source=row.source,
        source_name=row.defender_name or row.source,
        purpose=row.purpose,
        route=row.route,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        succeeded=row.succeeded,
        failed=row.failed,
        last_ok=row.last_ok,
        last_code=row.last_code,
    )
