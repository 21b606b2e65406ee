"""What a recorded WebSocket connection says, once its frames are taken apart.

Clients mask each frame, and both sides may compress, so the raw bytes alone prove nothing.
"""

import zlib
from collections.abc import Iterator

_HEAD_END = b"\r\n\r\n"
_COMPRESSED, _MASKED = 0x40, 0x80
_DEFLATE_TAIL = b"\x00\x00\xff\xff"


def payloads(stream: bytes) -> list[bytes]:
    """The payloads of all whole frames that follow an HTTP head, unmasked and inflated.

    Empty when what follows is no WebSocket. Source: RFC 6455 section 5.2; RFC 7692 section 7.2.2.
    """
    head, found, rest = stream.partition(_HEAD_END)
    if not found or b"websocket" not in head.lower():
        return []
    return list(_frames(rest))


def _frames(data: bytes) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    compressed = False
    at = 0
    while at + 2 <= len(data):
        flags, second = data[at], data[at + 1]
        at += 2
        length = second & 0x7F
        if length >= 126:
            width = 2 if length == 126 else 8
            length = int.from_bytes(data[at : at + width], "big")
            at += width
        mask = b""
        if second & _MASKED:
            mask, at = data[at : at + 4], at + 4
        payload, at = data[at : at + length], at + length
        if len(payload) < length:
            return
        if mask:
            payload = _unmasked(payload, mask)
        opcode, final = flags & 0x0F, bool(flags & 0x80)
        if opcode in (1, 2):
            compressed = bool(flags & _COMPRESSED)
        if compressed and opcode in (0, 1, 2):
            payload = inflate.decompress(payload + (_DEFLATE_TAIL if final else b""))
        yield payload


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    key = mask * (len(payload) // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key[: len(payload)], "big")
    return number.to_bytes(len(payload), "big")
