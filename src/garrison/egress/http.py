"""The asynchronous client: aiohttp's HTTP over our own dialling.

aiohttp's own proxy, redirect, cookie and environment support is not used: it loses the proxy's
answer and prints passwords.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Hashable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from garrison.egress.answer import Fetched, Headers
from garrison.egress.body import decide, pac_loader
from garrison.egress.connections import Connections, Opened, Response, fields_of
from garrison.egress.dial import Wire, dial
from garrison.egress.endpoint import Endpoint, Purpose, Target
from garrison.egress.errors import (
    AnswerTimeoutError,
    BadAnswerError,
    ClientCertificateError,
    ClosedError,
    EgressError,
    InspectorFailedError,
    ProxyAnswerError,
    ProxyBadAnswerError,
    ProxyClosedError,
    ProxySilentError,
    TooLargeError,
    TooManyRedirectsError,
    TruncatedError,
)
from garrison.egress.failover import HEALTH, first_that_works, moves_on
from garrison.egress.handshake import BODY_KEPT, USER_AGENT, is_proxys_own, kept_answer
from garrison.egress.pac import PAC
from garrison.egress.place import Led, Place
from garrison.egress.plan import (
    Call,
    Checked,
    Plan,
    calls_for,
    check,
    diagnose,
    look_into_tunnel,
    prime,
    sign_in_for,
    upgrade_error,
    wants_certificate,
)
from garrison.egress.record import Observer, moved, observe, teller
from garrison.egress.redirect import redirected
from garrison.egress.refusal import is_refusal, refusal, unauthorised
from garrison.egress.result import failed, passed
from garrison.egress.route import Choice, Explanation, ViaProxy, choose_route, limits_of
from garrison.egress.settings import ProxySettings
from garrison.egress.signin import SignIn
from garrison.egress.trace import Answer, ConnectionRecord, TestResult, Trace
from garrison.egress.trust import Certificate, context_for
from garrison.egress.websocket import MAX_MESSAGE, WebSocketConnection

_WAYS_KEPT = 1000
_IDLE_SECONDS = 30.0
"""How long a connection is kept for the next request; proxies forget idle ones."""
_REFUSAL_SECONDS = 2.0
_GRACE = 0.2
"""Seconds by which aiohttp may overrun, so that the dial's own deadline speaks first."""


@dataclass(slots=True)
class _Attempt:
    """One request, and what the connector must know of it when it opens a connection.

    calls: the candidates for a new connection; call: the one in use. Of the loop's clock, opening:
    until when a connection must stand; deadline: for the head of the answer. ssl: part of the
    pool's key, so that a connection which trusted more CAs serves nobody else.
    """

    generation: _Generation
    pool: _Pool
    target: Target
    calls: tuple[Call, ...]
    call: Call
    purpose: Purpose
    timeout: float
    deadline: float
    opening: float
    observer: Observer | None
    ssl: Any
    trace: Trace = field(default_factory=lambda: Trace(time.monotonic))
    refused: Answer | None = None
    """What came in place of a WebSocket."""
    sign_in: SignIn | None = None
    """For requests in absolute form."""
    authorization: str | None = None
    """For the next request, whatever connection it takes."""

    @property
    def destination(self) -> Endpoint:
        return self.target.endpoint

    @property
    def proxy(self) -> Endpoint | None:
        """The proxy that answers requests in absolute form, if this is one."""
        route = self.call.route
        absolute = isinstance(route, ViaProxy) and self.call.absolute
        return route.proxy.endpoint if absolute and isinstance(route, ViaProxy) else None

    @property
    def connection_key(self) -> Hashable:
        """What makes kept connections interchangeable: those that are signed in by themselves stay
        apart, and those that trusted more CAs."""
        bound = self.sign_in.begins_bound if self.sign_in is not None else None
        refused = self.pool.refused if bound else 0
        return (self.target.scheme, self.target.endpoint, self.ssl, bound, refused)

    @property
    def interceptor(self) -> bytes | None:
        """The CA that opened TLS on the latest connection there."""
        return self.pool.interceptors.get(str(self.destination))

    @property
    def place(self) -> Place:
        """Where the destination is, as of the latest connection there."""
        return self.pool.places.get(str(self.destination), "public")

    def take(self, calls: tuple[Call, ...]) -> None:
        """Try these now."""
        self.calls, self.call, self.authorization = calls, calls[0], None
        self.sign_in = sign_in_for(self.call) if self.call.absolute else None

    def asked(self, response: Response) -> None:
        """Tell the observer of the body that was sent."""
        if response.sent:
            self.moved(sent=response.sent)

    def moved(self, *, sent: int = 0, received: int = 0) -> None:
        """Tell the observer of bytes that were carried."""
        moved(self.observer, self.call, self.purpose, sent=sent, received=received)

    def told(self, error: EgressError) -> EgressError:
        """`error` with what is known of the way."""
        error.route = self.call.route
        error.trace = error.trace or self.trace
        if error.intercepted_by is None and self.interceptor is not None:
            error.intercepted_by = Certificate.read(self.interceptor).subject
        return error


_attempt: ContextVar[_Attempt] = ContextVar("egress_attempt")


async def _open(attempt: _Attempt, method: str) -> Opened:
    """A connection for a request, by `dial`, and what its first request carries to sign in."""
    loop, pool = asyncio.get_running_loop(), attempt.pool
    stream = await dial(
        attempt.calls,
        purpose=attempt.purpose,
        timeout=attempt.opening - loop.time(),
        observer=attempt.observer,
        trace=attempt.trace,
    )
    opened, endpoint, attempt.call = stream.opened, str(attempt.destination), stream.call
    if attempt.call.pin is not None and opened.pinned is not None:
        pool.pins[attempt.call.pin] = opened.pinned.pem
    header = None
    if attempt.sign_in is not None and attempt.sign_in.begins_bound:
        sign_in, uri = attempt.sign_in, attempt.target.absolute
        header = await stream.run(prime(attempt.call, attempt.trace, opened, sign_in, method, uri))
    pool.places[endpoint] = opened.place
    pool.interceptors.pop(endpoint, None)
    if opened.interceptor is not None:
        pool.interceptors[endpoint] = opened.interceptor
    protocol = ResponseHandler(loop)
    stream.hand_to(protocol)
    return protocol, header


class _Connector(aiohttp.BaseConnector):
    """Opens connections for aiohttp's WebSocket.

    `_create_connection` is private: aiohttp is pinned, and a contract test holds it.
    """

    allowed_protocol_schema_set = frozenset({"http", "https", "ws", "wss"})

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        return (await _open(_attempt.get(), req.method))[0]


class _Response(aiohttp.ClientResponse):
    """Keeps the start of the page that came in place of a WebSocket."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        response = await super().start(connection)
        attempt = _attempt.get(None)
        if attempt is not None and attempt.target.websocket and self.status != 101:
            attempt.refused = await _answer_of(self, attempt)
        return response


class _Pool:
    """The connections of one list of routes: a request that goes another way uses none of them."""

    def __init__(self) -> None:
        self.pins: dict[bytes, str] = {}
        self.interceptors: dict[str, bytes] = {}
        self.places: dict[str, Place] = {}
        self.refused = 0
        """Connections that had signed in and were refused later: none of them is used again."""
        self.connections = Connections(_IDLE_SECONDS)
        self.session = aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=_IDLE_SECONDS),
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": USER_AGENT},
        )


@dataclass(frozen=True, slots=True)
class _Way:
    """What was decided for one destination and purpose. ssl: as in `_Attempt`."""

    pool: _Pool
    calls: tuple[Call, ...]
    ssl: Any


class _Generation:
    """The connections of one ProxySettings: never used again once they are replaced."""

    def __init__(self, settings: ProxySettings) -> None:
        self.settings = settings
        self._pools: dict[tuple[str, ...], _Pool] = {}
        self._ways: dict[tuple[str, Endpoint, Purpose, str, Led | None], _Way] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._users = 0
        self._retired = False
        self._closing: asyncio.Task[None] | None = None

    async def way(
        self,
        target: Target,
        purpose: Purpose,
        extra_ca: str,
        pin: bytes | None,
        led: Led | None,
        trace: Trace,
        observer: Observer | None,
        timeout: float,
    ) -> _Way:
        """How to reach `target`; kept, since settings never change (a PAC file's answers do).

        Call it in the event loop that uses the connections.
        """
        settings = self.settings
        led = limits_of(led, target, settings, purpose)
        key = (target.scheme, target.endpoint, purpose, extra_ca, led)
        found = self._ways.get(key) if pin is None else None
        if found is not None:
            return found
        choice = await _decide(target, settings, purpose, trace, observer, timeout)
        pool = self._pool(choice, led)
        known = pool.pins.get(pin, "") if pin is not None else ""
        calls = calls_for(
            target, choice, settings, extra_ca=extra_ca, pin=pin, known=known, led=led
        )
        more_ca = f"{calls[0].extra_ca}\n{known}"
        found = _Way(pool, calls, context_for(settings.trust, more_ca) if more_ca.strip() else True)
        if pin is None and not settings.more.pac_url and len(self._ways) < _WAYS_KEPT:
            self._ways[key] = found
        return found

    def _pool(self, choice: Choice, led: Led | None) -> _Pool:
        """led: a connection that was opened without its limits is not for it."""
        self._loop = asyncio.get_running_loop()
        routes = tuple(
            str(route.proxy) if isinstance(route, ViaProxy) else str(route)
            for route in choice.candidates
        )
        if led is not None:
            routes += (led.place,)
        if routes not in self._pools:
            self._pools[routes] = _Pool()
        return self._pools[routes]

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """The last user of a retired generation closes it."""
        self.enter()
        try:
            yield
        finally:
            await self.leave()

    def enter(self) -> None:
        self._users += 1

    async def leave(self) -> None:
        self._users -= 1
        if self._retired and not self._users:
            await self.close()

    def retire(self) -> None:
        """Any thread: close as soon as nobody uses it."""
        self._retired = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close_unused)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to close."""
        return not self._pools and not self._users

    def _close_unused(self) -> None:
        if not self._users:
            self._closing = asyncio.get_running_loop().create_task(self.close())

    async def close(self) -> None:
        pools, self._pools = self._pools, {}
        self._ways.clear()
        for pool in pools.values():
            pool.connections.close()
            await pool.session.close()
        # What was aborted is closed by the loop's next rounds.
        for _ in range(2):
            await asyncio.sleep(0)
        if self._closing is not None and self._closing is not asyncio.current_task():
            await self._closing


class Streamed:
    """An answer whose body arrives in chunks."""

    def __init__(self, response: Response, attempt: _Attempt) -> None:
        self._response, self._attempt = response, attempt
        self.status = response.status
        self.headers = Headers(response.headers.items())

    async def chunks(self, size: int = 256 << 10) -> AsyncIterator[bytes]:
        """The body in pieces of at most `size` bytes.

        Raises EgressError: it is cut short, or nothing came within the timeout.
        """
        received = 0
        try:
            # As they came: to join and cut them again would be two more copies.
            async for chunk, _ in self._response.content.iter_chunks():
                received += len(chunk)
                for start in range(0, len(chunk), size):
                    yield chunk[start : start + size] if len(chunk) > size else chunk
        except (aiohttp.ClientError, OSError) as error:
            raise _body_failure(error, self._attempt) from None
        finally:
            self._attempt.moved(received=received)


class EgressClient:
    """Everything a service asks of the outside; its settings are replaced in place.

    One event loop at a time. observer: gets one record per connection, on that loop.
    """

    def __init__(self, settings: ProxySettings, *, observer: Observer | None = None) -> None:
        self._observer = observer
        self._lock = threading.Lock()
        self._generation = _Generation(settings)
        self._prefetch_pac(settings)
        self._old: list[_Generation] = []

    @property
    def settings(self) -> ProxySettings:
        return self._generation.settings

    def beside(self, settings: ProxySettings) -> EgressClient:
        """A client of its own with other settings, watched by the same observer."""
        return EgressClient(settings, observer=self._observer)

    def use(self, settings: ProxySettings) -> None:
        """From now on every request goes by `settings`; those under way finish. Any thread."""
        with self._lock:
            old, self._generation = self._generation, _Generation(settings)
            self._old = [*(one for one in self._old if not one.idle), old]
        HEALTH.forget()
        self._prefetch_pac(settings)
        old.retire()

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
        """Any status of the destination is returned.

        timeout: seconds for everything. limit: bytes of the body. redirects: how many are
        followed, each by its own route; `Authorization` and `Cookie` stay with the first host, and
        none leads inside this network unless that host is there.
        extra_ca: PEM, trusted for this request as well.

        Raises EgressError: the destination was not reached. BadUrlError.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        given, followed, led = dict(headers or {}), 0, None
        while True:
            attempt = await self._attempt(url, purpose, timeout, deadline, extra_ca, led=led)
            # Not by `_send`: a context manager for each small request is a tenth of its time.
            attempt.generation.enter()
            try:
                response = await _first_answer(method, attempt, given, data, json, True)
                try:
                    attempt.asked(response)
                    found = Headers(response.headers.items())
                    step = (
                        redirected(url, response.status, found, method, given)
                        if redirects
                        else None
                    )
                    if step is None:
                        body = await _read(response, limit, attempt)
                        return Fetched(response.status, found, body, url)
                finally:
                    response.done()
            finally:
                await attempt.generation.leave()
            led = led or Led(attempt.destination.host, attempt.place)
            followed += 1
            if followed > redirects:
                raise attempt.told(TooManyRedirectsError(attempt.destination))
            url, method, given = step
            if method in ("GET", "HEAD"):
                data = json = None

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        purpose: Purpose,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        extra_ca: str = "",
    ) -> AsyncIterator[Streamed]:
        """An answer whose body is read in chunks, as stored (no `Content-Encoding` is asked for).

        timeout: seconds for the head, then for each wait. Otherwise as `request`.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        given = {"Accept-Encoding": "identity", **(headers or {})}
        attempt = await self._attempt(url, purpose, timeout, deadline, extra_ca)
        async with self._send(method, attempt, given, decompress=False) as response:
            yield Streamed(response, attempt)

    async def websocket(
        self,
        url: str,
        *,
        purpose: Purpose,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        extra_ca: str = "",
        pin: bytes | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> WebSocketConnection:
        """Open a WebSocket; it outlives a change of settings.

        extra_ca: PEM, trusted for this connection as well. pin: SHA-256 of a CA's
        SubjectPublicKeyInfo, trusted for this connection if it is presented and nothing but the
        unknown CA speaks against the certificate.

        Raises EgressError. BadUrlError.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        attempt = await self._attempt(url, purpose, timeout, deadline, extra_ca, pin)
        generation = attempt.generation
        generation.enter()
        try:
            socket = await self._upgraded(attempt, headers or {}, max_message)
        except BaseException:
            await generation.leave()
            raise
        return WebSocketConnection(
            socket, str(attempt.call.route), attempt.target, generation.leave, attempt.moved
        )

    async def _upgraded(
        self, attempt: _Attempt, headers: Mapping[str, str], max_message: int
    ) -> aiohttp.ClientWebSocketResponse:
        token = _attempt.set(attempt)
        try:
            async with asyncio.timeout_at(attempt.deadline + _GRACE):
                return await attempt.pool.session.ws_connect(
                    _url(attempt.target),
                    headers=dict(headers),
                    ssl=attempt.ssl,
                    max_msg_size=max_message,
                    timeout=aiohttp.ClientWSTimeout(ws_close=5.0),
                )
        except aiohttp.WSServerHandshakeError as error:
            fields = error.headers.items() if error.headers is not None else ()
            answer = attempt.refused or kept_answer(error.status, "", fields, b"")
            wrong = upgrade_error(attempt.destination, answer, attempt.interceptor)
            raise attempt.told(wrong) from None
        except (aiohttp.ClientError, OSError) as error:
            raise attempt.told(await _unopened(error, attempt)) from None
        finally:
            _attempt.reset(token)

    async def test(
        self, url: str, *, purpose: Purpose, timeout: float = 15.0, origin: str = "console"
    ) -> TestResult:
        """Connect, ask once, and report each hop; on a connection of its own. BadUrlError."""
        target, settings = Target.parse(url), self.settings
        trace, wire = Trace(time.monotonic), Wire(timeout)
        choice, used = choose_route(target, settings, purpose), list[Call]()
        try:
            choice = await _decide(target, settings, purpose, trace, self._observer, timeout)
            calls = calls_for(target, choice, settings)

            def attempt(call: Call) -> Plan[Checked]:
                used.append(call)
                return check(call, target, trace, os.urandom(16))

            tell = teller(self._observer, purpose, test=True)
            checked = await wire.run(first_that_works(calls, trace, attempt, tell))
        except EgressError as error:
            return failed(Explanation(url, choice, purpose, error.route), trace, error, origin)
        finally:
            wire.drop()
        return passed(
            Explanation(url, choice, purpose, used[-1].route),
            target.endpoint,
            trace,
            checked,
            origin,
        )

    async def aclose(self) -> None:
        """Close every connection, also those under way."""
        with self._lock:
            generations = [*self._old, self._generation]
            self._old = []
        for generation in generations:
            await generation.close()

    def _prefetch_pac(self, settings: ProxySettings) -> None:
        """So that the route is known before it is needed."""
        PAC.forget()
        if settings.more.pac_url:
            PAC.prefetch(settings.more.pac_url, pac_loader(settings, "intel", self._observer))

    # One request

    async def _attempt(
        self,
        url: str,
        purpose: Purpose,
        timeout: float,
        deadline: float,
        extra_ca: str,
        pin: bytes | None = None,
        led: Led | None = None,
    ) -> _Attempt:
        target, generation = Target.parse(url), self._generation
        trace = Trace(time.monotonic)
        way = await generation.way(
            target, purpose, extra_ca, pin, led, trace, self._observer, timeout
        )
        return _Attempt(
            generation,
            way.pool,
            target,
            way.calls,
            way.calls[0],
            purpose,
            timeout,
            deadline,
            deadline,
            self._observer,
            way.ssl,
            trace=trace,
        )

    @contextlib.asynccontextmanager
    async def _send(
        self,
        method: str,
        attempt: _Attempt,
        headers: Mapping[str, str],
        *,
        data: bytes | None = None,
        json: Any = None,
        decompress: bool = True,
    ) -> AsyncIterator[Response]:
        async with attempt.generation.used():
            response = await _first_answer(method, attempt, headers, data, json, decompress)
            try:
                attempt.asked(response)
                yield response
            finally:
                response.done()


async def _decide(
    target: Target,
    settings: ProxySettings,
    purpose: Purpose,
    trace: Trace,
    observer: Observer | None,
    timeout: float,
) -> Choice:
    """The choice for `target`; a PAC file is fetched and evaluated in a thread."""
    choice = choose_route(target, settings, purpose)
    if not choice.ask_pac:
        return choice
    tell = None if observer is None else _in_loop(observer)
    return await asyncio.to_thread(decide, target, settings, purpose, trace, tell, timeout)


def _in_loop(observer: Observer) -> Observer:
    """`observer` for another thread: it is told in this loop."""
    loop = asyncio.get_running_loop()

    def tell(record: ConnectionRecord) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(observer, record)

    return tell


async def _first_answer(
    method: str,
    attempt: _Attempt,
    headers: Mapping[str, str],
    data: bytes | None,
    json: Any,
    decompress: bool,
) -> Response:
    """The answer, by the first candidate that works.

    Where the form of the request depends on the route, each candidate is a request of its own;
    a connection is opened by the first that works of all of them otherwise.
    """
    clock = asyncio.get_running_loop().time
    candidates = [attempt.calls]
    if any(call.absolute for call in attempt.calls):
        candidates = [(call,) for call in HEALTH.order(attempt.calls, time.monotonic())]
    for index, calls in enumerate(candidates):
        others = len(candidates) - index - 1
        attempt.take(calls)
        attempt.opening = clock() + (attempt.deadline - clock()) / (others + 1)
        try:
            return await _answer(method, attempt, headers, data, json, decompress)
        except EgressError as error:
            if not (others and moves_on(error) and _may_repeat(method, error)):
                raise
            if not isinstance(error, ProxyAnswerError):
                HEALTH.failed(attempt.call, time.monotonic())
            if clock() >= attempt.deadline:
                raise
    raise ValueError("no candidate")


def _may_repeat(method: str, error: EgressError) -> bool:
    """Whether the destination cannot have acted on the request, or may get it twice."""
    opening = error.hop in ("resolve", "tcp", "proxy-tls")
    return opening or isinstance(error, ProxyAnswerError) or method in ("GET", "HEAD")


async def _answer(
    method: str,
    attempt: _Attempt,
    headers: Mapping[str, str],
    data: bytes | None,
    json: Any,
    decompress: bool,
) -> Response:
    try:
        async with asyncio.timeout_at(attempt.deadline + _GRACE):
            response = await _signed_in(method, attempt, headers, data, json, decompress)
    except (aiohttp.ClientError, OSError) as error:
        raise await _explained(error, attempt) from None
    try:
        if refused := await _refused(response, attempt):
            raise attempt.told(refused)
    except BaseException:
        response.done()
        raise
    return response


async def _signed_in(
    method: str,
    attempt: _Attempt,
    headers: Mapping[str, str],
    data: bytes | None,
    json: Any,
    decompress: bool,
) -> Response:
    """The answer; a proxy's 407 to a request in absolute form is answered, as far as we can."""
    sign_in = attempt.sign_in
    if sign_in is None:
        return await _respond(method, attempt, headers, data, json, decompress)
    uri = attempt.target.absolute
    if not sign_in.begins_bound:
        attempt.authorization = sign_in.begin(method, uri)
    while True:
        response = await _respond(method, attempt, headers, data, json, decompress)
        if response.status != 407:
            sign_in.accepted()
            return response
        fields = list(response.headers.items())
        attempt.pool.refused += sign_in.begins_bound is not None
        attempt.authorization = await asyncio.to_thread(sign_in.challenged, fields, method, uri)
        if attempt.authorization is None and not sign_in.begins_bound:
            return response
        response.done()


async def _respond(
    method: str,
    attempt: _Attempt,
    headers: Mapping[str, str],
    data: bytes | None,
    json: Any,
    decompress: bool,
) -> Response:
    # Only our own, and only to the proxy.
    given: dict[str, str] = {}
    if headers:
        given = {k: v for k, v in headers.items() if k.lower() != "proxy-authorization"}
    if attempt.authorization is not None:
        given["Proxy-Authorization"] = attempt.authorization
    target = attempt.target
    lines, body = fields_of(target.authority, given, json=json, data=data)
    return await attempt.pool.connections.ask(
        attempt.connection_key,
        lambda: _open(attempt, method),
        method,
        target.resource if attempt.proxy is None else target.absolute,
        lines,
        body,
        read_timeout=attempt.timeout,
        decompress=decompress,
        doubtful=attempt.sign_in is not None and not attempt.sign_in.begins_bound,
    )


async def _refused(response: Response, attempt: _Attempt) -> EgressError | None:
    """The error, when a proxy answered in the destination's place."""
    if response.status < 400:
        return None
    answer = kept_answer(response.status, response.reason or "", response.headers.items(), b"")
    error: EgressError
    if attempt.proxy is not None and is_refusal(answer):
        answer = await _answer_of(response, attempt)
        if answer.status == 407 and attempt.sign_in is not None:
            error = unauthorised(attempt.proxy, attempt.destination, answer, attempt.sign_in)
        else:
            error = refusal(attempt.proxy, attempt.destination, answer)
    elif attempt.proxy is None and attempt.interceptor is not None and is_proxys_own(answer):
        answer = await _answer_of(response, attempt)
        error = InspectorFailedError(attempt.destination, answer)
    else:
        return None
    observe(attempt.observer, attempt.call, attempt.purpose, error, attempt.trace)
    return error


async def _explained(error: BaseException, attempt: _Attempt) -> EgressError:
    """Our error for one of aiohttp's; asks the proxy what it is, where that is unclear."""
    found = _failure(error, attempt)
    if isinstance(found, ProxyClosedError | ProxyBadAnswerError):
        left = attempt.deadline - asyncio.get_running_loop().time()
        wire = Wire(max(0.0, left))
        try:
            await wire.run(diagnose(attempt.call, Trace(time.monotonic)))
        except EgressError as clearer:
            found = clearer
        finally:
            wire.drop()
    return attempt.told(found)


async def _unopened(error: BaseException, attempt: _Attempt) -> EgressError:
    """Why a WebSocket did not open; a proxy may have closed it for not being TLS."""
    found = _failure(error, attempt)
    if isinstance(found, ClosedError | BadAnswerError):
        wire = Wire(max(0.0, attempt.deadline - asyncio.get_running_loop().time()))
        try:
            await wire.run(look_into_tunnel(attempt.call))
        except EgressError as clearer:
            found = clearer
        finally:
            wire.drop()
    return found


def _url(target: Target) -> URL:
    return URL(f"{target.scheme}://{target.authority}{target.resource}", encoded=True)


async def _read(response: Response, limit: int, attempt: _Attempt) -> bytes:
    content = response.content
    if content.is_eof() and content.exception() is None and content.total_bytes <= limit:
        # It came together with its head.
        body = content.read_nowait()
        attempt.moved(received=len(body))
        return body
    whole = bytearray()
    try:
        async with asyncio.timeout_at(attempt.deadline + _GRACE):
            async for chunk in response.content.iter_any():
                whole += chunk
                if len(whole) > limit:
                    raise attempt.told(TooLargeError(attempt.destination, limit))
    except (aiohttp.ClientError, OSError) as error:
        raise _body_failure(error, attempt) from None
    finally:
        attempt.moved(received=len(whole))
    return bytes(whole)


async def _answer_of(response: Response | aiohttp.ClientResponse, attempt: _Attempt) -> Answer:
    """Status, telling headers and the start of the body; a body that lingers is cut."""
    body = bytearray()
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_REFUSAL_SECONDS):
            while len(body) < BODY_KEPT and (chunk := await response.content.readany()):
                body += chunk
    return kept_answer(
        response.status,
        response.reason or "",
        response.headers.items(),
        bytes(body),
        attempt.sign_in.scrub if attempt.sign_in else str,
    )


def _body_failure(error: BaseException, attempt: _Attempt) -> EgressError:
    if isinstance(error, TimeoutError):
        return attempt.told(AnswerTimeoutError(attempt.destination, attempt.timeout))
    return attempt.told(TruncatedError(attempt.destination))


def _failure(error: BaseException, attempt: _Attempt) -> EgressError:
    """Our error for one that aiohttp raised before an answer was there."""
    destination, proxy = attempt.destination, attempt.proxy
    if isinstance(error, TimeoutError):
        seconds = attempt.timeout
        return (
            ProxySilentError(proxy, seconds, 0)
            if proxy
            else AnswerTimeoutError(destination, seconds)
        )
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return ProxyBadAnswerError(proxy) if proxy else BadAnswerError(destination)
    if wants_certificate(error):
        return ClientCertificateError(destination)
    return ProxyClosedError(proxy) if proxy else ClosedError(destination)
