"""SOCKS5 over bytes, no sockets: the greeting, user and password, and the request for a tunnel.

Source: RFC 1928, RFC 1929. The name or address is sent as it is given: whoever calls decides
whether the proxy resolves.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias

from garrison.egress.credentials import Credentials
from garrison.egress.endpoint import Endpoint

LONGEST = 255
"""Bytes of a user name or password (RFC 1929 section 2)."""

GREETING = b"\x05\x01\x00"
"""Of a client that offers no password: to find out who speaks SOCKS5."""

_NONE, _PASSWORD, _UNACCEPTABLE = 0x00, 0x02, 0xFF
_CONNECT = 0x01
_ADDRESS_BYTES = {0x01: 4, 0x04: 16}
_NAME = 0x03

REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}
"""The reply codes of RFC 1928 section 6, in words."""


class SocksFault(Exception):
    """The handshake ended without a tunnel."""


class NotSocks(SocksFault):
    """Something else speaks. first: its first bytes."""

    def __init__(self, first: bytes) -> None:
        super().__init__(f"{len(first)} bytes")
        self.first = first


class NoMethod(SocksFault):
    """None of the offered ways to sign in is accepted."""


class BadPassword(SocksFault):
    """User and password were refused."""


class SocksRefusal(SocksFault):
    """The tunnel was refused. reply: the code of RFC 1928 section 6, or another number."""

    def __init__(self, reply: int) -> None:
        super().__init__(REPLIES.get(reply, f"reply {reply}"))
        self.reply = reply


class SocksClosed(SocksFault):
    """The stream ended in the middle. received: bytes until then."""

    def __init__(self, received: int) -> None:
        super().__init__(f"after {received} bytes")
        self.received = received


@dataclass(frozen=True, slots=True)
class Bound:
    """The tunnel is open. method: how we signed in."""

    signed_in: bool


_Dialogue: TypeAlias = Generator[int, bytes, Bound]
"""Yields how many bytes it needs next, and is sent exactly those."""


class SocksHandshake:
    """One handshake: send `outgoing()`, feed what arrives, until `bound` is there.

    `trailing` then holds bytes behind the reply.
    """

    def __init__(self, destination: Endpoint, credentials: Credentials | None) -> None:
        self.bound: Bound | None = None
        self.received = 0
        self.trailing = b""
        self._out = bytearray()
        self._buffer = bytearray()
        self._dialogue = _speak(destination, credentials, self._out.extend)
        self._wanted = next(self._dialogue)

    def outgoing(self) -> bytes:
        """Take what is to be sent now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def feed(self, data: bytes) -> None:
        """Take the next bytes; b"" is the end of the stream.

        Raises SocksFault.
        """
        if not data:
            raise SocksClosed(self.received)
        self.received += len(data)
        self._buffer += data
        while self.bound is None and len(self._buffer) >= self._wanted:
            piece = bytes(self._buffer[: self._wanted])
            if self.received == len(self._buffer) and piece[0] != 5:
                raise NotSocks(bytes(self._buffer[:200]))
            del self._buffer[: self._wanted]
            try:
                self._wanted = self._dialogue.send(piece)
            except StopIteration as end:
                self.bound = end.value
                self.trailing = bytes(self._buffer)


def _speak(
    destination: Endpoint, credentials: Credentials | None, send: Callable[[bytes], None]
) -> _Dialogue:
    methods = [_NONE] if credentials is None else [_NONE, _PASSWORD]
    send(bytes([5, len(methods), *methods]))
    _, method = yield 2
    if method not in methods:
        raise NoMethod
    if method == _PASSWORD:
        assert credentials is not None
        user, password = encoded(credentials)
        send(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        _, status = yield 2
        if status != 0:
            raise BadPassword
    send(bytes([5, _CONNECT, 0]) + _address(destination) + destination.port.to_bytes(2, "big"))
    _, reply, _, kind = yield 4
    if reply != 0:
        # What follows says nothing more, and many proxies leave it out.
        raise SocksRefusal(reply)
    length = (yield 1)[0] if kind == _NAME else _ADDRESS_BYTES.get(kind, 4)
    yield length + 2
    return Bound(method == _PASSWORD)


def encoded(credentials: Credentials) -> tuple[bytes, bytes]:
    """User and password as they are sent, in UTF-8.

    Raises ValueError: one of them does not fit.
    """
    user, password = credentials.user.encode(), credentials.password.reveal().encode()
    if not 0 < len(user) <= LONGEST or not 0 < len(password) <= LONGEST:
        raise ValueError("SOCKS carries 1 to 255 bytes of user and password each")
    return user, password


def _address(destination: Endpoint) -> bytes:
    ip = destination.ip
    if isinstance(ip, ipaddress.IPv4Address):
        return b"\x01" + ip.packed
    if isinstance(ip, ipaddress.IPv6Address):
        return b"\x04" + ip.packed
    name = destination.host.encode("ascii")
    return bytes([_NAME, len(name)]) + name
