"""The Intelligence Stream: when it is updated, and what an update changes in known images."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from starlette.concurrency import run_in_threadpool

from garrison.advisories import AdvisoryStore, SnapshotError
from garrison.advisories.sources import NOTHING_ELSE, Sources
from garrison.console import matcher
from garrison.database import audit
from garrison.database import intel as rows
from garrison.egress import EgressError
from garrison.errors import GarrisonError

if TYPE_CHECKING:
    from garrison.advisories.feeds import Progress as FeedProgress
    from garrison.database import Database
    from garrison.egress.http import EgressClient

EVERY = timedelta(hours=6)
_FIRST_RETRY = timedelta(minutes=1)
_LONGEST_RETRY = timedelta(hours=1)
_LEASE = timedelta(seconds=60)
_NOTE_SECONDS = 2.0
_FOLLOW_SECONDS = 5.0
_SHOWN_SKIPPED = 100
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an update is. total: 0 while it is not known. step: what is done now, for people."""

    done: int
    total: int
    step: str


@dataclass(frozen=True, slots=True)
class EcosystemStatus:
    """One loaded ecosystem."""

    name: str
    records: int
    withdrawn: int
    skipped: int
    updated_at: str


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What is loaded beside advisories. name: `EPSS`, `KEV`, `CVE`. version: its publisher's."""

    name: str
    records: int
    skipped: int
    version: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record that could not be read, and why."""

    ecosystem: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class LastError:
    """Why the last update failed. who: `you|proxy|destination|network`, or empty.

    evidence: as `EgressError.evidence`; None where no connection failed.
    """

    code: str
    message: str
    hint: str = ""
    who: str = ""
    hop: str = ""
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class IntelStatus:
    """What the Intelligence Stream page shows.

    revision: empty when nothing was ever loaded. matching: packages still to be matched with this
    revision. next_update_at: None while one runs.
    """

    revision: str
    updated_at: datetime | None
    url: str
    running: bool
    progress: Progress | None
    ecosystems: tuple[EcosystemStatus, ...]
    sources: tuple[SourceStatus, ...]
    skipped: tuple[SkippedRecord, ...]
    skipped_total: int
    last_attempt_at: datetime | None
    last_success_at: datetime | None
    last_error: LastError | None
    next_update_at: datetime | None
    matching: int


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a snapshot says about itself, read once."""

    store: AdvisoryStore
    ecosystems: tuple[EcosystemStatus, ...]
    sources: tuple[SourceStatus, ...]
    skipped: tuple[SkippedRecord, ...]
    updated_at: datetime | None


class IntelService:
    """Updates the advisory store on a schedule and matches known packages with it.

    public_url: for links in alerts about images that were scanned before anything was loaded.
    """

    def __init__(
        self,
        db: Database,
        egress: EgressClient,
        data: Path,
        *,
        url: str,
        ecosystems: tuple[str, ...],
        sources: Sources = NOTHING_ELSE,
        clock: Callable[[], datetime],
        public_url: str = "",
        alerted: Callable[[], None] = lambda: None,
        rng: random.Random | None = None,
    ) -> None:
        self._db, self._egress, self._data = db, egress, data
        self._url, self._names, self._clock = url, ecosystems, clock
        self._sources = sources
        self._public_url, self._alerted = public_url, alerted
        self._rng = rng or random.SystemRandom()
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._progress: Progress | None = None
        self._running = False
        self._requested = False
        self._failures = 0
        self._next_at: datetime | None = None
        self._damaged = False
        self._stopping = threading.Event()
        self._matched = ""
        self._exploitation = ""
        self._matching = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakeups: list[asyncio.Event] = []

    # --- asked by others ------------------------------------------------------------------

    def status(self) -> IntelStatus:
        """What is loaded and what goes on. Any thread."""
        loaded = self._current()
        with self._db.read() as c:
            row = rows.state(c)
        running = self._running or row.running(self._clock())
        progress = self._progress
        if running and not self._running:
            progress = Progress(row.done, row.total, row.step)
        return IntelStatus(
            revision=loaded.store.revision if loaded else "",
            updated_at=loaded.updated_at if loaded else None,
            url=self._url,
            running=running,
            progress=progress if running else None,
            ecosystems=loaded.ecosystems if loaded else (),
            sources=loaded.sources if loaded else (),
            skipped=loaded.skipped[:_SHOWN_SKIPPED] if loaded else (),
            skipped_total=len(loaded.skipped) if loaded else 0,
            last_attempt_at=row.last_attempt_at,
            last_success_at=row.last_success_at,
            last_error=_last_error(row.last_error),
            next_update_at=None if running else self._next_at,
            matching=self._matching,
        )

    def store(self) -> AdvisoryStore | None:
        """The advisories now loaded, or None. Any thread."""
        loaded = self._current()
        return loaded.store if loaded else None

    def behind(self, revision: str) -> bool:
        """Whether known packages are still to be matched with this revision."""
        return self._matched != revision

    def request_update(self, actor: str) -> bool:
        """Start an update in the background; False when one is under way. Any thread."""
        now = self._clock()
        with self._db.write() as c:
            if self._running or self._requested or rows.state(c).running(now):
                return False
            audit.record(c, actor=actor, action="intel.update", target="intel", detail={}, now=now)
        self._requested = True
        self.wake()
        return True

    def retry_soon(self) -> None:
        """The way out changed: try again what failed. Any thread."""
        if self._failures:
            self._next_at = self._clock()
            self.wake()

    def wake(self) -> None:
        """Look for something to do now. Any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            for event in self._wakeups:
                loop.call_soon_threadsafe(event.set)

    # --- running --------------------------------------------------------------------------

    async def run(self) -> None:
        """Update on schedule and match after it, until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeat(self._update_when_due, 30.0))
                group.create_task(self._repeat(self._match_when_behind, _FOLLOW_SECONDS))
        finally:
            self._stopping.set()

    async def _repeat(self, what: Callable[[], Coroutine[Any, Any, None]], longest: float) -> None:
        event = asyncio.Event()
        self._wakeups.append(event)
        while True:
            event.clear()
            try:
                await what()
            except GarrisonError as error:
                _log.error("intelligence stream", code=error.code, message=error.message)
            except Exception:
                _log.exception("intelligence stream")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(longest)):
                    await event.wait()

    def _pause(self, longest: float) -> float:
        if self._next_at is None:
            return longest
        return min(max((self._next_at - self._clock()).total_seconds(), 0.2), longest)

    async def _update_when_due(self) -> None:
        if self._next_at is None:
            self._next_at = await run_in_threadpool(self._first_due)
        if self._requested or self._clock() >= self._next_at:
            self._requested = False
            await self._update()

    def _first_due(self) -> datetime:
        """Now when nothing is loaded or the last update is old, else when it gets old."""
        now = self._clock()
        with self._db.read() as c:
            last = rows.state(c).last_success_at
        if last is None or self._current() is None:
            return now
        return max(now, last + self._jitter(EVERY))

    async def _update(self) -> None:
        if not await run_in_threadpool(self._begin):
            # Another process is at it; look again when it should be over.
            self._next_at = self._clock() + _LEASE
            return
        self._running, self._progress = True, Progress(0, 0, "starting")
        keeper = asyncio.create_task(self._note_progress())
        try:
            failure = await self._fetch()
        except asyncio.CancelledError:
            # Else the next start would wait until the lease is over.
            self._finish(_STOPPED)
            raise
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            self._running, self._progress = False, None
        await run_in_threadpool(self._finish, failure)
        for event in self._wakeups:
            event.set()

    def _begin(self) -> bool:
        now = self._clock()
        with self._db.write() as c:
            return rows.start(c, lease_until=now + _LEASE, now=now)

    async def _fetch(self) -> dict[str, Any] | None:
        """Update the snapshot; None when all went well, else why not."""
        from garrison.advisories import feeds

        _log.info("intelligence stream update started", url=self._url)
        try:
            result = await feeds.update(
                self._egress,
                self._data,
                url=self._url,
                ecosystems=self._names,
                sources=self._sources,
                progress=self._moved,
            )
        except GarrisonError as error:
            return _failure(error)
        except Exception:
            # Nobody is there to see it; the page must not say that an update runs for ever.
            _log.exception("intelligence stream update")
            return {"code": "internal", "message": "the update failed; the log says more"}
        _log.info("intelligence stream update done", revision=result.revision)
        failed = result.failures
        if not failed:
            return None
        first = failed[0]
        names = ", ".join(one.ecosystem for one in failed)
        return {
            "code": first.code,
            "message": f"{names}: {first.message}",
            "hint": first.hint,
            "who": first.who,
            "hop": first.hop,
            "evidence": first.evidence,
        }

    def _moved(self, progress: FeedProgress) -> None:
        self._progress = Progress(progress.done, progress.total or 0, step_text(progress))

    async def _note_progress(self) -> None:
        """Tell other processes how far it is, and that this one lives."""
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            with contextlib.suppress(GarrisonError):
                await run_in_threadpool(self._write_progress)

    def _write_progress(self) -> None:
        now, progress = self._clock(), self._progress or Progress(0, 0, "")
        with self._db.write() as c:
            rows.progress(
                c,
                done=progress.done,
                total=progress.total,
                step=progress.step,
                lease_until=now + _LEASE,
            )

    def _finish(self, failure: dict[str, Any] | None) -> None:
        now = self._clock()
        with self._db.write() as c:
            if failure is None:
                rows.succeeded(c, now)
            else:
                rows.failed(c, failure)
        if failure is None:
            self._failures = 0
            self._next_at = now + self._jitter(EVERY)
        else:
            self._failures += 1
            wait = min(_FIRST_RETRY * 2 ** min(self._failures - 1, 10), _LONGEST_RETRY)
            self._next_at = now + self._jitter(wait)
            _log.warning(
                "intelligence stream update failed",
                code=failure["code"],
                message=failure["message"],
                next=self._next_at.isoformat(),
            )

    def _jitter(self, wait: timedelta) -> timedelta:
        """Not all Consoles of the world at the same minute."""
        return wait * self._rng.uniform(0.9, 1.1)

    # --- matching -------------------------------------------------------------------------

    def _current(self) -> _Loaded | None:
        """The snapshot on disk; another process may have replaced it."""
        with self._lock:
            held = self._loaded
            try:
                store = held.store.reopened() if held else AdvisoryStore.open(self._data)
                if store is not None and (held is None or store is not held.store):
                    self._loaded = held = _load(store)
            except SnapshotError as error:
                # Damaged, or of another version: the next update makes a new one.
                if not self._damaged:
                    _log.error("advisories not readable", code=error.code, message=error.message)
                self._damaged = True
            else:
                self._damaged = False
            return held

    async def _match_when_behind(self) -> None:
        store = await run_in_threadpool(self.store)
        if store is None:
            return
        if self._exploitation != store.exploitation:
            await run_in_threadpool(matcher.refresh_exploitation, self._db, store)
            self._exploitation = store.exploitation
        self._matching = await run_in_threadpool(matcher.behind, self._db, store.revision)
        if self._matching == 0 and self._matched == store.revision:
            return
        alerts = await run_in_threadpool(self._match, store)
        if alerts:
            self._alerted()

    def _match(self, store: AdvisoryStore) -> int:
        def left(count: int) -> None:
            self._matching = count
            if self._stopping.is_set():
                raise _Stopped

        try:
            alerts = matcher.match_known(self._db, store, self._public_url, self._clock, left)
        except _Stopped:
            return 0
        self._matched, self._matching = store.revision, 0
        return alerts


class _Stopped(Exception):
    """The Console ends while packages are matched; the next start goes on."""


_STOPPED = {
    "code": "intel.stopped",
    "message": "the Console was stopped during the update",
    "hint": "It goes on where it was when the Console starts again.",
}


def _load(store: AdvisoryStore) -> _Loaded:
    feeds = store.ecosystems()
    return _Loaded(
        store,
        tuple(
            EcosystemStatus(one.name, one.records, one.withdrawn, one.skipped, one.updated_at)
            for one in feeds
        ),
        tuple(
            SourceStatus(one.kind, one.records, one.skipped, one.version, one.updated_at)
            for one in store.sources()
        ),
        tuple(SkippedRecord(one.ecosystem, one.id, one.reason) for one in store.skipped()),
        _moment(store.updated_at),
    )


def step_text(progress: FeedProgress) -> str:
    """What an update does now: `downloading Debian (3 of 8)`."""
    if not progress.ecosystem:
        return progress.step
    place = f"{progress.ecosystem} ({progress.position} of {progress.count})"
    return f"{progress.step} {place}"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _failure(error: GarrisonError) -> dict[str, Any]:
    if isinstance(error, EgressError):
        return {**error.as_failure(), "evidence": error.evidence()}
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _last_error(error: dict[str, Any] | None) -> LastError | None:
    if not error:
        return None
    return LastError(
        str(error.get("code", "internal")),
        str(error.get("message", "")),
        str(error.get("hint") or ""),
        str(error.get("who") or ""),
        str(error.get("hop") or ""),
        error.get("evidence") or None,
    )
