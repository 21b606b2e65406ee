"""A WebSocket over our own dialling: binary messages, pings answered."""

from __future__ import annotations


class WebSocketConnection:
    """An open WebSocket."""

    @property
    def route(self) -> str:
        """How it left: `direct` or the proxy's HOST:PORT."""
        raise NotImplementedError

    async def send(self, message: bytes) -> None:
        raise NotImplementedError

    async def receive(self) -> bytes | None:
        """The next message; None once closed."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
