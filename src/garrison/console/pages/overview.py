"""/overview: what needs somebody, the most urgent first; and below it the facts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import contacts as network
from garrison.console import fleet
from garrison.console import images as catalogue
from garrison.console.health import DIRECT, Health, RouteHealth
from garrison.console.pages import egress_map, text
from garrison.console.pages import picture as drawing
from garrison.console.pages.access import describe
from garrison.console.pages.images import current_jobs
from garrison.console.pages.shell import INTELLIGENCE, intel_mark
from garrison.console.pages.view import Mark, link, segment
from garrison.console.pages.visit import Visit, page
from garrison.database import alerts as alert_rows
from garrison.database import audit
from garrison.database import images as image_rows
from garrison.database.images import Counts, ImageQuery, ImageRow
from garrison.findings import Severity

if TYPE_CHECKING:
    from garrison.console.fleet import DefenderView
    from garrison.console.intel import IntelStatus
    from garrison.database.audit import AuditRow
    from garrison.database.defenders import DefenderCounts

PATH = "/overview"
LIMIT = 8
WORST = 3
CHANGES = 6
PROXY = "/manage/system/proxy"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
WORDS = {
    "proxy.save": "saved proxy revision",
    "user.create": "created user",
    "token.create": "created API token",
    "token.revoke": "revoked API token",
    "defender.enrol": "enrolled",
    "defender.remove": "removed Defender",
    "join_token.create": "created a join token",
    "join_token.revoke": "revoked a join token",
    "registry.put": "saved registry",
    "registry.remove": "removed registry",
    "egress.trust": "trusted a CA for",
    "intel.update": "asked for an update of",
    "user.password": "changed the password of",
    "alert_profile.create": "created alert profile",
    "alert_profile.update": "changed alert profile",
    "alert_profile.delete": "removed alert profile",
}


@dataclass(frozen=True, slots=True)
class Item:
    """Something that needs a person. rank: the lower, the more urgent. severity: instead of a
    shape, where findings are meant. since: how long it has been so."""

    rank: int
    shape: str
    head: str
    body: str
    href: str
    action: str
    since: datetime | None = None
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    mark: Mark
    value: str


@dataclass(frozen=True, slots=True)
class Change:
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One of the first steps; done: it was taken."""

    done: bool
    head: str
    body: str
    href: str
    action: str


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """hidden: items that are less urgent than those shown. images: how many there are."""

    items: tuple[Item, ...]
    hidden: int
    fine: str
    steps: tuple[Step, ...]
    counts: tuple[tuple[Severity, int], ...]
    totals: Counts
    images: int
    fleet: tuple[Fact, ...]
    bar: tuple[tuple[str, float, float], ...]
    defenders: int
    connected: int
    feed: tuple[Fact, ...]
    picture: drawing.Picture | None
    verdict: str
    changes: tuple[Change, ...]
    at: datetime


def routes() -> list[Route]:
    return [page(PATH, show)]


def show(visit: Visit) -> Response:
    """The start page."""
    context = _context(visit)
    if visit.partial:
        return visit.part("_overview.html", page=context)
    return visit.page("overview.html", context, title="Overview", here="overview")


def _context(visit: Visit) -> OverviewPage:
    state, now = visit.state, visit.now
    health = network.health(state, now)
    status = state.intel.status()
    counts = fleet.counts(state)
    query = ImageQuery(limit=WORST, min_severity=Severity.CRITICAL)
    worst = catalogue.page(state, query).items
    jobs = current_jobs(state, now)
    with state.db.read() as c:
        waiting, totals = alert_rows.waiting(c), image_rows.totals(c)
        known, recent = image_rows.count(c), audit.page(c, CHANGES).items
        failed = alert_rows.deliveries(c, 1, state="failed").items
    views = fleet.defenders(state, limit=1000).items
    items = sorted(
        [
            *route_items(health, now),
            *feed_items(status, now),
            *fleet_items(views, counts, state.egress.settings.revision),
            *image_items(worst),
            *_delivery_items(waiting, failed[0].created_at if failed else None, now),
            *_scan_items(jobs.failed),
        ],
        key=lambda item: item.rank,
    )
    picture = None
    if health.routes:
        sources, names = network.sources(state), egress_map.host_names(state)
        picture = drawing.picture(health.routes, sources, names, size=drawing.SMALL)
    connected = counts.connected
    return OverviewPage(
        items=tuple(items[:LIMIT]),
        hidden=max(0, len(items) - LIMIT),
        fine=_fine(health, counts, status),
        steps=first_steps(visit, known, counts.total, status),
        counts=tuple((severity, totals.of(severity)) for severity in reversed(Severity)),
        totals=totals,
        images=known,
        fleet=fleet_facts(counts),
        bar=_bar(counts),
        defenders=counts.total,
        connected=connected,
        feed=_feed(status, now, waiting, jobs.active),
        picture=picture,
        verdict=egress_map.verdict(health.routes),
        changes=tuple(Change(row.at, change(row)) for row in recent),
        at=now,
    )


# --- what needs attention ------------------------------------------------------------------------


def route_items(health: Health, now: datetime) -> list[Item]:
    """Routes that fail: one item for each cause, not for each route."""
    found = []
    at_proxy: dict[tuple[str, str, str], list[RouteHealth]] = {}
    behind: dict[tuple[str, int, str], list[RouteHealth]] = {}
    for route in health.routes:
        flow = route.flow
        if route.stopped == "proxy":
            at_proxy.setdefault((flow.node, flow.route, flow.code), []).append(route)
        elif route.stopped == "destination":
            behind.setdefault((flow.host, flow.port, flow.code), []).append(route)
    for (node, proxy, code), routes in at_proxy.items():
        who = network.node_name(routes[0].flow)
        part = "" if all(r.state == "fails" for r in routes) else "Some of "
        reached = text.words(dict.fromkeys(route.flow.host for route in routes))
        found.append(
            Item(
                rank=10 if node == "console" else 20,
                shape="warn" if part else "fail",
                head=f"{part}{who} cannot get out: stopped at {proxy}",
                body=f"`{code}`: {reached} cannot be reached that way.",
                href=_route_href(routes[0]),
                action="Show trace",
                since=_since(routes),
            )
        )
    for (host, port, code), routes in behind.items():
        names = dict.fromkeys(network.node_name(route.flow) for route in routes)
        way = routes[0].flow.route
        by = "directly" if way == DIRECT else f"by {way}"
        found.append(
            Item(
                rank=15 if any(r.flow.node == "console" for r in routes) else 25,
                shape="fail" if all(r.state == "fails" for r in routes) else "warn",
                head=f"{host} cannot be reached",
                body=f"`{code}` for {text.words(names)}, {by} to port {port}.",
                href=_route_href(routes[0]),
                action="Show trace",
                since=_since(routes),
            )
        )
    found += [
        Item(
            rank=60,
            shape="warn",
            head=f"{network.node_name(route.flow)} reaches {route.flow.host} slowly",
            body=f"Opening a connection took {text.duration(route.flow.slow_ms / 1000)}, "
            "four times as long as usual.",
            href=_route_href(route),
            action="Show trace",
            since=route.flow.last_seen,
        )
        for route in health.routes
        if route.state == "slow"
    ]
    return found


def feed_items(status: IntelStatus, now: datetime) -> list[Item]:
    """Advisories that are missing, old, or cannot be fetched."""
    if status.running:
        return []
    error = status.last_error
    if error is not None:
        body = text.sentence(error.message)
        if status.updated_at is not None:
            body = f"{body} Findings are as of {text.age(status.updated_at, now)} ago."
        return [
            Item(12, "fail", "Advisories cannot be fetched", body, INTELLIGENCE,
                 "Open the stream", status.last_success_at or status.last_attempt_at)
        ]  # fmt: skip
    if status.updated_at is not None and now - status.updated_at > timedelta(hours=26):
        return [
            Item(30, "warn", f"Advisories are {text.age(status.updated_at, now)} old",
                 "A daily update was missed; what was published since is not found.",
                 INTELLIGENCE, "Update now", status.updated_at)
        ]  # fmt: skip
    return []


def fleet_items(views: Sequence[DefenderView], counts: DefenderCounts, revision: int) -> list[Item]:
    """Defenders that are away, by group, and those that run older settings."""
    silent: dict[str, list[DefenderView]] = {}
    for view in views:
        if not view.connected and view.row.connected_at is not None:
            silent.setdefault(view.row.group, []).append(view)
    found = []
    for group, away in silent.items():
        names = text.words([view.row.name for view in away[:3]])
        more = f" and {len(away) - 3:,} more" if len(away) > 3 else ""
        heard = max((v.row.last_seen for v in away if v.row.last_seen), default=None)
        of = f" of {group}" if group else ""
        one = len(away) == 1
        head = f"{names} is silent" if one else f"{len(away):,} Defenders{of} are silent"
        body = f"It belongs to {group}." if one and group else f"{names}{more}."
        if one and not group:
            body = "Its containers are not watched meanwhile."
        found.append(Item(22, "fail", head, body, "/defenders", "Open Defenders", heard))
    if behind := counts.out_of_date:
        verb = "runs" if behind == 1 else "run"
        found.append(
            Item(40, "warn", f"{text.plural(behind, 'Defender')} {verb} older proxy settings",
                 f"Revision {revision} is in force. Each keeps what it has until it is deployed "
                 "again.", f"{PROXY}#ood", "Which ones")
        )  # fmt: skip
    return found


def image_items(worst: Iterable[ImageRow]) -> list[Item]:
    """The images with most critical findings; exploited ones first."""
    found = []
    for row in worst:
        counts = row.counts
        name = text.image_name(row.reference or row.digest)
        fixed = f"{text.share(counts.fixable, counts.total)} of its findings have a fix."
        if counts.exploited:
            known = f"{text.plural(counts.exploited, 'finding')} known to be exploited"
            head, rank = f"{known} in {name}", 5
        else:
            head, rank = f"{text.plural(counts.critical, 'critical finding')} in {name}", 35
        found.append(
            Item(rank, "fail", head, fixed, f"/images/{segment(row.digest)}", "Open image",
                 row.scanned_at, Severity.CRITICAL)
        )  # fmt: skip
    return found


def _delivery_items(waiting: int, failed: datetime | None, now: datetime) -> list[Item]:
    found = []
    if waiting:
        verb = "waits" if waiting == 1 else "wait"
        found.append(
            Item(32, "warn", f"{text.plural(waiting, 'alert')} {verb} to be sent",
                 "Each is tried again by itself, less often with time.", "/alerts", "Open alerts")
        )  # fmt: skip
    if failed is not None and now - failed < timedelta(days=7):
        found.append(
            Item(31, "fail", "An alert was given up", "Nobody was told of its findings.",
                 "/alerts", "Open alerts", failed)
        )  # fmt: skip
    return found


def _scan_items(failed: int) -> list[Item]:
    if not failed:
        return []
    verb = "was" if failed == 1 else "were"
    return [
        Item(45, "warn", f"{text.plural(failed, 'image')} {verb} not scanned",
             "The last scan failed; the list says why.", "/scans", "Open scans")
    ]  # fmt: skip


def _route_href(route: RouteHealth) -> str:
    return link(egress_map.PATH, route=drawing.route_id(route))


def _since(routes: Sequence[RouteHealth]) -> datetime | None:
    """When it worked last; where it never did, when it was tried first."""
    good = [r.flow.last_ok_at for r in routes if r.flow.last_ok_at is not None]
    return max(good) if good else min(route.flow.first_seen for route in routes)


# --- facts ---------------------------------------------------------------------------------------


def first_steps(visit: Visit, images: int, defenders: int, status: IntelStatus) -> tuple[Step, ...]:
    """What a new Console needs, in order; empty once all of it is there."""
    settings = visit.state.egress.settings
    steps = (
        Step(settings.revision > 0, "Say how connections leave",
             "Behind a proxy, set it and test it. Without one, nothing is to be done.",
             PROXY, "Set the proxy"),
        Step(bool(status.revision), "Load the advisories",
             "They say what is vulnerable; the first update takes a few minutes.",
             INTELLIGENCE, "Open the stream"),
        Step(defenders > 0, "Add a Defender",
             "It runs where your containers are, and pulls what is to be scanned.",
             "/defenders/add", "Add a Defender"),
        Step(images > 0, "Scan an image", "Its packages and findings stand under Images.",
             "/scans/new", "Scan an image"),
    )  # fmt: skip
    needed = [step.done for step in steps[1:]]
    return () if all(needed) else steps


def fleet_facts(counts: DefenderCounts) -> tuple[Fact, ...]:
    """How many Defenders are in which state."""
    silent = counts.total - counts.connected
    rows = [
        (Mark("ok", "Connected", "/defenders"), counts.connected),
        (Mark("warn", "With older settings", f"{PROXY}#ood"), counts.out_of_date),
        (Mark("fail", "Silent, or never here", "/defenders"), silent),
    ]
    return tuple(Fact(mark, text.number(count)) for mark, count in rows if count)


def _bar(counts: DefenderCounts) -> tuple[tuple[str, float, float], ...]:
    """Connected and silent Defenders as parts of a bar 300 wide."""
    if not counts.total:
        return ()
    silent = counts.total - counts.connected
    parts = [("ok", counts.connected), ("fail", silent)]
    found, x = [], 0.0
    for shape, count in parts:
        width = 300 * count / counts.total
        if count:
            found.append((shape, round(x, 1), round(max(width - 2, 2), 1)))
        x += width
    return tuple(found)


def _feed(status: IntelStatus, now: datetime, waiting: int, active: int) -> tuple[Fact, ...]:
    mark = intel_mark(status, now)
    age = text.age(status.updated_at, now) if status.updated_at else "empty"
    facts = [Fact(Mark(mark.shape, "Intelligence Stream", INTELLIGENCE), age)]
    if waiting:
        facts.append(Fact(Mark("warn", "Alerts to be sent", "/alerts"), text.number(waiting)))
    if active:
        facts.append(Fact(Mark("run", "Scans under way", "/scans"), text.number(active)))
    return tuple(facts)


def _fine(health: Health, counts: DefenderCounts, status: IntelStatus) -> str:
    """What works, in a sentence, for a day on which nothing is the matter."""
    parts = []
    if works := sum(route.state == "works" for route in health.routes):
        parts.append(f"{text.plural(works, 'route')} {'works' if works == 1 else 'work'}")
    if counts.connected:
        parts.append(f"{text.plural(counts.connected, 'Defender')} connected")
    if status.revision:
        parts.append("advisories are up to date")
    return text.sentence(text.words(parts))


def change(row: AuditRow) -> str:
    """A row of the audit table as a line."""
    what = WORDS.get(row.action, row.action.replace("_", " ").replace(".", " "))
    target = row.target.rpartition("/")[2]
    if row.action == "proxy.save":
        target = str(row.detail.get("revision", target))
    elif _ID.fullmatch(target):
        # An id says nothing to anybody.
        target = str(row.detail.get("name") or row.detail.get("group") or "")
    said = f"{row.actor} {what} {target}".strip()
    return said if row.action in WORDS else f"{said} {describe(row.detail)}".strip()
