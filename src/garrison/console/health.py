"""How every purpose, route and proxy does, from what was contacted. Pure functions.

An alarm ends by itself: by a later success, when another route is taken, or when nobody uses the
route for `FRESH`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, TypeVar

from garrison.database.contacts import FRESH, Flow
from garrison.egress import PURPOSES

State: TypeAlias = Literal["works", "slow", "partly", "fails", "unused"]
"""partly: for some of those who use it. unused: by nobody within `FRESH`."""
SHOWN = timedelta(days=14)
"""What nobody used for so long is no route any more; the list of connections keeps it."""
DIRECT = "direct"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RouteHealth:
    """One flow and its state. stopped: where the failing ones stop."""

    flow: Flow
    state: State
    stopped: Literal["", "proxy", "destination"]


@dataclass(frozen=True, slots=True)
class PurposeHealth:
    """routes, failing: how many routes it has, and how many of them fail at least for some."""

    purpose: str
    state: State
    routes: int
    failing: int
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    code: str
    row: int


@dataclass(frozen=True, slots=True)
class ProxyHealth:
    """proxy: HOST:PORT. code: of one of the failures at the proxy."""

    proxy: str
    state: State
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    code: str


@dataclass(frozen=True, slots=True)
class Source:
    """A Console, a group, or a Defender. count, silent: Defenders in it, and without session."""

    name: str
    count: int = 0
    silent: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """routes: failing ones first."""

    at: datetime
    purposes: tuple[PurposeHealth, ...]
    proxies: tuple[ProxyHealth, ...]
    routes: tuple[RouteHealth, ...]


def summary(flows: Sequence[Flow], now: datetime) -> Health:
    """The health of everything that `flows` tells of."""
    routes = sorted((route_health(flow, now) for flow in flows), key=_worst_first)
    proxies = sorted({flow.route for flow in flows} - {DIRECT})
    return Health(
        at=now,
        purposes=tuple(
            _purpose(purpose, [r for r in routes if r.flow.purpose == purpose])
            for purpose in PURPOSES
        ),
        proxies=tuple(
            proxy_health(proxy, [f for f in flows if f.route == proxy], now) for proxy in proxies
        ),
        routes=tuple(routes),
    )


def route_health(flow: Flow, now: datetime) -> RouteHealth:
    """The state of one flow."""
    if now - flow.last_seen > FRESH:
        return RouteHealth(flow, "unused", "")
    if not flow.failing:
        return RouteHealth(flow, "slow" if flow.slow else "works", "")
    stopped: Literal["proxy", "destination"] = (
        "proxy" if flow.at_proxy == flow.failing else "destination"
    )
    return RouteHealth(flow, "fails" if flow.failing == flow.sources else "partly", stopped)


def proxy_health(proxy: str, flows: Sequence[Flow], now: datetime) -> ProxyHealth:
    """Whether connections come through a proxy; what a destination does is not its fault."""
    used = [flow for flow in flows if now - flow.last_seen <= FRESH]
    passed = latest(used, passed_at)
    down = [flow for flow in used if flow.proxy_down]
    stopped = latest(down, lambda flow: flow.last_failed_at)
    if not used:
        state: State = "unused"
    elif stopped is None:
        state = "slow" if any(flow.slow for flow in used) else "works"
    elif passed is None or all(flow.proxy_down == flow.sources for flow in used):
        state = "fails"
    elif len({flow.node for flow in used}) == 1 and stopped > passed:
        # One machine saw both: what it saw last holds.
        state = "fails"
    else:
        state = "partly"
    code = next((flow.code or flow.past_code for flow in down), "")
    return ProxyHealth(proxy, state, passed, latest(flows, lambda f: f.last_failed_at), code)


def latest(items: Iterable[_T], moment: Callable[[_T], datetime | None]) -> datetime | None:
    """The latest of the moments that there are."""
    return max((at for item in items if (at := moment(item)) is not None), default=None)


def passed_at(flow: Flow) -> datetime | None:
    """When a connection last came beyond the proxy: also one that failed behind it."""
    if flow.failing > flow.at_proxy:
        return flow.last_seen
    return flow.last_ok_at


def _purpose(purpose: str, routes: Sequence[RouteHealth]) -> PurposeHealth:
    used = [route for route in routes if route.state != "unused"]
    failing = [route for route in used if route.state in {"fails", "partly"}]
    if not used:
        state: State = "unused"
    elif not failing:
        state = "slow" if any(route.state == "slow" for route in used) else "works"
    else:
        all_fail = all(route.state == "fails" for route in used)
        state = "fails" if all_fail else "partly"
    failed = [route.flow for route in routes if route.flow.last_failed_at is not None]
    last = max(failed, key=lambda flow: (flow.failing > 0, flow.last_failed_at), default=None)
    return PurposeHealth(
        purpose=purpose,
        state=state,
        routes=len(used),
        failing=len(failing),
        last_ok_at=latest([r.flow for r in routes], lambda flow: flow.last_ok_at),
        last_failed_at=latest(failed, lambda flow: flow.last_failed_at),
        code="" if last is None else last.code or last.past_code,
        row=0 if last is None else last.row,
    )


_ORDER = {"fails": 0, "partly": 1, "slow": 2, "works": 3, "unused": 4}


def _worst_first(route: RouteHealth) -> tuple[int, bool, str, str, int, str]:
    flow = route.flow
    return (
        _ORDER[route.state],
        flow.node != "console",
        flow.node_name,
        flow.host,
        flow.port,
        flow.purpose,
    )
