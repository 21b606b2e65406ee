"""Updating the local advisories from an OSV bulk export.

Ecosystem by ecosystem: download what changed, load it into the next snapshot, put that in force.
An ecosystem that fails keeps its old advisories and is reported; a snapshot is always whole.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from garrison.advisories.archive import records
from garrison.advisories.download import Archive, Download
from garrison.advisories.errors import BadFeedError, IntelError, SnapshotError
from garrison.advisories.snapshot import SnapshotWriter, next_snapshot
from garrison.advisories.state import FeedFailure, UpdateState, read_state, write_state
from garrison.advisories.store import AdvisoryStore, EcosystemState, SkippedRecord, snapshot_path
from garrison.egress import EgressError
from garrison.errors import GarrisonError

if TYPE_CHECKING:
    from garrison.egress.http import EgressClient

DEFAULT_URL = "https://osv-vulnerabilities.storage.googleapis.com"
DEFAULT_ECOSYSTEMS = ("PyPI", "npm", "Debian", "Alpine", "Go", "Maven", "RubyGems", "crates.io")

Step: TypeAlias = Literal["checking", "downloading", "reading", "finishing"]
_T = TypeVar("_T")


def ecosystems_in(text: str) -> tuple[str, ...]:
    """The ecosystems named in `text`, separated by commas: `Red Hat` is one of them."""
    names = (name.strip() for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an update is.

    done, total: bytes while downloading, records while reading; total None where unknown.
    position, count: which ecosystem of how many, from 1.
    """

    step: Step
    ecosystem: str
    position: int
    count: int
    done: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What an update did.

    changed: whether a new snapshot is in force. failures: ecosystems that kept their old
    advisories. changed_names: (ecosystem, name) of packages whose findings may differ from those
    of the snapshot before; None for all.
    """

    revision: str
    changed: bool
    ecosystems: tuple[EcosystemState, ...]
    skipped: tuple[SkippedRecord, ...]
    failures: tuple[FeedFailure, ...]
    changed_names: frozenset[tuple[str, str]] | None


class _Stop(Exception):
    """The update was cancelled while a thread was reading."""


async def update(
    client: EgressClient,
    data: Path,
    *,
    url: str = DEFAULT_URL,
    ecosystems: Sequence[str] = DEFAULT_ECOSYSTEMS,
    progress: Callable[[Progress], None] = lambda _: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> UpdateResult:
    """Bring the advisories of `data` up to date; `progress` is called in the loop's thread.

    Raises:
        EgressError, IntelError: of the first ecosystem, when all of them failed.
        UpdateRunningError: another update is running on the same directory.
    """
    run = _Run(client, data, url, _folders(ecosystems), progress, now)
    with next_snapshot(data) as writer:
        return await run.update(writer)


def _folders(ecosystems: Sequence[str]) -> tuple[str, ...]:
    """Folder names of the export: without release suffix, each once."""
    names = (name.strip().partition(":")[0] for name in ecosystems)
    return tuple(dict.fromkeys(name for name in names if name))


class _Run:
    """One update."""

    def __init__(
        self,
        client: EgressClient,
        data: Path,
        url: str,
        ecosystems: tuple[str, ...],
        progress: Callable[[Progress], None],
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._data = data
        self._url = url
        self._ecosystems = ecosystems
        self._progress = progress
        self._now = now
        self._folder = snapshot_path(data).parent
        self._failures: list[FeedFailure] = []
        self._errors: list[GarrisonError] = []
        self._confirmed: dict[str, str] = {}
        self._spent: list[Download] = []

    async def update(self, writer: SnapshotWriter) -> UpdateResult:
        """All ecosystems, one after the other."""
        if not self._ecosystems:
            raise IntelError("no ecosystem is chosen", "Set GARRISON_INTEL_ECOSYSTEMS.")
        (self._folder / "download").mkdir(parents=True, exist_ok=True)
        for position, ecosystem in enumerate(self._ecosystems, 1):
            place = Progress("checking", ecosystem, position, len(self._ecosystems))
            if self._hopeless():
                self._fail(ecosystem, self._errors[-1])
                continue
            try:
                await self._one(writer, place)
            except (EgressError, IntelError) as error:
                self._fail(ecosystem, error)
        before = self._revision()
        if writer.changed:
            self._progress(Progress("finishing", "", len(self._ecosystems), len(self._ecosystems)))
            await asyncio.to_thread(writer.commit, self._stamp())
            for download in self._spent:
                download.forget()
        self._write_state()
        if self._errors and not self._confirmed:
            raise self._errors[0]
        return self._result(before, writer)

    def _revision(self) -> str:
        try:
            store = AdvisoryStore.open(self._data)
        except SnapshotError:
            return ""
        if store is None:
            return ""
        store.close()
        return store.revision

    def _hopeless(self) -> bool:
        """Nothing but connections that failed so far: the next one would wait and fail too."""
        return (
            not self._confirmed
            and len(self._errors) >= 2
            and all(isinstance(error, EgressError) for error in self._errors)
        )

    async def _one(self, writer: SnapshotWriter, place: Progress) -> None:
        download = Download(self._client, self._url, place.ecosystem, self._folder / "download")
        self._progress(place)
        archive = await download.fetch(
            writer.validators(place.ecosystem),
            lambda done, total: self._progress(
                replace(place, step="downloading", done=done, total=total)
            ),
        )
        if archive is not None:
            try:
                await self._read(writer, place, archive)
            except BadFeedError:
                # A damaged file is damaged tomorrow too.
                download.forget()
                raise
            self._spent.append(download)
        self._confirmed[place.ecosystem] = self._stamp()

    async def _read(self, writer: SnapshotWriter, place: Progress, archive: Archive) -> None:
        """Load the archive in a thread; on cancellation that thread is stopped and waited for."""
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        reading = replace(place, step="reading")
        self._progress(reading)

        def report(done: int) -> None:
            if stop.is_set():
                raise _Stop
            loop.call_soon_threadsafe(self._progress, replace(reading, done=done))

        work = asyncio.to_thread(
            writer.replace_feed,
            place.ecosystem,
            records(archive.path),
            validators=archive.validators,
            now=self._stamp(),
            progress=report,
        )
        await _finished(work, stop)

    def _fail(self, ecosystem: str, error: GarrisonError) -> None:
        self._errors.append(error)
        facts = {"code": error.code, "message": error.message, "hint": error.hint}
        if isinstance(error, EgressError):
            facts |= {
                key: str(value) for key, value in error.as_failure().items() if value is not None
            }
        known = {key: value for key, value in facts.items() if key in FeedFailure.__slots__}
        evidence = error.evidence() if isinstance(error, EgressError) else {}
        self._failures.append(FeedFailure(ecosystem=ecosystem, evidence=evidence, **known))

    def _write_state(self) -> None:
        old = read_state(self._folder)
        write_state(
            self._folder,
            UpdateState(
                attempted_at=self._stamp(),
                confirmed=old.confirmed | self._confirmed,
                failures=tuple(self._failures),
            ),
        )

    def _result(self, before: str, writer: SnapshotWriter) -> UpdateResult:
        store = AdvisoryStore(snapshot_path(self._data))
        try:
            return UpdateResult(
                revision=store.revision,
                changed=store.revision != before,
                ecosystems=tuple(store.ecosystems()),
                skipped=tuple(store.skipped()),
                failures=tuple(self._failures),
                changed_names=writer.changed_names if store.revision != before else frozenset(),
            )
        finally:
            store.close()

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _finished(work: Awaitable[_T], stop: threading.Event) -> _T:
    """The result of work in a thread, which is never left running behind our back."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
