"""Reading all layers of an image at once: what every source of images is made with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from garrison.images import limits
from garrison.images.content import Again, LayerContent, Sieve, Wanted
from garrison.images.errors import DigestMismatchError
from garrison.images.reference import Digest
from garrison.images.stream import Guard, StopError, VerifiedBlob, read_layer

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all (0: unknown) and the step: `manifest` or `layers`.

From several threads, never from two at once. What it raises ends the reading and comes out of it.
"""


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer of an image. digest: verified, of the compressed blob; empty where there is none."""

    digest: str
    diff_id: str
    size: int
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class ImageContent:
    """All that was read of an image; `layers` and `contents` oldest first, of equal length.

    digest: of the manifest; where there is none, the image id; empty for a root file system.
    """

    reference: str
    digest: str
    platform: str
    layers: tuple[LayerInfo, ...]
    contents: tuple[LayerContent, ...]
    labels: dict[str, str] = field(default_factory=dict)


class LayerCache(Protocol):
    """Remembers what layers hold, by the verified digest of their blobs."""

    def get(self, digest: str) -> LayerContent | None: ...

    def put(self, digest: str, content: LayerContent) -> None: ...


class ImageSource(Protocol):
    """Somewhere an image can be read from."""

    @property
    def reference(self) -> str:
        """What names the image, as a report shows it."""
        ...

    def identify(self) -> str:
        """What `read` would read, by the verified digest of its manifest; blocking.

        Equal for equal images, empty where only reading tells. `read` goes on from there.

        Raises: as `read`.
        """
        ...

    def read(
        self,
        wanted: Wanted,
        *,
        threads: int = 2,
        progress: Progress | None = None,
        seconds: float = limits.MAX_SECONDS,
        cache: LayerCache | None = None,
    ) -> ImageContent:
        """Read the image once; blocking.

        seconds: for everything. cache: spares the layers that it knows.

        Raises:
            ImageError: it cannot be had or is not what its digests say.
            EgressError: the way to it failed.
        """
        ...


class OpenBlob(Protocol):
    """A blob that flows and is closed at the end."""

    def readinto(self, buffer: memoryview, /) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class LayerJob:
    """One layer to read. open: starts it from the beginning, again if need be.

    digest: of the blob. diff_id: of the tar in it. At least one is verified.
    size: bytes of the blob; None: not known beforehand.
    """

    open: Callable[[], OpenBlob]
    digest: Digest | None
    size: int | None
    diff_id: Digest | None = None

    @property
    def key(self) -> str:
        """Equal for equal layers."""
        return f"{self.digest or self.diff_id}"


class Meter:
    """Adds up the progress of several threads."""

    def __init__(self, progress: Progress | None, total: int, step: str = "layers") -> None:
        self._progress = progress
        self._total = total
        self._step = step
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Some more bytes are done."""
        if self._progress is not None:
            with self._lock:
                self._done += count
                self._progress(self._done, self._total, self._step)


def read_layers(
    jobs: Sequence[LayerJob],
    wanted: Wanted,
    *,
    threads: int,
    progress: Progress | None,
    guard: Guard,
    cache: LayerCache | None = None,
) -> tuple[LayerContent, ...]:
    """Read the layers, largest first, equal ones once; the first failure ends all.

    cache: asked for layers with a digest of their blob; a claimed diff_id is never believed.
    """
    unique = {job.key: job for job in jobs}
    contents: dict[str, LayerContent] = {}
    for key, job in unique.items():
        if cache is not None and job.digest is not None and (known := cache.get(key)) is not None:
            contents[key] = known
    waiting = sorted(
        (job for key, job in unique.items() if key not in contents), key=lambda job: job.size or 0
    )
    meter = Meter(progress, sum(job.size or 0 for job in waiting))
    failures: list[BaseException] = []

    def work() -> None:
        while not failures:
            try:
                job = waiting.pop()
            except IndexError:
                return
            try:
                content = contents[job.key] = _read_one(job, wanted, meter, guard)
                if cache is not None and job.digest is not None:
                    cache.put(job.key, content)
            except BaseException as error:
                failures.append(error)
                guard.stop()

    _run(work, min(threads, len(waiting)), guard)
    if failures:
        raise next((e for e in failures if not isinstance(e, StopError)), failures[0])
    return tuple(contents[job.key] for job in jobs)


def _run(work: Callable[[], None], threads: int, guard: Guard) -> None:
    if threads <= 1:
        work()
        return
    workers = [
        threading.Thread(target=work, name=f"layer-{number}", daemon=True)
        for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except BaseException:
        guard.stop()
        raise


def _read_one(job: LayerJob, wanted: Wanted, meter: Meter, guard: Guard) -> LayerContent:
    content = _pass(job, wanted, guard, meter.add)
    again = {path: facts for path, facts in content.files.items() if isinstance(facts, Again)}
    if content.hard_links or again:
        _read_again(job, content, again, wanted, guard)
    return content


def _pass(
    job: LayerJob, wanted: Wanted, guard: Guard, progress: Callable[[int], None] | None
) -> LayerContent:
    source = job.open()
    try:
        blob = VerifiedBlob(source, job.digest, job.size, progress)
        if job.diff_id is None:
            return read_layer(blob, wanted, guard)
        diff_hash = job.diff_id.hasher()
        content = read_layer(blob, wanted, guard, diff_hash)
    finally:
        source.close()
    check_diff_id(job.diff_id, diff_hash.hexdigest())
    return content


def check_diff_id(diff_id: Digest, found: str) -> None:
    """Raises DigestMismatchError: the tar is not the one the image's config names."""
    if found != diff_id.hex:
        raise DigestMismatchError(
            f"layer {diff_id} has the digest {diff_id.algorithm}:{found}",
            "The archive is damaged, or was put together wrongly.",
        )


def _read_again(
    job: LayerJob,
    content: LayerContent,
    again: dict[str, Again],
    wanted: Wanted,
    guard: Guard,
) -> None:
    """Read the layer once more for what only the first pass made interesting.

    pnpm keeps `package.json` in a store under a hash and links it into place; where the store
    comes first in the tar, its file looks like nothing of interest. And some executables say
    only at their end where to look in them.
    """
    found = _pass(job, _Second(content.hard_links, again, wanted), guard, None).files
    for path, target in list(content.hard_links.items()):
        if target in found:
            content.files[path] = found[target]
            del content.hard_links[path]
    for path in again:
        content.files[path] = found.get(path)


class _Second:
    """Wants the files that hard links name, read as what the links call them, and those to be
    seen again."""

    suffixes = (b"",)
    infix = b"/"
    magics: frozenset[bytes] = frozenset()
    smallest = 0

    def __init__(self, links: dict[str, str], again: dict[str, Again], wanted: Wanted) -> None:
        self._name_of = {target: path for path, target in links.items()}
        self._again = again
        self._wanted = wanted

    def accepts(self, path: str) -> bool:
        return path in self._name_of or path in self._again

    def read(self, path: str, data: bytes) -> object | None:
        return self._wanted.read(self._name_of.get(path, path), data)

    def sieve(self, path: str, size: int) -> Sieve | None:
        if path in self._again:
            return self._again[path].sieve()
        return self._wanted.sieve(self._name_of[path], size)
