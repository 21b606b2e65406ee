"""/manage/system/proxy/history: every saved revision of the proxy settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from garrison.console.pages import text
from garrison.console.pages.view import Crumb, crumbs, link
from garrison.console.pages.visit import Visit, page
from garrison.database.proxy import more_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from garrison.database.proxy import ProxyRow

PATH = "/manage/system/proxy/history"
LIMIT = 50


@dataclass(frozen=True, slots=True)
class RevisionLine:
    """changes: against the revision before, as sentences; passwords and certificates by fact."""

    revision: int
    saved_at: datetime
    saved_by: str
    changes: tuple[str, ...]
    current: bool


@dataclass(frozen=True, slots=True)
class HistoryPage:
    crumbs: tuple[Crumb, ...]
    revisions: tuple[RevisionLine, ...]
    first_page: str
    next_page: str


def routes() -> list[Route]:
    return [page(PATH, show)]


def show(visit: Visit) -> Response:
    """Newest first."""
    from garrison.database import proxy as stored

    cursor = visit.query.get("cursor") or None
    with visit.state.db.read() as c:
        found = stored.history(c, LIMIT + 1, cursor)
        newest = stored.current(c)
    more = len(found.items) > LIMIT
    next_cursor = None
    if more:
        # One row more is read, so that the last one shown has its predecessor to differ from.
        with visit.state.db.read() as c:
            next_cursor = stored.history(c, LIMIT, cursor).next_cursor
    context = HistoryPage(
        crumbs=crumbs("Manage", "System", ("Proxy", "/manage/system/proxy"), "History"),
        revisions=revision_lines(found.items, newest.revision if newest else 0)[:LIMIT],
        first_page=PATH if cursor else "",
        next_page=link(PATH, cursor=next_cursor) if next_cursor else "",
    )
    return visit.page("proxy-history.html", context, title="Proxy history", here="proxy")


def revision_lines(rows: Sequence[ProxyRow], newest: int) -> tuple[RevisionLine, ...]:
    """Each row beside what it changed."""
    before: list[ProxyRow | None] = [*rows[1:], None][: len(rows)]
    return tuple(
        RevisionLine(
            row.revision,
            row.saved_at,
            row.saved_by,
            tuple(changes(older, row)) or ("Nothing changed.",),
            row.revision == newest,
        )
        for row, older in zip(rows, before, strict=True)
    )


def changes(before: ProxyRow | None, after: ProxyRow) -> list[str]:
    """What `after` changed, in sentences."""
    said = []
    old_proxy = before.http_proxy if before else ""
    if old_proxy != after.http_proxy:
        now = f"`{after.http_proxy}`" if after.http_proxy else "no proxy"
        said.append(f"HTTP Proxy: {f'`{old_proxy}`' if old_proxy else 'no proxy'}, now {now}.")
    old = before.no_proxy if before else ()
    if gone := [entry for entry in old if entry not in after.no_proxy]:
        said.append(f"No Proxy: without {text.words(f'`{entry}`' for entry in gone)}.")
    if new := [entry for entry in after.no_proxy if entry not in old]:
        said.append(f"No Proxy: with {text.words(f'`{entry}`' for entry in new)}.")
    if (before.ca if before else "") != after.ca:
        count = after.ca.count("-----BEGIN CERTIFICATE-----")
        said.append(f"CA certificates: now {count}.")
    old_user = before.user if before else ""
    if old_user != after.user:
        said.append(f"User: {f'`{after.user}`' if after.user else 'none'}.")
    if (before.password if before else None) != after.password:
        said.append("Password: set." if after.password else "Password: removed.")
    found = more_changes(before.more if before else {}, after.more)
    return [*said, *(_sentence(name, change) for name, change in found.items())]


_MORE = {
    "auth": "Signing in at HTTP Proxy",
    "failover": "Proxies after HTTP Proxy",
    "proxies": "Further proxies",
    "pac_url": "PAC file",
    "pac_dns": "Names resolved for the PAC file",
    "rules": "Rules",
    "destination_ca": "CAs for destinations",
    "strict": "Strict mode",
    "allowed": "Allowed destinations",
    "direct_in_cluster": "Names of the cluster direct",
}


def _sentence(name: str, change: Any) -> str:
    if name not in _MORE:
        return f"{name[:1].upper()}{name[1:]}: {change}."
    old, new = change
    return f"{_MORE[name]}: {_in_words(name, old)}, now {_in_words(name, new)}."


def _in_words(name: str, value: Any) -> str:
    """A value of the plain form, short."""
    if name == "direct_in_cluster":
        return "no" if value is False else "yes"
    if isinstance(value, bool):
        return "on" if value else "off"
    if not value:
        return "off" if name in {"strict", "pac_dns"} else "`auto`" if name == "auth" else "none"
    if isinstance(value, list):
        return text.words(f"`{_item(one)}`" for one in value)
    return f"`{value}`"


def _item(one: Any) -> str:
    if not isinstance(one, dict):
        return str(one)
    if "address" in one:
        return f"{one['name']} {one['address']}" + (f" user {one['user']}" if one["user"] else "")
    if "use" in one:
        parts = [*one["purposes"], *one["destinations"], *(f"group {g}" for g in one["groups"])]
        matched = ", ".join(parts) or "everything"
        return f"{one['name']}: {matched} → {', '.join(one['proxies']) or one['use']}"
    return f"{', '.join(one['destinations'])} ({one['sha256']}…)"
