"""Several layers at once: order, failures, progress, second looks."""

from __future__ import annotations

import gzip
import tarfile
import threading
from collections.abc import Callable

import pytest

from garrison.images import Digest, DigestMismatchError
from garrison.images.read import LayerJob, read_layers
from garrison.images.stream import Guard
from tests.unit.images.samples import Text, tar_of
from tests.unit.images.test_stream import Source


class Opened(Source):
    closed = 0

    def close(self) -> None:
        type(self).closed += 1


def job(data: bytes, opened: list[int] | None = None, size: int | None = None) -> LayerJob:
    def start() -> Opened:
        if opened is not None:
            opened.append(len(data))
        return Opened(data)

    return LayerJob(start, Digest.of(data), len(data) if size is None else size)


def layers(count: int) -> list[bytes]:
    return [gzip.compress(tar_of([(f"{n}/keep", b"x" * n)]), mtime=0) for n in range(1, count + 1)]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_contents_come_back_in_order(threads: int) -> None:
    found = read_layers(
        [job(data) for data in layers(6)], Text(), threads=threads, progress=None, guard=Guard()
    )
    assert [content.files for content in found] == [{f"{n}/keep": "x" * n} for n in range(1, 7)]


def test_equal_layers_are_read_once_and_large_ones_first() -> None:
    small, large = layers(1)[0], gzip.compress(tar_of([("keep", b"y" * 5000)]), 0)
    opened: list[int] = []
    jobs = [job(small, opened), job(large, opened), job(small, opened)]
    seen: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, step: str) -> None:
        seen.append((done, total, step))

    found = read_layers(jobs, Text(), threads=1, progress=progress, guard=Guard())
    assert opened == [len(large), len(small)]
    assert found[0] is found[2]
    total = len(small) + len(large)
    assert seen[-1] == (total, total, "layers")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_failure_ends_all_and_closes_everything(threads: int) -> None:
    bad = layers(1)[0]
    wrong = LayerJob(lambda: Opened(bad), Digest.of(b"another"), len(bad))
    Opened.closed = 0
    opened: list[int] = []
    jobs = [wrong] + [job(data, opened) for data in layers(5)]
    with pytest.raises(DigestMismatchError):
        read_layers(jobs, Text(), threads=threads, progress=None, guard=Guard())
    assert Opened.closed == len(opened) + 1


@pytest.mark.parametrize("threads", [1, 2])
def test_what_progress_raises_ends_the_reading(threads: int) -> None:
    class Enough(Exception):
        pass

    def progress(done: int, total: int, step: str) -> None:
        raise Enough

    with pytest.raises(Enough):
        read_layers(
            [job(data) for data in layers(4)],
            Text(),
            threads=threads,
            progress=progress,
            guard=Guard(),
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("layer-") and t.is_alive()]


def test_a_store_that_comes_before_its_links_is_read_again() -> None:
    """pnpm: `package.json` is a hard link to a file named by its hash."""
    data = gzip.compress(
        tar_of(
            [("store/0a", b'{"name":"x"}'), ("store/0b", b"other")],
            links=[("app/package.json", "store/0a", tarfile.LNKTYPE)],
        )
    )
    opened: list[int] = []
    wanted = Text()
    found = read_layers([job(data, opened)], wanted, threads=2, progress=None, guard=Guard())
    assert found[0].files == {"app/package.json": '{"name":"x"}'}
    assert not found[0].hard_links
    assert len(opened) == 2
    assert wanted.read_paths == ["app/package.json"]


def test_layers_without_a_blob_are_verified_by_their_diff_id() -> None:
    tar = tar_of([("keep", b"x")])

    def read(diff_id: Digest, data: bytes = tar) -> None:
        open_it: Callable[[], Opened] = lambda: Opened(data)  # noqa: E731
        read_layers(
            [LayerJob(open_it, None, None, diff_id)],
            Text(),
            threads=1,
            progress=None,
            guard=Guard(),
        )

    read(Digest.of(tar))
    read(Digest.of(tar), gzip.compress(tar))
    with pytest.raises(DigestMismatchError):
        read(Digest.of(b"other"))
