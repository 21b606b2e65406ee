"""Inventories as they travel: base64 of zstd of `packages.wire`'s bytes, inside a message."""

from __future__ import annotations

import base64
import binascii

import zstandard

from garrison.fleet.errors import MessageTooLargeError, ProtocolError
from garrison.packages import wire as inventory_wire

MAX_INVENTORY = inventory_wire.MAX_BYTES
"""Bytes of one inventory at most, decompressed; a large image's has 10 MB."""

_LEVEL = 6
_MAX_WINDOW = 8 << 20
_READ = 1 << 20


def pack(inventory: bytes) -> str:
    """The text for `ScanResult.inventory`."""
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(inventory)
    return base64.b64encode(packed).decode()


def unpack(text: str, limit: int = MAX_INVENTORY) -> bytes:
    """What was packed.

    Raises:
        ProtocolError: it was not packed by `pack`.
        MessageTooLargeError: longer than `limit` bytes.
    """
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("an inventory is not base64") from error
    return decompress(packed, limit)


def decompress(packed: bytes, limit: int) -> bytes:
    """The content of a zstd frame, never holding much more than `limit` bytes.

    Raises:
        ProtocolError: it is no whole zstd frame.
        MessageTooLargeError: longer than `limit`, whatever the frame says of itself.
    """
    reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(
        packed, read_across_frames=False
    )
    parts: list[bytes] = []
    size = 0
    try:
        while part := reader.read(min(_READ, limit + 1 - size)):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise MessageTooLargeError(size, limit)
    except (zstandard.ZstdError, MemoryError) as error:
        raise ProtocolError("a compressed message cannot be read") from error
    return b"".join(parts)
