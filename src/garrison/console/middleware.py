"""What holds for every request: known host, bounded body, API token, security headers."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from garrison.console import accounts
from garrison.console.problems import Problem, TokenError, problem, problem_of
from garrison.console.security import CSP

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from garrison.console.metrics import Metrics
    from garrison.console.state import AppState

BODY_LIMIT = 2 << 20
"""Bytes of a request body: the largest are CA bundles."""
REPORT_LIMIT = 64 << 20
"""Bytes of a build's report: the packages of an image."""

_API = "/api/v1/"
_REPORTS = "/api/v1/reports"
_OPEN = frozenset({"/api/v1/openapi.json"})
_HEADERS = {
    "Content-Security-Policy": CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


async def send_problem(send: Send, problem: Problem) -> None:
    """Answer with `problem` as JSON."""
    body = json.dumps(problem.as_dict()).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((k.lower().encode(), v.encode()) for k, v in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class SecurityHeaders:
    """Adds the security headers, and `no-store` where nothing else was said."""

    def __init__(self, app: ASGIApp, *, secure: Callable[[], bool]) -> None:
        self._app, self._secure = app, secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if self._secure():
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class KnownHost:
    """Refuses names that are not ours, so that a web site cannot rebind its name to loopback.

    `hosts` gives the accepted host names, without ports; an IP address cannot be rebound. The
    probes answer to any name.
    """

    def __init__(self, app: ASGIApp, *, hosts: Callable[[], frozenset[str] | None]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in {"/healthz", "/readyz", "/metrics"}:
            hosts = self._hosts()
            host = host_name(Headers(scope=scope).get("host", ""))
            if hosts is not None and host not in hosts and not _is_ip(host):
                await send_problem(send, _unknown_host())
                return
        await self._app(scope, receive, send)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def host_name(header: str) -> str:
    """The name in a Host header: without port and brackets, lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


class BodyLimit:
    """Refuses bodies above BODY_LIMIT (reports: REPORT_LIMIT), announced or not."""

    def __init__(self, app: ASGIApp, *, limit: int = BODY_LIMIT) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = REPORT_LIMIT if scope["path"] == _REPORTS else self._limit
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            await send_problem(send, _too_large(limit))
            return
        await self._app(scope, _CountedBody(receive, limit), send)


class _BodyTooLargeError(HTTPException):
    """An HTTPException, since the framework makes a 400 of any other error in reading a body."""

    def __init__(self) -> None:
        super().__init__(413, headers={"Connection": "close"})


class _CountedBody:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._seen = receive, limit, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            raise _BodyTooLargeError
        return message


class ApiToken:
    """Every path of the API but its description is 401 without a valid token, also unknown ones.

    Done before routing and before a body is read; `request.state.caller` is who called.
    """

    def __init__(self, app: ASGIApp, *, state: AppState) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and (path + "/").startswith(_API) and path not in _OPEN:
            caller = await self._caller(Headers(scope=scope).get("authorization", ""))
            if caller is None:
                await send_problem(send, problem_of(TokenError()))
                return
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _caller(self, header: str) -> accounts.Caller | None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        return await run_in_threadpool(
            accounts.authenticate_token, self._state, token.strip(), datetime.now(UTC)
        )


class Measured:
    """Counts requests and their time for `/metrics`, by endpoint and never by path."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            endpoint = endpoint_name(scope.get("endpoint"))
            self._metrics.request(scope["method"], endpoint, status, time.perf_counter() - started)


def endpoint_name(endpoint: object) -> str:
    """The label of an endpoint: its module and function, `other` where there is none."""
    name = getattr(endpoint, "__name__", "")
    module = str(getattr(endpoint, "__module__", "")).rpartition(".")[2]
    return f"{module}.{name}" if name else "other"


def _unknown_host() -> Problem:
    return problem(
        421,
        "request.host",
        "this Console does not go by that name",
        "Set GARRISON_PUBLIC_URL to the address that people open.",
    )


def _too_large(limit: int) -> Problem:
    return problem(
        413,
        "request.too_large",
        f"the request is larger than {limit} bytes",
        "Send less at once.",
        headers={"Connection": "close"},
    )
