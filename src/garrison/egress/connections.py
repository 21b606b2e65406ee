"""HTTP/1.1 over connections of our own: a pool, requests written by hand, answers read by aiohttp's
parser.

aiohttp's own session does more for each request than the request itself takes (100 us of 120, see
docs/decisions). Its parser, its streams and its WebSocket are used; `ResponseHandler` is what its
session itself reads answers with, and a contract test holds what is used of it.
"""

from __future__ import annotations

import asyncio
import json as _json
import re
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError

from garrison.egress.handshake import USER_AGENT

_READ_SIZE = 512 << 10
"""Bytes that wait for their reader before the connection is paused."""
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent once more when a kept connection turns out to be closed (RFC 9110
section 9.2.2)."""
_NO_BODY = "Content-Type: application/octet-stream\r\nContent-Length: 0\r\n"
_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n\0]*\r\n)*")

Opened: TypeAlias = tuple[ResponseHandler, str | None]
"""A new connection, and the `Proxy-Authorization` that its first request carries."""


class Response:
    """An answer; its body waits in `content`."""

    def __init__(
        self,
        protocol: ResponseHandler,
        message: RawResponseMessage,
        content: aiohttp.StreamReader,
        sent: int,
    ) -> None:
        self._protocol = protocol
        self.sent = sent
        """Bytes of the request's body."""
        self.status: int = message.code
        self.reason: str = message.reason
        self.headers = message.headers
        self.content = content

    def done(self) -> None:
        """What was read to its end goes back to the pool by itself, anything else is closed."""
        if not self.content.is_eof():
            self._protocol.close()


class Connections:
    """Kept connections, by what makes them interchangeable. One event loop."""

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._idle: dict[Hashable, list[tuple[ResponseHandler, float]]] = {}
        self._all: set[ResponseHandler] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def ask(
        self,
        key: Hashable,
        open_: Callable[[], Awaitable[Opened]],
        method: str,
        target: str,
        lines: str,
        body: bytes,
        *,
        read_timeout: float,
        decompress: bool,
        doubtful: bool = False,
    ) -> Response:
        """Send a request and wait for the head of its answer.

        doubtful: kept connections may be closed without a word, as by proxies that pass on an
        answer of HTTP/1.1 and hang up: a request that must not be repeated takes a new one.

        Raises aiohttp.ClientError, OSError, and what `open_` raises.
        """
        head = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()
        while True:
            protocol, extra = None, None
            if not doubtful or method in _REPEATABLE:
                protocol = self._take(key)
            kept = protocol is not None
            if protocol is None:
                protocol, extra = await open_()
                self._all.add(protocol)
            try:
                message, content = await self._exchange(
                    protocol, method, _with(head, extra) + body, read_timeout, decompress
                )
            except (aiohttp.ClientConnectionError, ConnectionError) as error:
                self._drop(protocol)
                # It was closed while nobody used it; a timeout is no such thing.
                again = kept and method in _REPEATABLE
                if not again or isinstance(error, aiohttp.ServerTimeoutError):
                    raise
            except BaseException:
                self._drop(protocol)
                raise
            else:
                content.on_eof(lambda: self._give_back(key, protocol))  # noqa: B023
                return Response(protocol, message, content, len(body))

    async def _exchange(
        self,
        protocol: ResponseHandler,
        method: str,
        data: bytes,
        read_timeout: float,
        decompress: bool,
    ) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        protocol.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=decompress,
            read_timeout=read_timeout,
            read_bufsize=_READ_SIZE,
        )
        if protocol.transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.transport.write(data)
        protocol.start_timeout()
        try:
            found = await protocol.read()
            while 100 <= found[0].code < 200:
                found = await protocol.read()
        except HttpProcessingError:
            raise aiohttp.ClientPayloadError("not HTTP") from None
        return found

    # The pool

    def _take(self, key: Hashable) -> ResponseHandler | None:
        waiting = self._idle.get(key)
        now = asyncio.get_running_loop().time()
        while waiting:
            protocol, since = waiting.pop()
            if now - since <= self._idle_seconds and protocol.is_connected():
                return protocol
            self._drop(protocol)
        return None

    def _give_back(self, key: Hashable, protocol: ResponseHandler) -> None:
        if protocol.should_close or not protocol.is_connected() or protocol not in self._all:
            self._drop(protocol)
            return
        loop = asyncio.get_running_loop()
        self._idle.setdefault(key, []).append((protocol, loop.time()))
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_seconds, self._close_old)

    def _close_old(self) -> None:
        """Close what nobody wanted for long, and look again while anything is left."""
        self._sweep = None
        loop = asyncio.get_running_loop()
        limit = loop.time() - self._idle_seconds
        for key, waiting in list(self._idle.items()):
            for protocol, since in waiting:
                if since <= limit or not protocol.is_connected():
                    self._drop(protocol)
            kept = [one for one in waiting if one[0] in self._all]
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
        if self._idle:
            self._sweep = loop.call_later(self._idle_seconds, self._close_old)

    def _drop(self, protocol: ResponseHandler) -> None:
        self._all.discard(protocol)
        protocol.close()

    def close(self) -> None:
        """Close every connection, also those in use."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        for protocol in list(self._all):
            protocol.abort()
        self._all.clear()


def fields_of(
    authority: str, headers: Mapping[str, str], *, json: Any, data: bytes | None
) -> tuple[str, bytes]:
    """The header lines and body of a request; the caller's fields win over the usual ones.

    Raises ValueError: a field would end before its line does.
    """
    if not headers and json is None and data is None:
        return _usual_lines(authority), b""
    fields = {
        "Host": authority,
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate",
    }
    body = data or b""
    if json is not None:
        body = _json.dumps(json).encode()
        fields["Content-Type"] = "application/json"
    elif data is not None:
        fields["Content-Type"] = "application/octet-stream"
    if json is not None or data is not None:
        fields["Content-Length"] = str(len(body))
    if headers:
        given = {name.lower() for name in headers}
        fields = {name: value for name, value in fields.items() if name.lower() not in given}
        fields.update(headers)
    return _lines(fields), body


@lru_cache(1000)
def _usual_lines(authority: str) -> str:
    return fields_of(authority, {}, json=None, data=b"")[0].replace(_NO_BODY, "")


def _lines(fields: Mapping[str, str]) -> str:
    text = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    if text.count("\n") != len(fields) or not _FIELDS.fullmatch(text):
        raise ValueError("a header field cannot be sent: a line break, or a bad name")
    return text


def _with(head: bytes, authorization: str | None) -> bytes:
    if authorization is None:
        return head
    return head[:-2] + f"Proxy-Authorization: {authorization}\r\n\r\n".encode()
