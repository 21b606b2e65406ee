"""One connection of the gateway, and how many may begin at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from garrison.errors import GarrisonError
from garrison.fleet.channel import ServerChannel, ServerIdentity
from garrison.fleet.errors import ChannelClosedError, ProtocolError, SessionLostError
from garrison.fleet.messages import FromConsole, FromDefender
from garrison.fleet.session import ConsoleSession

FRAME = 128 << 10
MAX_FRAME = 256 << 10
"""Bytes of one WebSocket message at most, sent and accepted."""

SEND_SECONDS = 20.0
"""A peer that takes nothing for so long is gone."""


class AcceptLimiter:
    """Spaces new connections evenly, so that a returning fleet leaves time for everything else."""

    def __init__(self, per_second: float, *, burst: int = 50, patience: float = 5.0) -> None:
        self._interval = 1 / per_second
        self._burst, self._patience = burst, patience
        self._turn = self._return = 0.0

    def reserve(self, now: float) -> tuple[float, bool]:
        """Seconds until this connection's turn, and whether it waits for it here.

        One that does not is sent away to come back after that time: those times are spaced too.
        """
        turn = max(self._turn, now - self._burst * self._interval)
        if turn - now <= self._patience:
            self._turn = turn + self._interval
            return max(turn - now, 0.0), True
        self._return = max(self._return, now + self._patience) + self._interval
        return self._return - now, False


class Link:
    """A Defender's connection: WebSocket messages in, protocol messages out, and back."""

    __slots__ = ("_connection", "_lock", "session")

    def __init__(
        self,
        connection: ServerConnection,
        identity: ServerIdentity,
        *,
        heartbeat: float,
        handshake: float,
    ) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self.session = ConsoleSession(
            ServerChannel(identity),
            heartbeat=heartbeat,
            handshake=handshake,
            now=time.monotonic(),
        )

    async def receive(self) -> list[FromDefender] | None:
        """The next messages (maybe none yet), or None after the peer's end.

        Raises:
            GarrisonError: the connection is over, and why.
        """
        try:
            async with asyncio.timeout(max(self.session.deadline - time.monotonic(), 0)):
                data = await self._connection.recv()
        except TimeoutError:
            self.session.check(float("inf"))
            raise
        except ConnectionClosed:
            return None
        if isinstance(data, str):
            raise ProtocolError("a text message, where only binary ones are sent")
        try:
            messages = self.session.receive(data, time.monotonic())
        finally:
            # Also after an error: the inner TLS has a last word that names it.
            await self.flush()
        return None if self.session.ended and not messages else messages

    async def send(self, message: FromConsole) -> None:
        """Send one message of an open session.

        Raises:
            GarrisonError: there is no session any more.
        """
        if self.session.stage != "open":
            raise ChannelClosedError("the session has ended")
        self.session.send(message)
        await self.flush()

    async def flush(self) -> None:
        """Send what the session has to say, in its order.

        Raises:
            GarrisonError: the peer is gone or takes nothing.
        """
        try:
            async with asyncio.timeout(SEND_SECONDS), self._lock:
                data = self.session.outgoing()
                for start in range(0, len(data), FRAME):
                    await self._connection.send(data[start : start + FRAME])
        except TimeoutError:
            raise SessionLostError(SEND_SECONDS) from None
        except ConnectionClosed:
            raise ChannelClosedError("the connection has ended") from None

    async def close(
        self, refusal: GarrisonError | None = None, *, retry_after: float | None = None
    ) -> None:
        """End the connection, saying why where it can be said. Never raises."""
        if refusal is not None:
            with contextlib.suppress(GarrisonError):
                self.session.refuse(refusal, retry_after)
        else:
            self.session.close()
        with contextlib.suppress(GarrisonError):
            await self.flush()
        await self._connection.close()
