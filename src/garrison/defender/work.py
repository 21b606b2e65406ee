"""Scans in work: one thread each, begun from a queue, ended in the journal."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import structlog

from garrison.defender.journal import Journal, Result
from garrison.defender.queue import ScanQueue
from garrison.defender.state import as_failure
from garrison.errors import GarrisonError
from garrison.fleet import wire
from garrison.fleet.messages import (
    MAX_MESSAGE,
    Failure,
    ScanFailed,
    ScanProgress,
    ScanRequest,
    ScanResult,
)

if TYPE_CHECKING:
    from pathlib import Path

    from garrison.egress import ConnectionRecord, ProxySettings

PROGRESS_SECONDS = 1.0
MAX_RESULT = MAX_MESSAGE - (64 << 10)

Progress: TypeAlias = Callable[[int, int, str], None]
Scan: TypeAlias = (
    "Callable[[ScanRequest, ProxySettings, Progress, Callable[[ConnectionRecord], None]], bytes]"
)
"""Reads an image and gives `packages.wire`'s bytes; blocking, in a thread of its own."""

_log = structlog.get_logger(__name__)


class ScanStoppedError(GarrisonError):
    """The Defender ends; the Console hands the scan out again."""

    code = "scan.stopped"


class SourceNotAllowedError(GarrisonError):
    """A reference to a file of this node: the Console names images, not files."""

    code = "scan.source_not_allowed"

    def __init__(self) -> None:
        super().__init__("a Defender scans images of registries, not files of its node")


class ResultTooLargeError(GarrisonError):
    """More than fits in one message: hundreds of thousands of packages."""

    code = "scan.result_too_large"

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the list of packages has {size} bytes, at most {wire.MAX_INVENTORY} are sent"
        )


_FILES = ("oci:", "docker-archive:", "rootfs:", "dir:")


def read_image(
    request: ScanRequest,
    settings: ProxySettings,
    progress: Progress,
    observer: Callable[[ConnectionRecord], None],
    cache: Path | None = None,
) -> bytes:
    """The inventory of an image in a registry, as bytes. cache: folder of what was read before."""
    # Readers of layers and package databases are not loaded before the first scan.
    from garrison.findings import scan
    from garrison.findings.cache import ScanCache
    from garrison.images import open_image
    from garrison.packages import wire as inventory_wire

    if request.reference.startswith(_FILES):
        raise SourceNotAllowedError
    source = open_image(
        request.reference,
        settings,
        platform=request.platform,
        access=request.access,
        observer=observer,
    )
    known = None if cache is None else ScanCache(cache)
    return inventory_wire.encode(scan.read_image(source, progress=progress, cache=known))


class Workers:
    """Runs scans of a queue, at most as many at once as it allows.

    settings: asked when a scan begins. done, moved: called in the event loop when a result is in
    the journal, and at most once a second while a scan goes on.
    """

    def __init__(
        self,
        queue: ScanQueue,
        journal: Journal,
        *,
        scan: Scan,
        settings: Callable[[], ProxySettings],
        observer: Callable[[ConnectionRecord], None],
        done: Callable[[str], None],
        moved: Callable[[ScanProgress], None],
    ) -> None:
        self._queue, self._journal, self._scan = queue, journal, scan
        self._settings, self._observer = settings, observer
        self._done, self._moved = done, moved
        self._stopping = threading.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.finished = self.failed = 0

    def start(self) -> None:
        """Begin as many scans as there is room for. Call it in the event loop."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set() and (request := self._queue.start()) is not None:
            self._idle.clear()
            # A daemon thread: one that hangs in a read must not keep the process from ending.
            threading.Thread(
                target=self._run, args=(request, loop), name=f"scan-{request.id}", daemon=True
            ).start()

    async def stop(self, grace: float) -> None:
        """Begin nothing more; scans in work end at their next progress or after `grace` s."""
        self._stopping.set()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("scans left unfinished", scans=self._queue.running)

    def _run(self, request: ScanRequest, loop: asyncio.AbstractEventLoop) -> None:
        _log.info("scan begins", scan=request.id, image=request.reference)
        began = time.monotonic()
        result = self._result(request, loop)
        if result is not None:
            try:
                self._journal.add(result)
            except Exception:
                _log.exception("result lost", scan=request.id)
        seconds = round(time.monotonic() - began, 2)
        _log.info("scan ended", scan=request.id, seconds=seconds, **_outcome(result))
        try:
            loop.call_soon_threadsafe(self._ended, request.id, result)
        except RuntimeError:
            # The loop has ended before us; the journal has the result.
            return

    def _result(self, request: ScanRequest, loop: asyncio.AbstractEventLoop) -> Result | None:
        progress = _Throttle(request.id, loop, self._moved, self._stopping)
        try:
            inventory = self._scan(request, self._settings(), progress, self._observer)
            packed = wire.pack(inventory)
            if len(inventory) > wire.MAX_INVENTORY or len(packed) > MAX_RESULT:
                raise ResultTooLargeError(len(inventory))
            return ScanResult(id=request.id, inventory=packed)
        except ScanStoppedError:
            return None
        except GarrisonError as error:
            return ScanFailed(id=request.id, error=as_failure(error, evidence=True))
        except MemoryError:
            return ScanFailed(
                id=request.id,
                error=Failure(
                    code="scan.out_of_memory",
                    message="the node has not enough memory for this image",
                    hint="Give the Defender more memory, or scan the image elsewhere.",
                    who="you",
                ),
            )
        except Exception as error:
            _log.exception("scan failed unexpectedly", scan=request.id)
            return ScanFailed(id=request.id, error=as_failure(error))

    def _ended(self, scan_id: str, result: Result | None) -> None:
        self._queue.finished(scan_id)
        self.finished += isinstance(result, ScanResult)
        self.failed += isinstance(result, ScanFailed)
        if result is not None:
            self._done(scan_id)
        self.start()
        if not self._queue.running:
            self._idle.set()


class _Throttle:
    """A progress callback: passes one report a second to the loop, and ends a stopped scan."""

    def __init__(
        self,
        scan_id: str,
        loop: asyncio.AbstractEventLoop,
        moved: Callable[[ScanProgress], None],
        stopping: threading.Event,
    ) -> None:
        self._scan_id, self._loop, self._moved = scan_id, loop, moved
        self._stopping = stopping
        self._last = float("-inf")

    def __call__(self, done: int, total: int, step: str) -> None:
        if self._stopping.is_set():
            raise ScanStoppedError("the Defender is ending")
        now = time.monotonic()
        if now - self._last < PROGRESS_SECONDS:
            return
        self._last = now
        report = ScanProgress(id=self._scan_id, done=done, total=total, step=step)
        try:
            self._loop.call_soon_threadsafe(self._moved, report)
        except RuntimeError:
            raise ScanStoppedError("the Defender has ended") from None


def _outcome(result: Result | None) -> dict[str, str]:
    if result is None:
        return {"outcome": "stopped"}
    if isinstance(result, ScanFailed):
        return {"outcome": "failed", "code": result.error.code, "reason": result.error.message}
    return {"outcome": "done"}
