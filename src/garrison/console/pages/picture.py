"""The picture of all routes: who, through what, to where. Pure: routes in, shapes out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from garrison.console.health import DIRECT, RouteHealth, Source, latest, passed_at
from garrison.console.pages import text

Kind: TypeAlias = Literal["ok", "warn", "fail", "miss", "idle"]
"""How a line looks: works, slow or for some only, fails here, not reached, unused."""
FROM, THROUGH, TO = 0, 1, 2
MORE = "more"
"""Key of the node that stands for those a column has no room for."""
_STATUS = {
    "egress.proxy_auth_required": "407",
    "egress.proxy_auth_refused": "407",
    "egress.proxy_auth_scheme": "407",
    "egress.proxy_denied": "403",
    "egress.proxy_rate_limited": "429",
}
_SHAPES: Mapping[Kind, str] = {
    "ok": "ok", "warn": "warn", "fail": "fail", "miss": "fail", "idle": "idle",
}  # fmt: skip
_WORST: Mapping[str, int] = {"fail": 0, "warn": 1, "ok": 2, "idle": 3}


@dataclass(frozen=True, slots=True)
class Size:
    """Measures of a picture, and how many nodes a column holds; further ones share one."""

    width: int = 1180
    node: tuple[int, int] = (228, 44)
    gap: int = 14
    top: int = 26
    rows: tuple[int, int, int] = (10, 7, 13)
    letters: int = 27
    subs: bool = True


LARGE = Size()
SMALL = Size(
    width=880, node=(190, 26), gap=7, top=2, rows=(7, 4, 8), letters=22, subs=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    key: str
    column: int
    title: str
    sub: str
    whole: str
    shape: str
    x: float
    y: float
    width: float
    height: float
    direct: bool = False
    selected: bool = False


@dataclass(frozen=True, slots=True)
class Label:
    """A word on a line, where something is the matter."""

    x: float
    y: float
    width: float
    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Line:
    path: str
    kind: Kind
    width: float
    selected: bool
    label: Label | None


@dataclass(frozen=True, slots=True)
class Picture:
    """says: the same in one paragraph, for those who do not see it."""

    width: int
    height: float
    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]
    heads: tuple[tuple[float, str], ...]
    says: str


@dataclass(slots=True)
class _Spot:
    """A node being made."""

    key: str
    title: str
    sub: str
    routes: list[RouteHealth] = field(default_factory=list)
    y: float = 0.0
    shape: str = "ok"
    silent: int = 0


@dataclass(slots=True)
class _Link:
    """A line being made. side: of the column that it leaves."""

    side: int
    start: _Spot
    end: _Spot
    routes: list[RouteHealth]
    kind: Kind
    word: str
    selected: bool
    y1: float = 0.0
    y2: float = 0.0


def route_id(route: RouteHealth) -> str:
    """A name for a route that fits in an address and stays the same."""
    flow = route.flow
    names = (flow.node, flow.host, str(flow.port), flow.purpose, flow.route)
    return hashlib.blake2s("\0".join(names).encode(), digest_size=6).hexdigest()


def keys(route: RouteHealth) -> tuple[str, str, str]:
    """The nodes that a route touches."""
    flow = route.flow
    return flow.node, flow.route, f"{flow.host}:{flow.port}"


def picture(
    routes: Sequence[RouteHealth],
    sources: Mapping[str, Source],
    names: Mapping[str, str],
    *,
    selected: Callable[[RouteHealth], bool] = lambda route: False,
    size: Size = LARGE,
) -> Picture:
    """Draw `routes`.

    sources: by node, those without routes too. names: of hosts that have a better one.
    """
    columns = _columns(routes, sources, names, size)
    links = [*_links(columns, FROM, selected), *_links(columns, THROUGH, selected)]
    _shape(columns, links)
    height = _place(columns, size)
    _attach(links, columns, size)
    chosen = {id(spot) for link in links if link.selected for spot in (link.start, link.end)}
    nodes = tuple(
        _node(spot, column, id(spot) in chosen, size)
        for column, spots in enumerate(columns)
        for spot in spots
    )
    lines = _lines(links, size)
    heads = tuple(zip(_xs(size), ("From", "Through", "To"), strict=True)) if size.subs else ()
    return Picture(size.width, height, nodes, lines, heads, says(routes, columns))


def says(routes: Sequence[RouteHealth], columns: Sequence[Sequence[_Spot]]) -> str:
    """What the picture shows, in words."""
    counts = [len(spots) for spots in columns]
    wrong = [r for r in routes if r.state in {"fails", "partly"}]
    parts = [
        f"{text.plural(counts[FROM], 'source')} on the left, {text.plural(counts[THROUGH], 'way')}"
        f" in the middle, {text.plural(counts[TO], 'destination')} on the right."
    ]
    if not wrong:
        parts.append("No route fails.")
    for route in wrong[:3]:
        flow = route.flow
        who = flow.node_name or "Console"
        where = f"at {flow.route}" if route.stopped == "proxy" else "behind the proxy"
        place = where if flow.route != DIRECT else "on the direct way"
        parts.append(f"{who} to {flow.host} fails {place}: {short(flow.code)}.")
    if len(wrong) > 3:
        parts.append(f"{text.plural(len(wrong) - 3, 'more route')} fail.")
    return " ".join(parts)


def short(code: str) -> str:
    """An error's code in a word or two, for a label on a line."""
    if code in _STATUS:
        return _STATUS[code]
    return code.rpartition(".")[2].removeprefix("proxy_").replace("_", " ") or "fails"


def left_kind(routes: Sequence[RouteHealth]) -> tuple[Kind, str]:
    """How the way from one source to one proxy does, and a word where it does not do well."""
    used = [route for route in routes if route.state != "unused"]
    if not used:
        return "idle", ""
    stopped = [route for route in used if route.stopped == "proxy"]
    if not stopped:
        return ("warn", "") if all(route.state == "slow" for route in used) else ("ok", "")
    flows = [route.flow for route in stopped]
    failed = latest(flows, lambda flow: flow.last_failed_at)
    passed = latest([route.flow for route in used], passed_at)
    one = all(flow.sources == 1 for flow in flows)
    newer = passed is None or (failed is not None and failed > passed)
    if (len(stopped) == len(used) and all(r.state == "fails" for r in stopped)) or (one and newer):
        return "fail", short(flows[0].code)
    worst = max(flows, key=lambda flow: flow.failing)
    return "warn", f"{worst.failing} of {worst.sources}" if worst.sources > 1 else "some"


def right_kind(routes: Sequence[RouteHealth]) -> tuple[Kind, str]:
    """How the way from one proxy to one destination does, for all who take it."""
    used = [route for route in routes if route.state != "unused"]
    if not used:
        return "idle", ""
    failing = sum(route.flow.failing for route in used)
    whole = sum(route.flow.sources for route in used)
    here = [route for route in used if route.stopped == "destination"]
    if failing == whole:
        return ("fail", short(here[0].flow.code)) if here else ("miss", "")
    if here:
        return "warn", f"{failing} of {whole}"
    if slow := [route for route in used if route.state == "slow"]:
        return "warn", text.duration(max(route.flow.slow_ms for route in slow) / 1000)
    return "ok", ""


# --- nodes ---------------------------------------------------------------------------------------


def _columns(
    routes: Sequence[RouteHealth],
    sources: Mapping[str, Source],
    names: Mapping[str, str],
    size: Size,
) -> tuple[list[_Spot], list[_Spot], list[_Spot]]:
    left: dict[str, _Spot] = {}
    for key, source in sources.items():
        left[key] = _Spot(key, source.name, _members(source), silent=source.silent)
    middle: dict[str, _Spot] = {}
    right: dict[str, _Spot] = {}
    for route in routes:
        flow = route.flow
        start, way, end = keys(route)
        spot = left.setdefault(start, _Spot(start, flow.node_name or "Console", ""))
        spot.routes.append(route)
        name = "Direct" if way == DIRECT else way
        middle.setdefault(way, _Spot(way, name, _way(way))).routes.append(route)
        title = "Console" if flow.purpose == "fleet" else names.get(flow.host, flow.host)
        sub = end if title != flow.host else text.words(_PURPOSES.get(flow.purpose, ("",)))
        right.setdefault(end, _Spot(end, title, sub)).routes.append(route)
    for key in [key for key, spot in left.items() if not spot.routes and not spot.silent]:
        if key != "console":
            del left[key]
    ways = sorted(middle.values(), key=lambda spot: (spot.key == DIRECT, *_urgency(spot)))
    starts = sorted(left.values(), key=lambda spot: (spot.key != "console", *_urgency(spot)))
    ends = sorted(right.values(), key=_urgency)
    found = (
        _folded(starts, size.rows[FROM], "more sources"),
        _folded(ways, size.rows[THROUGH], "more proxies", keep=DIRECT),
        _folded(ends, size.rows[TO], "more hosts"),
    )
    # Order at random would cross lines: each column follows the one before.
    found[TO].sort(key=lambda spot: (spot.key == MORE, _mean_place(spot, found[THROUGH])))
    return found


_PURPOSES = {
    "intel": ("advisories",),
    "alerts": ("alerts",),
    "registry": ("images",),
    "secrets": ("secrets",),
    "sso": ("sign-on",),
}


def _members(source: Source) -> str:
    if not source.count:
        return ""
    if source.count == 1:
        return "silent" if source.silent else ""
    silent = f", {source.silent:,} silent" if source.silent else ""
    return f"{source.count:,} Defenders{silent}"


def _way(key: str) -> str:
    return "without a proxy" if key == DIRECT else "proxy"


def _urgency(spot: _Spot) -> tuple[int, float, str]:
    wrong = sum(route.state in {"fails", "partly"} for route in spot.routes)
    return -min(wrong, 1), -sum(_traffic(route) for route in spot.routes), spot.key


def _folded(spots: list[_Spot], limit: int, word: str, *, keep: str = "") -> list[_Spot]:
    if len(spots) <= limit:
        return spots
    kept = [spot for spot in spots if spot.key == keep]
    others = [spot for spot in spots if spot.key != keep]
    room = limit - 1 - len(kept)
    rest = others[room:]
    more = _Spot(MORE, f"{len(rest):,} {word}", "in the table below")
    more.routes = [route for spot in rest for route in spot.routes]
    more.silent = sum(spot.silent for spot in rest)
    return [*others[:room], *kept, more]


def _mean_place(spot: _Spot, before: Sequence[_Spot]) -> float:
    places = {id(route): i for i, other in enumerate(before) for route in other.routes}
    found = [places[id(route)] for route in spot.routes]
    return sum(found) / len(found) if found else 0.0


# --- lines ---------------------------------------------------------------------------------------


def _links(
    columns: Sequence[list[_Spot]], side: int, selected: Callable[[RouteHealth], bool]
) -> list[_Link]:
    found = []
    for start in columns[side]:
        ours = {id(route) for route in start.routes}
        for end in columns[side + 1]:
            routes = [route for route in end.routes if id(route) in ours]
            if not routes:
                continue
            kind, word = _direct_kind(routes) if end.key == DIRECT else left_kind(routes)
            if side == THROUGH:
                kind, word = right_kind(routes)
            chosen = any(selected(route) for route in routes)
            found.append(_Link(side, start, end, routes, kind, word, chosen))
    return found


def _direct_kind(routes: Sequence[RouteHealth]) -> tuple[Kind, str]:
    """Without a proxy nothing can stop half way: what fails, fails beyond."""
    return ("idle" if all(route.state == "unused" for route in routes) else "ok"), ""


def _shape(columns: Sequence[list[_Spot]], links: Sequence[_Link]) -> None:
    """What stands before each name: of a source and a destination, how its routes do."""
    for column, spots in enumerate(columns):
        for spot in spots:
            touching = [_SHAPES[link.kind] for link in links if link.start is spot and column < TO]
            if column == THROUGH:
                touching = [_SHAPES[link.kind] for link in links if link.end is spot]
            if column == TO:
                touching = [_SHAPES[link.kind] for link in links if link.end is spot]
            if column == FROM:
                states = {route.state for route in spot.routes}
                touching += ["warn"] if states & {"fails", "partly"} else []
                touching += ["warn"] if spot.silent else []
            spot.shape = _combined(touching, column)


def _combined(shapes: Sequence[str], column: int) -> str:
    if not shapes:
        return "idle"
    worst = min(shapes, key=lambda shape: _WORST[shape])
    used = [shape for shape in shapes if shape != "idle"]
    if worst == "fail" and any(shape != "fail" for shape in used):
        return "fail" if column == FROM else "warn"
    return worst


def _traffic(route: RouteHealth) -> float:
    """Bytes; a connection weighs a little by itself."""
    return route.flow.bytes + 1500.0 * route.flow.connections


def _place(columns: Sequence[list[_Spot]], size: Size) -> float:
    _, tall = size.node
    needed = max(max(len(spots) for spots in columns), 1)
    inner = needed * tall + (needed - 1) * size.gap
    for spots in columns:
        step = (inner - tall * len(spots)) / max(len(spots), 1)
        for i, spot in enumerate(spots):
            spot.y = size.top + step / 2 + i * (tall + step)
    return size.top + inner + 4


def _attach(links: Sequence[_Link], columns: Sequence[list[_Spot]], size: Size) -> None:
    """Where lines touch their nodes: side by side, in the order of the other ends."""
    _, tall = size.node
    for spots in columns:
        for spot in spots:
            outgoing = sorted((k for k in links if k.start is spot), key=lambda k: k.end.y)
            incoming = sorted((k for k in links if k.end is spot), key=lambda k: k.start.y)
            for i, link in enumerate(outgoing):
                link.y1 = spot.y + _port(i, len(outgoing), tall)
            for i, link in enumerate(incoming):
                link.y2 = spot.y + _port(i, len(incoming), tall)


def _port(place: int, count: int, tall: float) -> float:
    room = min(10.0, (tall - 12) / max(count - 1, 1))
    return tall / 2 + (place - (count - 1) / 2) * room


def _xs(size: Size) -> tuple[float, float, float]:
    wide, _ = size.node
    return 0.5, (size.width - wide) / 2, size.width - wide - 0.5


_DEPTH: Mapping[Kind, int] = {"idle": 0, "ok": 1, "warn": 2, "miss": 3, "fail": 4}


def _lines(links: Sequence[_Link], size: Size) -> tuple[Line, ...]:
    most = max((sum(_traffic(r) for r in link.routes) for link in links), default=1.0)
    wide, _ = size.node
    taken: list[Label] = []
    found = []
    for link in sorted(links, key=lambda link: (link.selected, _DEPTH[link.kind])):
        traffic = sum(_traffic(route) for route in link.routes)
        weight = math.log10(1 + traffic / 1000) / max(math.log10(1 + most / 1000), 1e-9)
        thick = 1.0 if link.kind == "idle" else round(1.2 + 2.4 * weight, 2)
        x1, x2 = _xs(size)[link.side] + wide, _xs(size)[link.side + 1]
        middle = (x1 + x2) / 2
        path = (
            f"M{x1:.1f} {link.y1:.1f}C{middle:.1f} {link.y1:.1f} "
            f"{middle:.1f} {link.y2:.1f} {x2:.1f} {link.y2:.1f}"
        )
        label = _label(link, (x1, x2), taken) if link.word else None
        if label is not None:
            taken.append(label)
        found.append(Line(path, link.kind, thick, link.selected, label))
    return tuple(found)


def _label(link: _Link, ends: tuple[float, float], taken: Iterable[Label]) -> Label:
    width = 26 + 6.4 * len(link.word)
    places = [_at(link, ends, t) for t in (0.5, 0.38, 0.62, 0.28, 0.72)]

    def free(place: tuple[float, float]) -> bool:
        return all(
            abs(place[1] - other.y) > 20 or abs(place[0] - other.x) > (width + other.width) / 2
            for other in taken
        )

    x, y = next((place for place in places if free(place)), places[0])
    return Label(x, y, width, link.word, link.kind)


def _at(link: _Link, ends: tuple[float, float], t: float) -> tuple[float, float]:
    x1, x2 = ends
    middle = (x1 + x2) / 2
    a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    return (
        a * x1 + b * middle + c * middle + d * x2,
        (a + b) * link.y1 + (c + d) * link.y2,
    )


def _node(spot: _Spot, column: int, chosen: bool, size: Size) -> Node:
    wide, tall = size.node
    return Node(
        key=spot.key,
        column=column,
        title=cut(spot.title, size.letters),
        sub=cut(spot.sub, size.letters + 4) if size.subs else "",
        whole=f"{spot.title}, {spot.sub}" if spot.sub else spot.title,
        shape=spot.shape,
        x=_xs(size)[column],
        y=spot.y,
        width=wide,
        height=tall,
        direct=spot.key == DIRECT and column == THROUGH,
        selected=chosen,
    )


def cut(name: str, letters: int) -> str:
    """`name` with its middle left out where it is too long: hosts differ at both ends."""
    if len(name) <= letters:
        return name
    head = (letters - 1) * 2 // 3
    return f"{name[:head]}…{name[head + 1 - letters :]}"
