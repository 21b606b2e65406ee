"""/network/connections: every outside host that was contacted, for the firewall team."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import contacts as operations
from garrison.console.pages import text
from garrison.console.pages.view import Mark, link
from garrison.console.pages.visit import Visit, page

if TYPE_CHECKING:
    from garrison.database.contacts import ContactRow

PATH = "/network/connections"
LIMIT = 100
PURPOSES = {
    "intel": "Intelligence Stream",
    "alerts": "Alerts",
    "registry": "Images",
    "secrets": "Secrets",
    "fleet": "Console",
    "sso": "Single sign-on",
}


@dataclass(frozen=True, slots=True)
class ContactLine:
    host: str
    port: int
    source: str
    purpose: str
    direct: bool
    route: str
    state: Mark
    code: str
    times: str
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class ConnectionsPage:
    contacts: tuple[ContactLine, ...]
    failing: int
    first_page: str
    next_page: str


def routes() -> list[Route]:
    return [page(PATH, show)]


def show(visit: Visit) -> Response:
    """The list."""
    cursor = visit.query.get("cursor") or None
    found = operations.page(visit.state, LIMIT, cursor)
    lines = tuple(contact_line(row) for row in found.items)
    context = ConnectionsPage(
        contacts=lines,
        failing=sum(item.state.shape == "fail" for item in lines),
        first_page=PATH if cursor else "",
        next_page=link(PATH, cursor=found.next_cursor) if found.next_cursor else "",
    )
    return visit.page("connections.html", context, title="Connections", here="connections")


def contact_line(row: ContactRow) -> ContactLine:
    """One row in the words of the page."""
    times = f"{text.number(row.succeeded)} opened"
    if row.failed:
        times = f"{times}, {text.number(row.failed)} failed"
    return ContactLine(
        host=row.host,
        port=row.port,
        source="Console" if row.source == "console" else row.source_name,
        purpose=PURPOSES.get(row.purpose, row.purpose),
        direct=row.route == "direct",
        route=row.route,
        state=Mark("ok", "Works") if row.last_ok else Mark("fail", "Fails"),
        code=row.last_code,
        times=times,
        last_seen=row.last_seen,
    )
