"""The asynchronous client: HTTP by aiohttp over our own dialling."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from garrison.egress.answer import Fetched, Headers
from garrison.egress.endpoint import Purpose
from garrison.egress.settings import ProxySettings
from garrison.egress.trace import ConnectionRecord, TestResult
from garrison.egress.websocket import WebSocketConnection

Observer = Callable[[ConnectionRecord], None]


class Streamed:
    """An answer whose body arrives in chunks."""

    status: int
    headers: Headers

    def chunks(self, size: int = 256 << 10) -> AsyncIterator[bytes]:
        raise NotImplementedError


class EgressClient:
    """Everything a service asks of the outside; one per process, settings replaced in place."""

    def __init__(self, settings: ProxySettings, *, observer: Observer | None = None) -> None:
        raise NotImplementedError

    @property
    def settings(self) -> ProxySettings:
        raise NotImplementedError

    def use(self, settings: ProxySettings) -> None:
        """From now on every request goes by `settings`; those under way finish. Any thread."""
        raise NotImplementedError

    async def request(
        self,
        method: str,
        url: str,
        *,
        purpose: Purpose,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | None = None,
        timeout: float = 30.0,
        limit: int = 8 << 20,
        redirects: int = 0,
        extra_ca: str = "",
    ) -> Fetched:
        """Any status of the destination is returned. Raises EgressError: it was not reached."""
        raise NotImplementedError

    def stream(
        self,
        method: str,
        url: str,
        *,
        purpose: Purpose,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        extra_ca: str = "",
    ) -> AbstractAsyncContextManager[Streamed]:
        """timeout: seconds for the head, then for each wait."""
        raise NotImplementedError

    async def websocket(
        self,
        url: str,
        *,
        purpose: Purpose,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        extra_ca: str = "",
        pin: bytes | None = None,
    ) -> WebSocketConnection:
        raise NotImplementedError

    async def test(
        self, url: str, *, purpose: Purpose, timeout: float = 15.0, origin: str = "console"
    ) -> TestResult:
        """Connect, ask, and report each hop. Raises BadUrlError."""
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError
