"""A WebSocket over our own dialling: binary messages, pings answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp

from garrison.egress.endpoint import Target
from garrison.egress.errors import ClosedError

MAX_MESSAGE = (64 << 20) + (64 << 10)
"""Bytes of one message at most: the fleet's largest, and its frame."""


_TOLD_EVERY = 256 << 10
"""Bytes after which an open connection is reported; the rest when it closes."""


class Moved(Protocol):
    """Told how many bytes went each way since it was told last."""

    def __call__(self, *, sent: int = 0, received: int = 0) -> None: ...


class WebSocketConnection:
    """An open WebSocket.

    route: how it left: `direct` or the proxy's HOST:PORT. close_code: why it ended, once it did;
    1006 when the connection just broke.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        route: str,
        target: Target,
        released: Callable[[], Awaitable[None]],
        moved: Moved | None = None,
    ) -> None:
        self._moved, self._sent, self._received = moved, 0, 0
        self._socket, self._target = socket, target
        self._released: Callable[[], Awaitable[None]] | None = released
        self.route = route

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code

    async def send(self, message: bytes) -> None:
        """Send one binary message. Raises EgressError: the connection is gone."""
        try:
            await self._socket.send_bytes(message)
            self._sent += len(message)
            self._tell(_TOLD_EVERY)
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise ClosedError(self._target.endpoint) from None

    async def receive(self) -> bytes | None:
        """The next binary message; None once closed, for whatever reason. Text is skipped."""
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                self._received += len(message.data)
                self._tell(_TOLD_EVERY)
                return bytes(message.data)
            if message.type is not aiohttp.WSMsgType.TEXT:
                await self.close()
                return None

    async def close(self) -> None:
        """Say goodbye and drop the connection; may be called again."""
        released, self._released = self._released, None
        self._tell(1)
        try:
            await self._socket.close()
        finally:
            if released is not None:
                await released()

    def _tell(self, least: int) -> None:
        if self._moved is not None and self._sent + self._received >= least:
            self._moved(sent=self._sent, received=self._received)
            self._sent = self._received = 0
