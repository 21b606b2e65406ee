"""Outside hosts that were contacted, and how that went: the firewall team's list, and the facts
from which the health of routes is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, or_, select, update

from garrison.database.dialect import proposed, upsert
from garrison.database.page import MAX_LIMIT, Keyset, Page
from garrison.database.tables import contact, defender
from garrison.database.types import clean, clean_json

CONSOLE = "console"
"""`source` of the Console's own connections."""
TEST = "test"
"""`purpose` of hosts that only connection tests have contacted."""
FRESH = timedelta(hours=24)
"""A failure that nobody repeated for so long no longer alarms."""
SLOW_MS = 1000.0
"""Opening a connection is slow from here on, if it took four times as long as usual."""
_AT_PROXY = ("resolve", "tcp", "proxy-tls", "proxy-auth")


class Hop(Protocol):
    """What is needed of an `egress.Step`."""

    @property
    def hop(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def ms(self) -> float: ...
    @property
    def detail(self) -> str: ...


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
    @property
    def who(self) -> str: ...
    @property
    def hop(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def hint(self) -> str: ...
    @property
    def steps(self) -> Sequence[Hop]: ...
    @property
    def test(self) -> bool: ...
    @property
    def opened(self) -> bool: ...
    @property
    def sent(self) -> int: ...
    @property
    def received(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ContactRow:
    """One host and port, by one source, for one purpose, by one route.

    source: `console` or a Defender's id; source_name, group: for people. succeeded, failed:
    connections. last_ok, last_code: how the last one went, and the error's code. fail_*, failure
    (`message`, `hint`, `trace`): of the last failure, whatever came after. trace: of the last
    success. sent, received: bytes of bodies.
    """

    id: int
    host: str
    port: int
    source: str
    source_name: str
    group: str
    purpose: str
    route: str
    first_seen: datetime
    last_seen: datetime
    succeeded: int
    failed: int
    last_ok: bool
    last_code: str
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    fail_code: str
    fail_hop: str
    fail_who: str
    failure: dict[str, Any] | None
    trace: list[dict[str, Any]] | None
    last_ms: float | None
    usual_ms: float | None
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which contacts: every given condition holds.

    search: part of the host's name. since: first contacted then or later. failing: the last
    connection failed. purposes: any of them; empty for all.
    """

    search: str = ""
    purposes: tuple[str, ...] = ()
    since: datetime | None = None
    failing: bool = False


@dataclass(frozen=True, slots=True)
class Flow:
    """What the Console, or the Defenders of one group, have to do with one destination.

    node: `console`, a group, or a Defender's id where each is told apart. sources: how many
    Consoles or Defenders. failing: of how many the last connection failed; at_proxy: of these,
    how many came no further than the proxy. proxy_down: the same, also where another route is
    taken since. slow: how many take unusually long. code, hop: of one of these failures;
    past_code: of one that may be over. row: of a contact to look at, a failing one if there is
    one.
    """

    node: str
    node_name: str
    host: str
    port: int
    purpose: str
    route: str
    sources: int
    failing: int
    at_proxy: int
    proxy_down: int
    slow: int
    slow_ms: float
    connections: int
    bytes: int
    first_seen: datetime
    last_seen: datetime
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    code: str
    hop: str
    past_code: str
    row: int


def add(c: Connection, source: str, records: Iterable[Contacted]) -> None:
    """Count these connections, and keep how the last one of each kind went.

    A connection test counts where its host is contacted for that purpose anyway, so that a good
    one ends an alarm; other tests stand under a purpose of their own.
    """
    for key, group in sorted(_grouped(records).items()):
        host, port, purpose, route, test = key
        if test and not _known(c, source, host, port, purpose, route):
            purpose = TEST
        names = {"host": host, "port": port, "source": source, "purpose": purpose, "route": route}
        if opened := [record for record in group if record.opened]:
            c.execute(_statement(c), {**names, **_summary(opened)})
        if carried := [record for record in group if not record.opened]:
            _add_bytes(c, names, carried)


def page(
    c: Connection, limit: int = 50, cursor: str | None = None, wanted: Wanted | None = None
) -> Page[ContactRow]:
    """Contacts by host and port."""
    order = Keyset("contacts", [contact.c.host, contact.c.port, contact.c.id], [str, int, int])
    return order.fetch(c, _rows(wanted or Wanted()), limit=limit, cursor=cursor, make=_row)


def every(c: Connection, wanted: Wanted | None = None) -> Iterator[ContactRow]:
    """All contacts by host and port, without paging."""
    cursor = None
    while True:
        found = page(c, MAX_LIMIT, cursor, wanted)
        yield from found.items
        cursor = found.next_cursor
        if cursor is None:
            return


def count(c: Connection, wanted: Wanted | None = None) -> int:
    """How many contacts there are."""
    rows = _rows(wanted or Wanted()).with_only_columns(func.count())
    return int(c.execute(rows).scalar_one())


def by_id(c: Connection, contact_id: int) -> ContactRow | None:
    row = c.execute(_rows(Wanted()).where(contact.c.id == contact_id)).first()
    return None if row is None else _row(row)


def flows(c: Connection, now: datetime, *, since: datetime, each: bool = False) -> list[Flow]:
    """What was contacted since `since`, by group; by Defender when `each`.

    A route that was left for another one (the settings changed) is not failing any more, nor is
    one that nobody used for `FRESH`. Removed Defenders are left out.
    """
    newest = func.max(contact.c.last_seen).over(
        partition_by=(contact.c.source, contact.c.host, contact.c.port, contact.c.purpose)
    )
    fails = and_(contact.c.last_ok.is_(False), contact.c.last_seen >= now - FRESH)
    now_failing = and_(fails, contact.c.last_seen == newest)
    down = and_(fails, contact.c.route != "direct", contact.c.fail_hop.in_(_AT_PROXY))
    slow = and_(
        contact.c.last_ok.is_(True),
        contact.c.last_ms > SLOW_MS,
        contact.c.last_ms > 4 * contact.c.usual_ms,
        contact.c.last_seen >= now - FRESH,
        contact.c.last_seen == newest,
    )
    known = (
        select(
            contact,
            _node(each).label("node"),
            _node_name(each).label("node_name"),
            case((now_failing, 1), else_=0).label("failing"),
            case((down, 1), else_=0).label("down"),
            case((slow, 1), else_=0).label("slow"),
        )
        .outerjoin(defender, defender.c.id == contact.c.source)
        .where(
            contact.c.last_seen >= since,
            contact.c.purpose != TEST,
            or_(contact.c.source == CONSOLE, defender.c.removed_at.is_(None)),
        )
        .subquery()
    )
    k = known.c
    rows = c.execute(
        select(
            k.node,
            func.max(k.node_name).label("node_name"),
            k.host,
            k.port,
            k.purpose,
            k.route,
            func.count().label("sources"),
            func.sum(k.failing).label("failing"),
            func.sum(k.failing * k.down).label("at_proxy"),
            func.sum(k.down).label("proxy_down"),
            func.sum(k.slow).label("slow"),
            func.max(case((k.slow == 1, k.last_ms), else_=0.0)).label("slow_ms"),
            func.sum(k.succeeded + k.failed).label("connections"),
            func.sum(k.sent + k.received).label("bytes"),
            func.min(k.first_seen).label("first_seen"),
            func.max(k.last_seen).label("last_seen"),
            func.max(k.last_ok_at).label("last_ok_at"),
            func.max(k.last_failed_at).label("last_failed_at"),
            func.max(case((k.failing == 1, k.fail_code), else_="")).label("code"),
            func.max(case((k.failing == 1, k.fail_hop), else_="")).label("hop"),
            func.max(k.fail_code).label("past_code"),
            func.max(case((k.failing == 1, k.id), else_=0)).label("failing_row"),
            func.max(k.id).label("any_row"),
        ).group_by(k.node, k.host, k.port, k.purpose, k.route)
    ).all()
    return [_flow(row) for row in rows]


def by_source(c: Connection, limit: int) -> list[tuple[str, str, int, int]]:
    """For the Console and the first Defenders by name: name, group, connections opened, failed."""
    name = func.coalesce(defender.c.name, contact.c.source)
    group = func.coalesce(defender.c.group_name, "")
    rows = c.execute(
        select(
            name.label("name"),
            group.label("group_name"),
            func.sum(contact.c.succeeded).label("succeeded"),
            func.sum(contact.c.failed).label("failed"),
        )
        .outerjoin(defender, defender.c.id == contact.c.source)
        .where(or_(contact.c.source == CONSOLE, defender.c.removed_at.is_(None)))
        .group_by(name, group)
        .order_by(name, group)
        .limit(limit)
    ).all()
    return [(row.name, row.group_name, int(row.succeeded), int(row.failed)) for row in rows]


_Key = tuple[str, int, str, str, bool]


def _grouped(records: Iterable[Contacted]) -> dict[_Key, list[Contacted]]:
    groups: dict[_Key, list[Contacted]] = {}
    for record in records:
        names = clean(record.host), record.port, clean(record.purpose), clean(record.route)
        groups.setdefault((*names, record.test), []).append(record)
    return groups


def _known(c: Connection, source: str, host: str, port: int, purpose: str, route: str) -> bool:
    return (
        c.execute(
            select(contact.c.id).where(
                contact.c.source == source,
                contact.c.host == host,
                contact.c.port == port,
                contact.c.purpose == purpose,
                contact.c.route == route,
            )
        ).first()
        is not None
    )


def _summary(group: list[Contacted]) -> dict[str, Any]:
    last = max(group, key=lambda record: record.at)
    good = max((r for r in group if r.ok), key=lambda r: r.at, default=None)
    bad = max((r for r in group if not r.ok), key=lambda r: r.at, default=None)
    succeeded = sum(record.ok for record in group)
    took = sum(step.ms for step in good.steps) if good is not None and good.steps else None
    return {
        "first_seen": min(record.at for record in group),
        "last_seen": last.at,
        "succeeded": succeeded,
        "failed": len(group) - succeeded,
        "last_ok": last.ok,
        "last_code": clean(last.code),
        "last_ok_at": None if good is None else good.at,
        "last_failed_at": None if bad is None else bad.at,
        "fail_code": "" if bad is None else clean(bad.code),
        "fail_hop": "" if bad is None else clean(bad.hop),
        "fail_who": "" if bad is None else clean(bad.who),
        "failure": None if bad is None else _failure(bad),
        "trace": None if good is None or not good.steps else _trace(good),
        "last_ms": took,
        "usual_ms": took,
        "sent": 0,
        "received": 0,
    }


def _failure(record: Contacted) -> dict[str, Any]:
    said = {"message": record.message, "hint": record.hint, "trace": _trace(record)}
    return dict(clean_json(said))


def _trace(record: Contacted) -> list[dict[str, Any]]:
    steps = [
        {"hop": s.hop, "target": s.target, "ok": s.ok, "ms": s.ms, "detail": s.detail}
        for s in record.steps
    ]
    return list(clean_json(steps))


def _statement(c: Connection) -> Any:
    new, old = proposed(c, contact), contact.c
    newer = new.last_seen >= old.last_seen
    better = _later(new.last_ok_at, old.last_ok_at)
    worse = _later(new.last_failed_at, old.last_failed_at)
    changes: dict[str, Any] = {
        "first_seen": case((new.first_seen < old.first_seen, new.first_seen), else_=old.first_seen),
        "succeeded": old.succeeded + new.succeeded,
        "failed": old.failed + new.failed,
        "trace": case((and_(better, new.trace.is_not(None)), new.trace), else_=old.trace),
        "last_ms": case((and_(better, new.last_ms.is_not(None)), new.last_ms), else_=old.last_ms),
        "usual_ms": case(
            (new.last_ms.is_(None), old.usual_ms),
            (old.usual_ms.is_(None), new.last_ms),
            else_=old.usual_ms * 0.8 + new.last_ms * 0.2,
        ),
    }
    for names, wins in (
        (("last_seen", "last_ok", "last_code"), newer),
        (("last_ok_at",), better),
        (("last_failed_at", "fail_code", "fail_hop", "fail_who", "failure"), worse),
    ):
        for name in names:
            changes[name] = case((wins, new[name]), else_=old[name])
    return upsert(c, contact, ["host", "port", "source", "purpose", "route"], changes)


def _later(new: ColumnElement[Any], old: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(new.is_not(None), or_(old.is_(None), new >= old))


def _add_bytes(c: Connection, names: dict[str, Any], carried: list[Contacted]) -> None:
    last = max(record.at for record in carried)
    c.execute(
        update(contact)
        .where(*(contact.c[name] == value for name, value in names.items()))
        .values(
            sent=contact.c.sent + sum(record.sent for record in carried),
            received=contact.c.received + sum(record.received for record in carried),
            last_seen=case((contact.c.last_seen < last, last), else_=contact.c.last_seen),
        )
    )


def _node(each: bool) -> ColumnElement[Any]:
    other = contact.c.source if each else func.coalesce(defender.c.group_name, "")
    return case((contact.c.source == CONSOLE, CONSOLE), else_="d:" + other)


def _node_name(each: bool) -> ColumnElement[Any]:
    name = defender.c.name if each else defender.c.group_name
    return func.coalesce(name, "")


def _rows(wanted: Wanted) -> Select[Any]:
    statement = select(
        contact, defender.c.name.label("defender_name"), defender.c.group_name
    ).outerjoin(defender, defender.c.id == contact.c.source)
    if wanted.search:
        statement = statement.where(
            func.lower(contact.c.host).contains(wanted.search.lower(), autoescape=True)
        )
    if wanted.purposes:
        statement = statement.where(contact.c.purpose.in_(wanted.purposes))
    if wanted.since is not None:
        statement = statement.where(contact.c.first_seen >= wanted.since)
    if wanted.failing:
        statement = statement.where(contact.c.last_ok.is_(False))
    return statement


def _row(row: Row[Any]) -> ContactRow:
    return ContactRow(
        id=row.id,
        host=row.host,
        port=row.port,
        source=row.source,
        source_name=row.defender_name or row.source,
        group=row.group_name or "",
        purpose=row.purpose,
        route=row.route,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        succeeded=row.succeeded,
        failed=row.failed,
        last_ok=row.last_ok,
        last_code=row.last_code,
        last_ok_at=row.last_ok_at,
        last_failed_at=row.last_failed_at,
        fail_code=row.fail_code,
        fail_hop=row.fail_hop,
        fail_who=row.fail_who,
        failure=row.failure,
        trace=row.trace,
        last_ms=row.last_ms,
        usual_ms=row.usual_ms,
        sent=row.sent,
        received=row.received,
    )


def _flow(row: Row[Any]) -> Flow:
    return Flow(
        node=row.node,
        node_name=row.node_name,
        host=row.host,
        port=row.port,
        purpose=row.purpose,
        route=row.route,
        sources=row.sources,
        failing=int(row.failing),
        at_proxy=int(row.at_proxy),
        proxy_down=int(row.proxy_down),
        slow=int(row.slow),
        slow_ms=float(row.slow_ms),
        connections=int(row.connections),
        bytes=int(row.bytes),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        last_ok_at=row.last_ok_at,
        last_failed_at=row.last_failed_at,
        code=row.code,
        hop=row.hop,
        past_code=row.past_code,
        row=row.failing_row or row.any_row,
    )
