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
from garrison.advisories.download import Archive, Download, url_of
from garrison.advisories.errors import (
    BadFeedError,
    FeedNotFoundError,
    FeedStatusError,
    IntelError,
    SnapshotError,
)
from garrison.advisories.facts import Scores, read_catalogue
from garrison.advisories.listing import Changes, changes, read_listing
from garrison.advisories.osv import MAX_RECORD
from garrison.advisories.snapshot import SnapshotWriter, Validators, next_snapshot
from garrison.advisories.sources import (
    FRESH_DAYS,
    NOTHING_ELSE,
    CvePart,
    Sources,
    cve_records,
    text_lines,
    whole,
)
from garrison.advisories.state import FeedFailure, UpdateState, read_state, write_state
from garrison.advisories.store import (
    AdvisoryStore,
    EcosystemState,
    SkippedRecord,
    SourceState,
    snapshot_path,
)
from garrison.egress import EgressError
from garrison.errors import GarrisonError

if TYPE_CHECKING:
    from garrison.egress.http import EgressClient

DEFAULT_URL = "https://osv-vulnerabilities.storage.googleapis.com"
DEFAULT_ECOSYSTEMS = ("PyPI", "npm", "Debian", "Alpine", "Go", "Maven", "RubyGems", "crates.io")

Step: TypeAlias = Literal["checking", "downloading", "reading", "finishing"]
_T = TypeVar("_T")
_AT_A_TIME = 8
"""Single records that are fetched at the same time."""


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
    sources: tuple[SourceState, ...] = ()


_Step: TypeAlias = Callable[[SnapshotWriter, Progress], Awaitable[None]]


class _Stop(Exception):
    """The update was cancelled while a thread was reading."""


async def update(
    client: EgressClient,
    data: Path,
    *,
    url: str = DEFAULT_URL,
    ecosystems: Sequence[str] = DEFAULT_ECOSYSTEMS,
    sources: Sources = NOTHING_ELSE,
    progress: Callable[[Progress], None] = lambda _: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> UpdateResult:
    """Bring the advisories of `data` up to date; `progress` is called in the loop's thread.

    sources: what else to fetch; what it does not name is taken out.

    Raises:
        EgressError, IntelError: of the first ecosystem, when all of them failed.
        UpdateRunningError: another update is running on the same directory.
    """
    run = _Run(client, data, url, _folders(ecosystems), sources, progress, now)
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
        sources: Sources,
        progress: Callable[[Progress], None],
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._data = data
        self._url = url
        self._ecosystems = ecosystems
        self._sources = sources
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
        steps = [*((name, self._one) for name in self._ecosystems), *self._beside(writer)]
        for position, (name, step) in enumerate(steps, 1):
            place = Progress("checking", name, position, len(steps))
            if self._hopeless():
                self._fail(name, self._errors[-1])
                continue
            try:
                await step(writer, place)
            except (EgressError, IntelError) as error:
                self._fail(name, error)
            else:
                self._confirmed[name] = self._stamp()
        before = self._revision()
        if writer.changed:
            self._progress(Progress("finishing", "", len(steps), len(steps)))
            await asyncio.to_thread(writer.commit, self._stamp())
            for download in self._spent:
                download.forget()
        self._write_state()
        if self._errors and not self._confirmed:
            raise self._errors[0]
        return self._result(before, writer)

    def _revision(self) -> tuple[str, str]:
        try:
            store = AdvisoryStore.open(self._data)
        except SnapshotError:
            return ("", "")
        if store is None:
            return ("", "")
        store.close()
        return (store.revision, store.exploitation)

    def _beside(self, writer: SnapshotWriter) -> list[tuple[str, _Step]]:
        """What is wanted beside advisories; what is not is taken out."""
        wanted: list[tuple[str, _Step]] = []
        for kind, named, step in (
            ("EPSS", bool(self._sources.epss), self._scores),
            ("KEV", bool(self._sources.kev), self._catalogue),
            ("CVE", bool(self._sources.cve), self._cves),
        ):
            if named:
                wanted.append((kind, step))
            else:
                writer.forget_source(kind)
        return wanted

    def _hopeless(self) -> bool:
        """Nothing but connections that failed so far: the next one would wait and fail too."""
        return (
            not self._confirmed
            and len(self._errors) >= 2
            and all(isinstance(error, EgressError) for error in self._errors)
        )

    async def _one(self, writer: SnapshotWriter, place: Progress) -> None:
        """An ecosystem: by its list of changes if there are few, else its archive."""
        self._progress(place)
        if await self._by_listing(writer, place):
            return
        download = self._download(place.ecosystem, "all.zip")
        archive = await download.fetch(writer.validators(place.ecosystem), self._shown(place))
        if archive is not None:
            await self._using(download, self._read(writer, place, archive))

    def _download(self, ecosystem: str, file: str) -> Download:
        folder = self._folder / "download"
        return Download.of_ecosystem(self._client, self._url, ecosystem, file, folder)

    def _shown(self, place: Progress) -> Callable[[int, int | None], None]:
        return lambda done, total: self._progress(
            replace(place, step="downloading", done=done, total=total)
        )

    async def _using(self, download: Download, work: Awaitable[None]) -> None:
        """`work` on what was downloaded, which is kept until the snapshot is in force."""
        try:
            await work
        except BadFeedError:
            # A damaged file is damaged tomorrow too.
            download.forget()
            raise
        self._spent.append(download)

    # --- single records -------------------------------------------------------------------

    async def _by_listing(self, writer: SnapshotWriter, place: Progress) -> bool:
        """Whether the feed is up to date now without its archive.

        False when too much changed, or the server has no list: then the archive decides.
        """
        held = writer.stamps(place.ecosystem)
        if not held:
            return False
        download = self._download(place.ecosystem, "modified_id.csv")
        try:
            found = await download.fetch(writer.listing(place.ecosystem), lambda *_: None)
            if found is None:
                return True
            listed = await asyncio.to_thread(lambda: read_listing(text_lines(found.path)))
            download.forget()
            due = changes(held, listed)
            if not due.few(len(held)):
                return False
            raws = await self._singles(place, due)
        except (IntelError, EgressError):
            # A list or a record that cannot be had is no reason to stay behind.
            download.forget()
            return False
        self._progress(replace(place, step="reading", done=0))
        await asyncio.to_thread(
            writer.change_feed,
            place.ecosystem,
            raws,
            removed=due.removed,
            stamps=due.changed,
            listing=found.validators,
            now=self._stamp(),
        )
        return True

    async def _singles(self, place: Progress, due: Changes) -> list[tuple[str, bytes]]:
        """The changed records, a few at a time."""
        slots = asyncio.Semaphore(_AT_A_TIME)
        done = 0

        async def one(id: str) -> tuple[str, bytes]:
            nonlocal done
            url = url_of(self._url, place.ecosystem, f"{id}.json")
            async with slots:
                answer = await self._client.request(
                    "GET", url, purpose="intel", timeout=60.0, limit=MAX_RECORD
                )
            if answer.status != 200:
                raise FeedStatusError(f"{url} answered {answer.status}")
            done += 1
            self._progress(replace(place, step="downloading", done=done, total=len(due.changed)))
            return f"{id}.json", answer.body

        tasks = [asyncio.ensure_future(one(id)) for id in due.changed]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- beside advisories ----------------------------------------------------------------

    async def _scores(self, writer: SnapshotWriter, place: Progress) -> None:
        def load(archive: Archive) -> None:
            scores = Scores(text_lines(archive.path))
            writer.replace_scores(scores, validators=archive.validators, now=self._stamp())

        await self._file(writer, place, "", self._sources.epss, load)

    async def _catalogue(self, writer: SnapshotWriter, place: Progress) -> None:
        def load(archive: Archive) -> None:
            found = read_catalogue(whole(archive.path))
            writer.replace_catalogue(found, validators=archive.validators, now=self._stamp())

        await self._file(writer, place, "", self._sources.kev, load)

    async def _cves(self, writer: SnapshotWriter, place: Progress) -> None:
        now = self._now().astimezone(UTC)
        parts = self._sources.cve_parts(now.year)
        for name in set(writer.parts("CVE")) - {part.name for part in parts}:
            writer.forget_source("CVE", name)
        for part in parts:
            held = writer.source("CVE", part.name).updated_at
            if part.yearly and held and _days_since(held, now) < FRESH_DAYS:
                continue
            await self._cve_part(writer, place, part)

    async def _cve_part(self, writer: SnapshotWriter, place: Progress, part: CvePart) -> None:
        def load(archive: Archive) -> None:
            writer.replace_cves(
                part.name,
                cve_records(archive.path),
                validators=archive.validators,
                now=self._stamp(),
            )

        try:
            await self._file(writer, place, part.name, part.url, load)
        except FeedNotFoundError:
            if not part.optional:
                raise

    async def _file(
        self,
        writer: SnapshotWriter,
        place: Progress,
        part: str,
        url: str,
        load: Callable[[Archive], None],
    ) -> None:
        self._progress(place)
        kind = place.ecosystem
        label = f"{kind} {part}".strip()
        download = Download(self._client, url, label, self._folder / "download")
        held = writer.source(kind, part)
        archive = await download.fetch(
            held.validators if held else Validators(), self._shown(place)
        )
        if archive is None:
            return
        self._progress(replace(place, step="reading"))
        await self._using(download, _finished(asyncio.to_thread(load, archive), threading.Event()))

    # --- archives -------------------------------------------------------------------------

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

    def _result(self, before: tuple[str, str], writer: SnapshotWriter) -> UpdateResult:
        store = AdvisoryStore(snapshot_path(self._data))
        try:
            return UpdateResult(
                revision=store.revision,
                changed=(store.revision, store.exploitation) != before,
                ecosystems=tuple(store.ecosystems()),
                sources=tuple(store.sources()),
                skipped=tuple(store.skipped()),
                failures=tuple(self._failures),
                changed_names=writer.changed_names if store.revision != before[0] else frozenset(),
            )
        finally:
            store.close()

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _days_since(stamp: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(stamp)).total_seconds() / 86400


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
