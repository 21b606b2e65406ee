"""Blocking requests: bulk bodies for layers, small calls for everything around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from garrison.egress.answer import Fetched, Headers
from garrison.egress.endpoint import Purpose
from garrison.egress.settings import ProxySettings
from garrison.egress.trace import ConnectionRecord

Observer = Callable[[ConnectionRecord], None]


class Body:
    """An answer whose body is read by the caller."""

    status: int
    headers: Headers

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the start of `buffer`; returns how many bytes, 0 at the end."""
        raise NotImplementedError

    def read(self, n: int = -1, *, limit: int | None = None) -> bytes:
        """At most `n` bytes, or all with -1; raises TooLargeError beyond `limit`."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_body(
    url: str,
    settings: ProxySettings,
    *,
    purpose: Purpose,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    data: bytes | None = None,
    timeout: float = 30.0,
    observer: Observer | None = None,
    extra_ca: str = "",
) -> Body:
    """Send a request and return as soon as the head of its answer is there."""
    raise NotImplementedError


def fetch(
    url: str,
    settings: ProxySettings,
    *,
    purpose: Purpose,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    data: bytes | None = None,
    timeout: float = 30.0,
    observer: Observer | None = None,
    extra_ca: str = "",
    limit: int = 8 << 20,
    redirects: int = 0,
) -> Fetched:
    """Send a request and return its whole answer."""
    raise NotImplementedError
