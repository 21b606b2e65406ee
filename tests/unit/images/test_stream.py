"""Blobs on their way: digests, decompression, bombs and deadlines."""

from __future__ import annotations

import builtins
import gzip
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zstandard

from garrison.images import (
    BadLayerError,
    Digest,
    DigestMismatchError,
    ScanTimeoutError,
    TooLargeError,
    limits,
)
from garrison.images.stream import Guard, StopError, VerifiedBlob, gzip_reader, read_layer
from tests.unit.images.samples import Text, tar_of

TAR = tar_of([("a/keep", b"hello"), ("b/other", bytes(300_000)), ("c/keep", b"bye")])
FILES = {"a/keep": "hello", "c/keep": "bye"}
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


class Source:
    """`data` in small pieces."""

    def __init__(self, data: bytes, chunk: int = 10_000) -> None:
        self._file, self._chunk = io.BytesIO(data), chunk

    def readinto(self, buffer: memoryview) -> int:
        return self._file.readinto(memoryview(buffer)[: self._chunk])


def blob(data: bytes, **changes: Any) -> VerifiedBlob:
    given: dict[str, Any] = {"digest": Digest.of(data), "size": len(data), **changes}
    return VerifiedBlob(Source(data), **given)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "two gzip members": lambda d: gzip.compress(d[:1000]) + gzip.compress(d[1000:]),
    "zstd": zstd,
    "two zstd frames": lambda d: zstd(d[:1000]) + SKIPPABLE + zstd(d[1000:]),
    "zstd after a skippable frame": lambda d: SKIPPABLE + zstd(d),
}


@pytest.fixture(params=["isal", "zlib-ng", "zlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each gunzip in turn, the faster ones made missing."""
    hidden = {"isal": (), "zlib-ng": ("isal",), "zlib": ("isal", "zlib_ng")}[request.param]
    real = builtins.__import__

    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in hidden:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in list(sys.modules):
        if name.partition(".")[0] in hidden:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", fake)
    gzip_reader.cache_clear()
    yield request.param
    gzip_reader.cache_clear()


@pytest.mark.parametrize("packed", PACKED)
def test_layers_of_every_kind(packed: str, engine: str) -> None:
    data = PACKED[packed](TAR)
    seen: list[int] = []
    content = read_layer(blob(data, progress=seen.append), Text(), Guard())
    assert gzip_reader()[0] == engine
    assert content.files == FILES
    assert sum(seen) == len(data)


@pytest.mark.parametrize("packed", PACKED)
def test_one_wrong_bit_is_a_wrong_digest(packed: str, engine: str) -> None:
    """Whatever the decompressor thinks of it: what is wrong is the blob."""
    data = bytearray(PACKED[packed](TAR))
    good = Digest.of(bytes(data))
    data[len(data) // 2] ^= 4
    with pytest.raises(DigestMismatchError):
        read_layer(blob(bytes(data), digest=good), Text(), Guard())


@pytest.mark.parametrize("packed", PACKED)
def test_a_short_blob(packed: str, engine: str) -> None:
    data = PACKED[packed](TAR)
    with pytest.raises(DigestMismatchError, match="ended after"):
        read_layer(blob(data[:-7], digest=Digest.of(data), size=len(data)), Text(), Guard())


def test_a_blob_larger_than_announced() -> None:
    data = gzip.compress(TAR)
    with pytest.raises(DigestMismatchError, match="larger"):
        read_layer(blob(data, size=len(data) - 1), Text(), Guard())


def test_bytes_after_the_tar_are_verified_too() -> None:
    data = TAR + bytes(100_000)
    assert read_layer(blob(data), Text(), Guard()).files == FILES
    with pytest.raises(DigestMismatchError):
        read_layer(blob(data + b"x", digest=Digest.of(data), size=None), Text(), Guard())


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(TAR)[:-20],
        gzip.compress(TAR)[:1000] + b"\xff" * 100,
        gzip.compress(b"no tar at all" * 100),
        zstd(TAR)[:20],
        zstd(TAR)[:10] + b"\xff" * 50,
        b"neither",
        b"\x1f\x8b",
    ],
    ids=itertools.count(),  # gzip writes the time
)
def test_a_right_blob_with_a_broken_layer(data: bytes, engine: str) -> None:
    with pytest.raises(BadLayerError):
        read_layer(blob(data), Text(), Guard())


def test_an_empty_blob_is_an_empty_layer() -> None:
    assert read_layer(blob(b""), Text(), Guard()).files == {}


def test_a_zstd_frame_that_wants_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ZSTD_WINDOW", 1 << 20)
    parameters = zstandard.ZstdCompressionParameters(window_log=23)
    data = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(9 << 20))
    with pytest.raises(BadLayerError):
        read_layer(blob(data), Text(), Guard())


def test_a_bomb_ends_by_its_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RATIO_AFTER", 1 << 20)
    data = gzip.compress(tar_of([("zeros", bytes(50 << 20))]))
    with pytest.raises(TooLargeError, match="unpacks to"):
        read_layer(blob(data), Text(), Guard())


def test_a_layer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_LAYER_BYTES", 1 << 20)
    with pytest.raises(TooLargeError):
        read_layer(blob(tar_of([("zeros", bytes(3 << 20))])), Text(), Guard())


def test_time_runs_out() -> None:
    times = iter([0.0, 1.0, 11.0, 12.0])
    with pytest.raises(ScanTimeoutError, match="10 seconds"):
        read_layer(blob(TAR), Text(), Guard(10.0, lambda: next(times)))


def test_a_stopped_guard_stops() -> None:
    guard = Guard()
    guard.stop()
    with pytest.raises(StopError):
        read_layer(blob(TAR), Text(), guard)


def test_the_tar_itself_can_be_hashed() -> None:
    hasher = Digest.of(b"").hasher()
    read_layer(blob(gzip.compress(TAR)), Text(), Guard(), hasher)
    assert hasher.hexdigest() == Digest.of(TAR).hex


def test_sha512_blobs() -> None:
    data = gzip.compress(TAR)
    good = Digest.of(data, "sha512")
    assert read_layer(blob(data, digest=good), Text(), Guard()).files == FILES
    with pytest.raises(DigestMismatchError):
        read_layer(blob(data, digest=Digest.of(b"", "sha512")), Text(), Guard())


def test_errors_of_the_source_come_through() -> None:
    class Failing:
        def readinto(self, buffer: memoryview) -> int:
            raise ConnectionError("cut")

    with pytest.raises(ConnectionError):
        read_layer(VerifiedBlob(Failing(), None, None), Text(), Guard())
