"""Which outside hosts were contacted, by whom, why and by which route."""

from __future__ import annotations

import asyncio
import threading

import structlog
from starlette.concurrency import run_in_threadpool

from garrison.console.state import AppState
from garrison.database import Database
from garrison.database import contacts as rows
from garrison.database.contacts import ContactRow
from garrison.database.page import Page
from garrison.egress import ConnectionRecord
from garrison.errors import GarrisonError

_FLUSH_SECONDS = 2.0
_HELD = 10_000
_log = structlog.get_logger(__name__)


def page(
    state: AppState, limit: int = 100, cursor: str | None = None, *, search: str = ""
) -> Page[ContactRow]:
    """One row for each host, port, purpose, route and source, by host."""
    with state.db.read() as c:
        return rows.page(c, limit, cursor, search=search)


class ContactLog:
    """Collects the Console's own connections and writes them down in batches.

    `observe` is the egress client's observer. What came within the last two seconds before a
    crash is lost; nothing waits for it.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._held: list[ConnectionRecord] = []

    def observe(self, record: ConnectionRecord) -> None:
        """Remember one connection. Any thread."""
        with self._lock:
            if len(self._held) < _HELD:
                self._held.append(record)

    def flush(self) -> None:
        """Write down what was observed."""
        with self._lock:
            records, self._held = self._held, []
        if records:
            with self._db.write() as c:
                rows.add(c, "console", records)

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
