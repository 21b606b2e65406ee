"""Which outside hosts were contacted, by whom, why, by which route, and how that went."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import datetime

import structlog
from starlette.concurrency import run_in_threadpool

from garrison.console.health import SHOWN, Health, Source, summary
from garrison.console.metrics import EgressMeter, Family
from garrison.console.problems import NotFoundError
from garrison.console.state import AppState
from garrison.database import Database
from garrison.database import contacts as rows
from garrison.database import defenders as defender_rows
from garrison.database.contacts import ContactRow, Flow, Wanted
from garrison.database.page import Page
from garrison.egress import ConnectionRecord
from garrison.errors import GarrisonError

_FLUSH_SECONDS = 2.0
_HELD = 10_000
FEW = 8
"""As many Defenders are told apart; more are shown by group."""
MEASURED = 1000
"""Sources of which `/metrics` tells, by name."""
_log = structlog.get_logger(__name__)


def page(
    state: AppState, limit: int = 100, cursor: str | None = None, wanted: Wanted | None = None
) -> Page[ContactRow]:
    """One row for each host, port, purpose, route and source, by host."""
    with state.db.read() as c:
        return rows.page(c, limit, cursor, wanted)


def every(state: AppState, wanted: Wanted | None = None) -> list[ContactRow]:
    """All of them: for exports."""
    with state.db.read() as c:
        return list(rows.every(c, wanted))


def count(state: AppState, wanted: Wanted | None = None) -> int:
    with state.db.read() as c:
        return rows.count(c, wanted)


def contact(state: AppState, contact_id: int) -> ContactRow:
    """One row. Raises NotFoundError."""
    with state.db.read() as c:
        row = rows.by_id(c, contact_id)
    if row is None:
        raise NotFoundError(f"there is no connection {contact_id}")
    return row


def health(state: AppState, now: datetime) -> Health:
    """How every purpose, route and proxy does; by Defender where there are few."""
    with state.db.read() as c:
        each = defender_rows.counts(c, 0).total <= FEW
        flows = rows.flows(c, now, since=now - SHOWN, each=each)
    return summary(flows, now)


def sources(state: AppState) -> dict[str, Source]:
    """Who can have routes, by `Flow.node`: the Console, and groups or single Defenders."""
    found = {rows.CONSOLE: Source("Console")}
    with state.db.read() as c:
        groups = defender_rows.groups(c)
        if sum(total for _, total, _ in groups) <= FEW:
            for row in defender_rows.page(c, FEW).items:
                silent = int(row.state != "connected")
                found[f"d:{row.id}"] = Source(row.name, 1, silent)
            return found
    for name, total, connected in groups:
        found[f"d:{name}"] = Source(name or "No group", total, total - connected)
    return found


def families(state: AppState, now: datetime) -> Iterator[Family]:
    """The values of `metrics.FAMILIES`, read now."""
    found = health(state, now)
    ups = {"works": 1.0, "slow": 1.0, "partly": 0.5, "fails": 0.0}
    yield (
        "garrison_egress_proxy_up",
        [((each.proxy,), ups[each.state]) for each in found.proxies if each.state in ups],
    )
    yield (
        "garrison_egress_routes_failing",
        [((each.purpose,), each.failing) for each in found.purposes],
    )
    with state.db.read() as c:
        sources = rows.by_source(c, MEASURED)
    yield (
        "garrison_egress_source_connections_total",
        [
            ((name, group, result), value)
            for name, group, ok, failed in sources
            for result, value in (("ok", ok), ("failed", failed))
        ],
    )


def node_name(flow: Flow) -> str:
    """Who it is, for people."""
    return "Console" if flow.node == rows.CONSOLE else flow.node_name or "No group"


class ContactLog:
    """Collects the Console's own connections and writes them down in batches.

    `observe` is the egress client's observer. What came within the last two seconds before a
    crash is lost; nothing waits for it.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._held: list[ConnectionRecord] = []
        self.meter = EgressMeter()

    def observe(self, record: ConnectionRecord) -> None:
        """Remember one connection. Any thread."""
        self.meter.count("console", record)
        with self._lock:
            if len(self._held) < _HELD:
                self._held.append(record)

    def flush(self) -> None:
        """Write down what was observed."""
        with self._lock:
            records, self._held = self._held, []
        if records:
            with self._db.write() as c:
                rows.add(c, rows.CONSOLE, records)

    async def run(self) -> None:
        """Flush every two seconds until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_SECONDS)
                await run_in_threadpool(self._try)
        finally:
            self._try()

    def _try(self) -> None:
        try:
            self.flush()
        except GarrisonError as error:
            _log.warning("contacts not written", code=error.code)
