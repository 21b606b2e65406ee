"""/network/map: every route in one picture, with its state, and the trace of the chosen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import contacts as operations
from garrison.console.health import DIRECT, Health, RouteHealth, Source, State
from garrison.console.pages import picture as drawing
from garrison.console.pages import text, trace
from garrison.console.pages.view import Choice, Mark, link
from garrison.console.pages.visit import Visit, page

if TYPE_CHECKING:
    from garrison.console.state import AppState
    from garrison.database.contacts import ContactRow

PATH = "/network/map"
ROWS = 40
SHORT = 10
PURPOSES: Mapping[str, str] = {
    "intel": "Intelligence Stream",
    "alerts": "Alerts",
    "registry": "Images",
    "secrets": "Secrets",
    "fleet": "Console",
    "sso": "Single sign-on",
    "test": "Connection test",
}
STATES: Mapping[State, tuple[str, str]] = {
    "works": ("ok", "Works"),
    "slow": ("warn", "Slow"),
    "partly": ("warn", "Partly"),
    "fails": ("fail", "Fails"),
    "unused": ("idle", "Unused"),
}
_KNOWN = {
    "hooks.slack.com": "Slack",
    "registry-1.docker.io": "Docker Hub",
    "auth.docker.io": "Docker Hub sign-in",
    "production.cloudflare.docker.com": "Docker Hub layers",
    "gcr.io": "Google Registry",
    "ghcr.io": "GitHub Registry",
    "quay.io": "Quay",
    "public.ecr.aws": "Amazon Registry",
    "mcr.microsoft.com": "Microsoft Registry",
}


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One route in the table. stops: where, when it fails."""

    id: str
    href: str
    source: str
    host: str
    port: int
    purpose: str
    way: str
    state: Mark
    stops: str
    code: str
    carried: str
    last_ok_at: datetime | None
    chosen: bool


@dataclass(frozen=True, slots=True)
class ChosenRoute:
    """The trace of one route: of its last failure, else of its last success."""

    title: str
    note: str
    view: trace.TraceView | None
    state: Mark
    facts: tuple[tuple[str, str], ...]
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    test_href: str
    away: str


@dataclass(frozen=True, slots=True)
class End:
    """A source or destination in the list by proxy."""

    name: str
    mark: Mark
    href: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """A proxy, or the direct way, with who takes it and what they reach: the map on a phone."""

    name: str
    mark: Mark
    sources: tuple[End, ...]
    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class MapPage:
    here: str
    purposes: tuple[Choice, ...]
    failing_href: str
    only_failing: bool
    verdict: str
    picture: drawing.Picture
    links: Mapping[tuple[int, str], str]
    ways: tuple[Way, ...]
    lines: tuple[RouteLine, ...]
    hidden: int
    chosen: ChosenRoute | None
    node: str
    whole_href: str
    at: datetime
    empty: bool


def routes() -> list[Route]:
    return [page(PATH, show)]


def show(visit: Visit) -> Response:
    """The map. `?purpose=`, `?failing=1`, `?node=KEY`, `?route=ID`."""
    context = _context(visit)
    if visit.partial:
        return visit.part("_map.html", page=context)
    return visit.page("map.html", context, title="Egress map", here="map")


def _context(visit: Visit) -> MapPage:
    query = {name: visit.query.get(name, "") for name in ("purpose", "failing", "node", "route")}
    health = operations.health(visit.state, visit.now)
    sources = operations.sources(visit.state)
    shown = wanted(health.routes, query["purpose"], query["failing"] == "1")
    keep = {"purpose": query["purpose"], "failing": query["failing"]}
    chosen = next((r for r in shown if drawing.route_id(r) == query["route"]), None)
    node = query["node"] if chosen is None else ""

    def selected(route: RouteHealth) -> bool:
        if chosen is not None:
            return route is chosen
        return bool(node) and node in drawing.keys(route)

    visible = [route for route in shown if not node or node in drawing.keys(route)]
    if not query["failing"] and not query["purpose"]:
        present: Mapping[str, Source] = sources
    else:
        present = {route.flow.node: _source(sources, route) for route in shown}
    names = host_names(visit.state)
    ways = tuple(_ways(shown, sources, names, keep))
    return MapPage(
        here=link(PATH, **query),
        purposes=_purposes(health, query),
        failing_href=link(PATH, **{**query, "failing": "" if query["failing"] else "1"}),
        only_failing=query["failing"] == "1",
        verdict=verdict(health.routes),
        picture=drawing.picture(shown, present, names, selected=selected),
        links=_links(shown, keep),
        ways=ways,
        lines=tuple(route_line(route, keep, route is chosen) for route in visible[:ROWS]),
        hidden=max(0, len(visible) - ROWS),
        chosen=_chosen(visit, chosen, link(PATH, **keep)) if chosen is not None else None,
        node=_node_name(node, shown, names),
        whole_href=link(PATH, **keep),
        at=visit.now,
        empty=not health.routes,
    )


def wanted(
    found: Sequence[RouteHealth], purpose: str, only_failing: bool
) -> tuple[RouteHealth, ...]:
    """The routes of a purpose; those that do not just work."""
    return tuple(
        route
        for route in found
        if (not purpose or route.flow.purpose == purpose)
        and (not only_failing or route.state in {"fails", "partly", "slow"})
    )


def verdict(found: Sequence[RouteHealth]) -> str:
    """`2 routes fail, 1 is slow, 20 work`: what needs attention first."""
    counts = {state: sum(route.state == state for route in found) for state in STATES}
    parts = []
    if failing := counts["fails"]:
        parts.append(f"{text.plural(failing, 'route')} {'fails' if failing == 1 else 'fail'}")
    if partly := counts["partly"]:
        verb = "fails" if partly == 1 else "fail"
        parts.append(f"{partly:,} {verb} for some Defenders")
    if slow := counts["slow"]:
        parts.append(f"{slow:,} {'is' if slow == 1 else 'are'} slow")
    if works := counts["works"]:
        parts.append(f"{works:,} {'works' if works == 1 else 'work'}")
    if unused := counts["unused"]:
        parts.append(f"{unused:,} not used for a day")
    return ", ".join(parts)


def host_names(state: AppState) -> dict[str, str]:
    """What people call a host."""
    feed = urlsplit(state.settings.intel_url).hostname or ""
    return {**_KNOWN, feed: "Intelligence Stream"}


def route_line(route: RouteHealth, keep: Mapping[str, str], chosen: bool = False) -> RouteLine:
    """One route in the words of the table."""
    flow = route.flow
    shape, word = STATES[route.state]
    if route.state == "partly":
        word = f"Fails for {flow.failing:,} of {flow.sources:,}"
    elif route.state == "slow":
        word = f"Slow, {text.duration(flow.slow_ms / 1000)}"
    stops = ""
    if route.stopped == "proxy":
        stops = f"at {flow.route}"
    elif route.stopped == "destination":
        stops = "at the destination" if flow.route == DIRECT else "beyond the proxy"
    ident = drawing.route_id(route)
    return RouteLine(
        id=ident,
        href=link(PATH, **keep, route=ident),
        source=operations.node_name(flow),
        host=flow.host,
        port=flow.port,
        purpose=PURPOSES.get(flow.purpose, flow.purpose),
        way=flow.route,
        state=Mark(shape, word),
        stops=stops,
        code=flow.code if route.stopped else "",
        carried=text.size(flow.bytes),
        last_ok_at=flow.last_ok_at,
        chosen=chosen,
    )


def contact_trace(row: ContactRow, now: datetime) -> trace.TraceView | None:
    """The hops of a contact's last connection, from what was kept of it."""
    failing = not row.last_ok
    told: dict[str, Any] = row.failure or {} if failing else {}
    steps = told.get("trace") if failing else row.trace
    if not steps and not failing:
        return None
    host = f"[{row.host}]" if ":" in row.host else row.host
    result: dict[str, Any] = {
        "ok": row.last_ok,
        "url": f"{'wss' if row.purpose == 'fleet' else 'https'}://{host}:{row.port}",
        "route": {"proxy": None if row.route == DIRECT else f"http://{row.route}"},
        "intercepted_by": None,
        "trace": steps or [],
        "error": None,
    }
    if failing:
        result["error"] = {
            "code": row.fail_code or row.last_code,
            "message": told.get("message") or row.last_code,
            "hint": told.get("hint") or "",
            "who": row.fail_who,
            "hop": row.fail_hop,
        }
    return trace.trace_view(result, row.last_seen)


def _source(sources: Mapping[str, Source], route: RouteHealth) -> Source:
    return sources.get(route.flow.node) or Source(operations.node_name(route.flow))


def _purposes(health: Health, query: Mapping[str, str]) -> tuple[Choice, ...]:
    known = [each.purpose for each in health.purposes if each.routes or each.last_ok_at]
    known += [each.purpose for each in health.purposes if each.failing]
    options = [("", "All"), *((p, PURPOSES[p]) for p in dict.fromkeys(known))]
    return tuple(
        Choice(
            value,
            name,
            value == query["purpose"],
            href=link(PATH, purpose=value, failing=query["failing"]),
        )
        for value, name in options
    )


def _links(found: Sequence[RouteHealth], keep: Mapping[str, str]) -> dict[tuple[int, str], str]:
    """Where a click on a node leads: to its own routes."""
    links = {}
    for route in found:
        for column, key in enumerate(drawing.keys(route)):
            links[(column, key)] = link(PATH, **keep, node=key)
    return links


def _node_name(node: str, found: Sequence[RouteHealth], names: Mapping[str, str]) -> str:
    for route in found:
        start, way, end = drawing.keys(route)
        if node == start:
            return operations.node_name(route.flow)
        if node == way:
            return "the direct way" if way == DIRECT else way
        if node == end:
            return names.get(route.flow.host, end)
    return ""


def _ways(
    found: Sequence[RouteHealth],
    sources: Mapping[str, Source],
    names: Mapping[str, str],
    keep: Mapping[str, str],
) -> list[Way]:
    ways: dict[str, list[RouteHealth]] = {}
    for route in found:
        ways.setdefault(route.flow.route, []).append(route)
    told = [_way(way, of, sources, names, keep) for way, of in sorted(ways.items())]
    return sorted(told, key=lambda way: ("fail", "warn", "ok", "idle").index(way.mark.shape))


_MARKS: Mapping[drawing.Kind, tuple[str, str]] = {
    "ok": ("ok", "works"),
    "warn": ("warn", "slow"),
    "fail": ("fail", "fails here"),
    "miss": ("fail", "not reached"),
    "idle": ("idle", "unused for a day"),
}


def _way(
    way: str,
    of: Sequence[RouteHealth],
    sources: Mapping[str, Source],
    names: Mapping[str, str],
    keep: Mapping[str, str],
) -> Way:
    by_source: dict[str, list[RouteHealth]] = {}
    by_end: dict[str, list[RouteHealth]] = {}
    for route in of:
        start, _, end = drawing.keys(route)
        by_source.setdefault(start, []).append(route)
        by_end.setdefault(end, []).append(route)
    starts = []
    kinds = []
    for key, some in by_source.items():
        kind, word = drawing.left_kind(some) if way != DIRECT else ("ok", "")
        kinds.append(kind)
        source = _source(sources, some[0])
        name = f"{source.name} ({source.count:,})" if source.count > 1 else source.name
        starts.append(End(name, _mark(kind, word), link(PATH, **keep, node=key)))
    ends = []
    for key, some in by_end.items():
        kind, word = drawing.right_kind(some)
        flow = some[0].flow
        name = "Console" if flow.purpose == "fleet" else names.get(flow.host, key)
        ends.append(End(name, _mark(kind, word), link(PATH, **keep, node=key)))
    worst = next((k for k in ("fail", "warn", "ok", "idle") if k in kinds), "ok")
    shape = "warn" if worst == "fail" and set(kinds) - {"fail", "idle"} else worst
    name = "Direct" if way == DIRECT else way
    return Way(name, Mark(shape, ""), _few(starts), _few(ends))


def _few(ends: Sequence[End]) -> tuple[End, ...]:
    """As many as one reads on a phone; what fails comes first."""
    order = ("fail", "warn", "ok", "idle")
    found = sorted(ends, key=lambda end: order.index(end.mark.shape))
    if len(found) <= SHORT:
        return tuple(found)
    rest = len(found) - SHORT
    return (*found[:SHORT], End(f"{rest:,} more", Mark("ok", ""), "#rts"))


def _mark(kind: drawing.Kind, word: str) -> Mark:
    shape, said = _MARKS[kind]
    if kind == "warn" and word and not word.endswith((" s", " min")):
        said = "fails for"
        return Mark(shape, f"{said} {word}")
    return Mark(shape, f"{said}: {word}" if word else said)


def _chosen(visit: Visit, route: RouteHealth, away: str) -> ChosenRoute:
    flow = route.flow
    row = operations.contact(visit.state, flow.row)
    line = route_line(route, {})
    way = "directly" if flow.route == DIRECT else f"by {flow.route}"
    facts = [
        ("Why", line.purpose),
        ("Connections", text.number(flow.connections)),
        ("Carried", line.carried),
    ]
    if row.usual_ms is not None:
        facts.append(("Opens in", text.milliseconds(row.usual_ms)))
    note = "" if flow.node == "console" or flow.sources == 1 else f"as {row.source_name} saw it"
    host = f"[{flow.host}]" if ":" in flow.host else flow.host
    source = "console" if flow.node == "console" else row.source
    return ChosenRoute(
        title=f"{line.source} to {flow.host}:{flow.port}",
        note=f"{way}, {note}" if note else way,
        view=contact_trace(row, visit.now),
        state=line.state,
        facts=tuple(facts),
        last_ok_at=flow.last_ok_at,
        last_failed_at=flow.last_failed_at,
        test_href=link("/manage/system/proxy", test=f"https://{host}:{flow.port}/", source=source)
        + "#test",
        away=away,
    )
