"""A destination for tests: HTTPS or HTTP, and WebSocket, on loopback under a name of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler


@dataclass(slots=True)
class Destination:
    """host: the name its certificate has, which only proxies can resolve. seen: the requests."""

    host: str
    port: int
    scheme: str
    seen: list[dict[str, object]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    @property
    def ws(self) -> str:
        return f"{'wss' if self.scheme == 'https' else 'ws'}://{self.address}/ws"

    @property
    def headers_seen(self) -> str:
        """Every header of every request, as text, to look for what must not be there."""
        return json.dumps(self.seen)


@contextlib.contextmanager
def serve(
    host: str, context: ssl.SSLContext | None, *, address: str = "127.0.0.1"
) -> Iterator[Destination]:
    """Run a destination in a thread of its own."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    found: list[Destination] = []
    stop = asyncio.Event()

    async def main() -> None:
        destination = Destination(host, 0, "https" if context else "http")
        runner = web.AppRunner(
            _application(destination), handle_signals=False, shutdown_timeout=0.1
        )
        await runner.setup()
        site = web.TCPSite(runner, address, 0, ssl_context=context)
        await site.start()
        destination.port = runner.addresses[0][1]
        found.append(destination)
        started.set()
        await stop.wait()
        await runner.cleanup()
        # A handshake that a client gave up leaves a transport that nobody closes.
        for transport in list(loop._transports.values()):  # type: ignore[attr-defined]
            transport.abort()
        await asyncio.sleep(0.02)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def _application(destination: Destination) -> web.Application:
    app = web.Application()

    @web.middleware
    async def remember(request: web.Request, handler: Handler) -> web.StreamResponse:
        destination.seen.append(
            {"method": request.method, "path": request.path_qs, "headers": dict(request.headers)}
        )
        return await handler(request)

    app.middlewares.append(remember)
    app.router.add_route("*", "/", _hello)
    app.router.add_get("/bytes/{n}", _bytes)
    app.router.add_get("/chunked/{n}", _chunked)
    app.router.add_get("/cut/{n}", _cut)
    app.router.add_get("/stall", _stall)
    app.router.add_get("/status/{code}", _status)
    app.router.add_get("/to", _redirect)
    app.router.add_route("*", "/echo", _echo)
    app.router.add_get("/ws", _websocket)
    return app


async def _hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def _echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "path": request.path_qs,
            "headers": dict(request.headers),
            "body": (await request.read()).decode(),
        }
    )


def pattern(n: int) -> bytes:
    """`n` bytes that differ at every place a mistake would repeat."""
    block = b"".join(i.to_bytes(4, "big") for i in range(16384))
    return (block * (n // len(block) + 1))[:n]


async def _bytes(request: web.Request) -> web.Response:
    return web.Response(body=pattern(int(request.match_info["n"])))


async def _chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    data = pattern(int(request.match_info["n"]))
    for start in range(0, len(data), 10_007):
        await response.write(data[start : start + 10_007])
    await response.write_eof()
    return response


async def _cut(request: web.Request) -> web.StreamResponse:
    """Announces twice what it sends."""
    n = int(request.match_info["n"])
    response = web.StreamResponse(headers={"Content-Length": str(2 * n)})
    await response.prepare(request)
    await response.write(pattern(n))
    assert request.transport is not None
    request.transport.close()
    return response


async def _stall(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"half")
    await asyncio.sleep(30)
    return response


async def _status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]), text="status")


async def _redirect(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.query["url"]})


async def _websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket
