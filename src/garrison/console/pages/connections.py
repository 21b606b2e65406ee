"""/network/connections: every outside host that was contacted, for the firewall team."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import allow_list
from garrison.console import contacts as operations
from garrison.console.pages import text
from garrison.console.pages.egress_map import PURPOSES, contact_trace
from garrison.console.pages.trace import TraceView
from garrison.console.pages.view import Choice, Crumb, Mark, choices, crumbs, link
from garrison.console.pages.visit import Visit, page
from garrison.database.contacts import Wanted

if TYPE_CHECKING:
    from garrison.database.contacts import ContactRow

PATH = "/network/connections"
LIMIT = 100
PERIODS: Mapping[str, tuple[str, timedelta]] = {
    "1d": ("New in 24 hours", timedelta(days=1)),
    "7d": ("New in 7 days", timedelta(days=7)),
    "30d": ("New in 30 days", timedelta(days=30)),
}
_FORMATS = (("csv", "CSV"), ("hosts", "Plain hosts"), ("squid", "Squid rules"), ("json", "JSON"))
_VIAS = (("any", "Every route"), ("proxy", "By a proxy"), ("direct", "Direct"))


@dataclass(frozen=True, slots=True)
class ContactLine:
    host: str
    port: int
    href: str
    source: str
    purpose: str
    direct: bool
    route: str
    state: Mark
    code: str
    times: str
    carried: str
    first_seen: datetime
    last_seen: datetime
    new: bool


@dataclass(frozen=True, slots=True)
class ConnectionsPage:
    """narrowed: whether a filter holds. fresh: hosts that were first contacted this week."""

    contacts: tuple[ContactLine, ...]
    query: str
    purposes: tuple[Choice, ...]
    periods: tuple[Choice, ...]
    failing_only: bool
    narrowed: bool
    total: int
    failing: int
    fresh: int
    fresh_href: str
    failing_href: str
    formats: tuple[Choice, ...]
    vias: tuple[Choice, ...]
    kept: tuple[tuple[str, str], ...]
    first_page: str
    next_page: str


@dataclass(frozen=True, slots=True)
class ConnectionPage:
    """One of them, with the hops of its last connection."""

    crumbs: tuple[Crumb, ...]
    line: ContactLine
    view: TraceView | None
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    past: str


def routes() -> list[Route]:
    return [
        page(PATH, show),
        page(f"{PATH}/export", export),
        page(f"{PATH}/{{id:int}}", show_one),
    ]


def show(visit: Visit) -> Response:
    """The list."""
    cursor = visit.query.get("cursor") or None
    query = {name: visit.query.get(name, "").strip() for name in ("q", "purpose", "new", "failing")}
    wanted = _wanted(query, visit.now)
    found = operations.page(visit.state, LIMIT, cursor, wanted)
    week = Wanted(since=visit.now - PERIODS["7d"][1])
    context = ConnectionsPage(
        contacts=tuple(contact_line(row, visit.now) for row in found.items),
        query=query["q"],
        purposes=choices([("", "Every purpose"), *PURPOSES.items()], query["purpose"]),
        periods=choices(
            [("", "Any time"), *((key, name) for key, (name, _) in PERIODS.items())], query["new"]
        ),
        failing_only=wanted.failing,
        narrowed=any(query.values()),
        total=operations.count(visit.state),
        failing=operations.count(visit.state, Wanted(failing=True)),
        fresh=operations.count(visit.state, week),
        fresh_href=link(PATH, new="7d"),
        failing_href=link(PATH, failing="1"),
        formats=choices(_FORMATS, "csv"),
        vias=choices(_VIAS, "any"),
        kept=tuple((name, value) for name, value in query.items() if value),
        first_page=link(PATH, **query) if cursor else "",
        next_page=link(PATH, **query, cursor=found.next_cursor) if found.next_cursor else "",
    )
    return visit.page("connections.html", context, title="Connections", here="connections")


def show_one(visit: Visit) -> Response:
    """One of them."""
    row = operations.contact(visit.state, int(visit.path("id")))
    line = contact_line(row, visit.now)
    past = ""
    if row.last_ok and row.failure is not None:
        past = f"{text.sentence(str(row.failure.get('message', '')))} `{row.fail_code}`"
    context = ConnectionPage(
        crumbs=crumbs(("Connections", PATH), f"{row.host}:{row.port}"),
        line=line,
        view=contact_trace(row, visit.now),
        last_ok_at=row.last_ok_at,
        last_failed_at=row.last_failed_at,
        past=past,
    )
    return visit.page("connection.html", context, title=row.host, here="connections")


def export(visit: Visit) -> Response:
    """The allow-list, as a file; with the filters of the list."""
    query = {name: visit.query.get(name, "").strip() for name in ("q", "purpose", "new", "failing")}
    form, via = visit.query.get("format", "csv"), visit.query.get("via", "any")
    form = form if form in allow_list.FORMATS else "csv"
    via = via if via in dict(_VIAS) else "any"
    rows = operations.every(visit.state, _wanted(query, visit.now))
    listed = [each.as_dict() for each in allow_list.entries(rows, cast("allow_list.Via", via))]
    body = (
        json.dumps({"items": listed}, indent=2) + "\n"
        if form == "json"
        else allow_list.render(listed, cast("Any", form))
    )
    media, name = allow_list.MEDIA[form]
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(body, media_type=media, headers=headers)


def contact_line(row: ContactRow, now: datetime) -> ContactLine:
    """One row in the words of the page."""
    times = f"{text.number(row.succeeded)} opened"
    if row.failed:
        times = f"{times}, {text.number(row.failed)} failed"
    return ContactLine(
        host=row.host,
        port=row.port,
        href=f"{PATH}/{row.id}",
        source="Console" if row.source == "console" else row.source_name,
        purpose=PURPOSES.get(row.purpose, row.purpose),
        direct=row.route == "direct",
        route=row.route,
        state=Mark("ok", "Works") if row.last_ok else Mark("fail", "Fails"),
        code=row.last_code,
        times=times,
        carried=text.size(row.sent + row.received),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        new=now - row.first_seen < PERIODS["1d"][1],
    )


def _wanted(query: Mapping[str, str], now: datetime) -> Wanted:
    period = PERIODS.get(query["new"])
    return Wanted(
        search=query["q"],
        purposes=(query["purpose"],) if query["purpose"] else (),
        since=None if period is None else now - period[1],
        failing=query["failing"] == "1",
    )
