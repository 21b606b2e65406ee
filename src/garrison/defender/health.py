"""Probes: `/healthz`, `/readyz`, `/metrics` over plain HTTP on a listener of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from garrison.errors import InvalidSettingError

MAX_REQUEST = 8 << 10
REQUEST_SECONDS = 5.0
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Probes:
    """ready: whether it is, and a text that says why not. metrics: name → value."""

    ready: Callable[[], tuple[bool, str]]
    metrics: Callable[[], Mapping[str, float]]


async def serve(host: str, port: int, probes: Probes) -> asyncio.Server:
    """Listen. Raises InvalidSettingError when the address cannot be used."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(answer(head, probes))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    try:
        return await asyncio.start_server(handle, host, port, limit=MAX_REQUEST)
    except OSError as error:
        raise InvalidSettingError(
            "health_listen",
            f"cannot listen on {host}:{port}: {error.strerror}",
            "Set GARRISON_HEALTH_LISTEN to a free address, or to nothing for no probes.",
        ) from error


def answer(head: bytes, probes: Probes) -> bytes:
    """The response to one request."""
    line = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    method, path = line[0], line[1].partition("?")[0] if len(line) > 1 else ""
    status, text = _page(path, probes) if method in {"GET", "HEAD"} else (405, "GET only\n")
    body = text.encode()
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + (b"" if method == "HEAD" else body)


def _page(path: str, probes: Probes) -> tuple[int, str]:
    if path == "/healthz":
        return 200, "ok\n"
    if path == "/readyz":
        ready, text = probes.ready()
        return (200 if ready else 503), text + "\n"
    if path == "/metrics":
        lines = [
            f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}\n{name} {value:g}\n"
            for name, value in probes.metrics().items()
        ]
        return 200, "".join(lines)
    return 404, "not found\n"
