"""From a compressed blob to the tar in it: verified, decompressed and bounded while it flows."""

from __future__ import annotations

import gzip
import logging
import threading
import time
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, BinaryIO, Protocol, cast

from garrison.images import limits
from garrison.images.content import LayerContent, Wanted
from garrison.images.errors import (
    BadLayerError,
    DigestMismatchError,
    ImageError,
    ScanTimeoutError,
    TooLargeError,
)
from garrison.images.reference import Digest, Hasher
from garrison.images.tar import ReadInto, walk

_log = logging.getLogger("garrison.images")
_READ = 256 << 10
"""Compressed bytes read at once."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_END_MARK = b"garrison end mark"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"


class Readable(Protocol):
    """Bytes that flow; `readinto` gives 0 at the end."""

    def readinto(self, buffer: memoryview, /) -> int: ...


class StopError(Exception):
    """Another layer failed, so this one is not needed."""


class Guard:
    """Ends the reading of an image: on request, or after `seconds`."""

    def __init__(
        self, seconds: float = limits.MAX_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._deadline = clock() + seconds
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have every reader raise StopError soon."""
        self._stop.set()

    def check(self) -> None:
        """Raises StopError or ScanTimeoutError when it is time."""
        if self._stop.is_set():
            raise StopError
        if self._clock() > self._deadline:
            raise ScanTimeoutError(
                f"reading the image took longer than {self._seconds:g} seconds",
                "Allow more with --timeout.",
            )


class VerifiedBlob:
    """A blob whose size and digest are checked as it passes.

    progress: told the number of bytes of each piece.
    """

    def __init__(
        self,
        source: Readable,
        digest: Digest | None,
        size: int | None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.count = 0
        self._source = source
        self._digest = digest
        self._size = size
        self._hash = digest.hasher() if digest else None
        self._progress = progress
        self._ended = False

    def readinto(self, buffer: memoryview) -> int:
        """Raises DigestMismatchError: more bytes than announced, or at the end other ones."""
        count = self._source.readinto(buffer)
        if not count:
            if not self._ended:
                self._ended = True
                self._verify()
            return 0
        self.count += count
        if self._size is not None and self.count > self._size:
            raise DigestMismatchError(
                f"blob {self._digest} is larger than the {self._size} bytes of the manifest",
                _HINT,
            )
        if self._hash is not None:
            self._hash.update(memoryview(buffer)[:count])
        if self._progress is not None:
            self._progress(count)
        return count

    def read(self, size: int = -1) -> bytes:
        """For decompressors that want bytes objects."""
        buffer = bytearray(_READ if size < 0 else min(size, _READ))
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def finish(self) -> None:
        """Read the rest and verify."""
        rest = memoryview(bytearray(_READ))
        while self.readinto(rest):
            pass

    def _verify(self) -> None:
        if self._size is not None and self.count != self._size:
            raise DigestMismatchError(
                f"blob {self._digest} ended after {self.count} of {self._size} bytes", _HINT
            )
        if self._hash is not None and self._digest and self._hash.hexdigest() != self._digest.hex:
            raise DigestMismatchError(
                f"blob {self._digest} has the digest "
                f"{self._digest.algorithm}:{self._hash.hexdigest()}",
                _HINT,
            )


_HINT = "Something between the registry and here changed the bytes, or the registry is damaged."


class _Replay:
    """A source whose first bytes were looked at."""

    def __init__(self, head: bytes, source: VerifiedBlob) -> None:
        self._head = memoryview(head)
        self._source = source

    def readinto(self, buffer: memoryview) -> int:
        if not self._head:
            return self._source.readinto(buffer)
        count = min(len(self._head), len(buffer))
        memoryview(buffer)[:count] = self._head[:count]
        self._head = self._head[count:]
        return count

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._source.read(size)
        count = len(self._head) if size < 0 else size
        head, self._head = bytes(self._head[:count]), self._head[count:]
        return head


@cache
def gzip_reader() -> tuple[str, Callable[[Any, int], Any]]:
    """Name and constructor of the fastest gunzip there is: `(source, bytes at once)`.

    igzip takes 0.43 of zlib's time, zlib-ng 0.51.
    """
    try:
        from isal.isal_zlib import _GzipReader as isal_reader

        _log.debug("layers are decompressed by isal")
        return "isal", isal_reader
    except ImportError:
        pass
    try:
        from zlib_ng.zlib_ng import _GzipReader as zlib_ng_reader

        _log.info("layers are decompressed by zlib-ng; isal is not installed")
        return "zlib-ng", zlib_ng_reader
    except ImportError:
        _log.warning("layers are decompressed by zlib, at less than half the speed of isal")
        return "zlib", lambda source, size: gzip.GzipFile(fileobj=source, mode="rb")


def decompressed(blob: VerifiedBlob) -> ReadInto:
    """The tar in `blob`: by what the bytes are, since media types are often wrong."""
    head = b""
    while len(head) < 4 and (more := blob.read(_READ)):
        head += more
    source = _Replay(head, blob)
    if head[:2] == _GZIP:
        return gzip_reader()[1](source, _READ).readinto  # type: ignore[no-any-return]
    if head[:4] == _ZSTD or head[1:4] == _ZSTD_SKIPPABLE:
        return _unzstd(source)
    return source.readinto


class _Marked:
    """A zstd stream with one more frame at its end."""

    def __init__(self, source: _Replay, frame: bytes) -> None:
        self._source = source
        self._frame = frame

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        if not data:
            data, self._frame = self._frame, b""
        return data


def _unzstd(source: _Replay) -> ReadInto:
    """The content of the zstd frames in `source`.

    The library takes a stream that ends inside a frame for a whole one, and half a layer would
    look like a layer with fewer packages. So a frame of ours follows the last one: only where
    its content comes out, all frames before it were complete.
    """
    import zstandard

    frame = zstandard.ZstdCompressor().compress(_END_MARK)
    decompressor = zstandard.ZstdDecompressor(max_window_size=limits.MAX_ZSTD_WINDOW)
    inner = decompressor.stream_reader(
        cast(BinaryIO, _Marked(source, frame)),  # it only calls read()
        read_size=_READ,
        read_across_frames=True,
    )
    held = b""

    def readinto(buffer: memoryview) -> int:
        nonlocal held
        while True:
            buffer[: len(held)] = held
            count = inner.readinto(buffer[len(held) :])
            if not count:
                if held != _END_MARK:
                    raise BadLayerError("a layer cannot be decompressed: it ends too early")
                return 0
            count += len(held)
            ready = max(0, count - len(_END_MARK))
            held = bytes(buffer[ready:count])
            if ready:
                return ready

    return readinto


def bounded(readinto: ReadInto, blob: VerifiedBlob, guard: Guard) -> ReadInto:
    """`readinto` that raises when the layer grows beyond what `limits` allow, or `guard` says."""
    total = 0

    def read(buffer: memoryview) -> int:
        nonlocal total
        guard.check()
        count = readinto(buffer)
        total += count
        if total > limits.MAX_LAYER_BYTES:
            raise TooLargeError(f"a layer has more than {limits.MAX_LAYER_BYTES} bytes")
        if total > limits.RATIO_AFTER and total > limits.MAX_RATIO * max(blob.count, 1):
            raise TooLargeError(
                f"a layer unpacks to {total} bytes from {blob.count}",
                "That is what decompression bombs do.",
            )
        return count

    return read


def read_layer(
    blob: VerifiedBlob, wanted: Wanted, guard: Guard, diff_hash: Hasher | None = None
) -> LayerContent:
    """Walk the layer in `blob` to its end, so that its digest is verified.

    diff_hash: fed with the tar itself, for images whose layers have no digest but the tar's.
        That costs more than all else, so blobs of registries are not hashed twice.

    Raises:
        DigestMismatchError: the blob is not what it should be.
        BadLayerError: it is, and what is in it is no readable tar.
    """
    readinto = bounded(decoded(blob), blob, guard)
    if diff_hash is not None:
        readinto = _hashed(readinto, diff_hash)
    try:
        content = walk(readinto, wanted)
    except BadLayerError:
        # Wrong bytes explain a broken tar better than the tar does.
        blob.finish()
        raise
    blob.finish()
    return content


def _hashed(readinto: ReadInto, diff_hash: Hasher) -> ReadInto:
    def read(buffer: memoryview) -> int:
        count = readinto(buffer)
        diff_hash.update(buffer[:count])
        return count

    return read


def decoded(blob: VerifiedBlob) -> ReadInto:
    """`decompressed`, with the errors of all decompressors made one."""
    try:
        readinto = decompressed(blob)
    except ImportError as error:
        raise BadLayerError(f"a layer needs a decompressor that is missing: {error.name}") from None

    def read(buffer: memoryview) -> int:
        try:
            return readinto(buffer)
        except ImageError:
            raise
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadLayerError(f"a layer cannot be decompressed: {error}") from None
        except Exception as error:
            if type(error).__name__ in ("ZstdError", "IsalError", "error"):
                raise BadLayerError(f"a layer cannot be decompressed: {error}") from None
            raise

    return read
