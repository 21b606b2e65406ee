"""Blocking requests: bulk bodies for layers, small calls for everything around them.

The same plans as `dial`, on blocking sockets. A body of known length is read straight from the
socket (or TLS) into the caller's buffer; nothing here imports asyncio or aiohttp.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from garrison.egress.answer import Fetched, Headers
from garrison.egress.endpoint import Endpoint, Purpose, Target
from garrison.egress.errors import (
    AnswerTimeoutError,
    ClosedError,
    EgressError,
    PacFetchError,
    TooLargeError,
    TooManyRedirectsError,
    TruncatedError,
)
from garrison.egress.failover import first_that_works
from garrison.egress.handshake import USER_AGENT, AnswerFault, Exchange, Scrub
from garrison.egress.kept import Kept, KeptConnection
from garrison.egress.pac import MAX_SCRIPT, PAC, Load, decoded
from garrison.egress.place import Led, Place
from garrison.egress.plan import (
    Ask,
    Call,
    Checked,
    Opened,
    Plan,
    begin,
    calls_for,
    check,
    resume,
)
from garrison.egress.record import Observer, moved, teller
from garrison.egress.redirect import redirected
from garrison.egress.result import failed, passed
from garrison.egress.route import Choice, Explanation, choose_route, limits_of
from garrison.egress.rules import More
from garrison.egress.settings import ProxySettings
from garrison.egress.sockets import Wire
from garrison.egress.trace import TestResult, Trace

_CHUNK = 64 << 10
_PAC_SECONDS = 10.0


class Body:
    """An answer whose body is read by the caller; close it, or use `with`.

    url: of the request. timeout: seconds, for each wait. count: told once, at the end, how many
    bytes of the body were read.
    """

    def __init__(
        self,
        wire: Wire,
        exchange: Exchange,
        destination: Endpoint,
        timeout: float,
        url: str,
        count: Callable[[int], None] | None = None,
        place: Place = "public",
        keep: Callable[[], None] | None = None,
    ) -> None:
        self._keep = keep
        self._wire, self._exchange = wire, exchange
        self._destination, self._timeout = destination, timeout
        self.url, self.place = url, place
        self._count, self._received = count, 0
        assert exchange.answer is not None
        self.status: int = exchange.answer.status
        self.headers = Headers(exchange.field_values)
        self._ended = False
        # What was read together with the head.
        self._ready = memoryview(self._drain())
        self._left = self._length()

    def _drain(self) -> bytes:
        found = bytearray()
        while (data := self._next_data()) is not None:
            if not data:
                self._ended = True
                break
            found += data
        return bytes(found)

    def _length(self) -> int | None:
        """Bytes still to come from the connection; None when only the parser knows the end."""
        text = self.headers.get("content-length", "")
        if self._ended or "transfer-encoding" in self.headers:
            return None
        # A repeated length is joined by a comma; the parser has checked that both agree.
        first = text.partition(",")[0].strip()
        return int(first) - len(self._ready) if first.isascii() and first.isdigit() else None

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the start of `buffer`; returns how many bytes, 0 at the end.

        Raises EgressError: the body is cut short, or nothing came within the timeout.
        """
        view = memoryview(buffer)
        if not self._ready and not self._ended and len(view):
            if self._left is not None:
                n = self._direct(view)
                self._received += n
                return n
            self._more()
        n = min(len(view), len(self._ready))
        view[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        self._received += n
        return n

    def _direct(self, view: memoryview) -> int:
        assert self._left is not None
        n = self._receive_into(view[: self._left])
        if n == 0:
            raise self._truncated()
        self._left -= n
        self._ended = self._left == 0
        return n

    def _more(self) -> None:
        """The next piece by the parser: chunked, or until the connection ends."""
        buffer = bytearray(_CHUNK)
        while (data := self._next_data()) is None:
            n = self._receive_into(memoryview(buffer))
            try:
                self._exchange.feed_body(bytes(buffer[:n]))
            except AnswerFault:
                raise self._truncated() from None
        self._ended = not data
        self._ready = memoryview(data)

    def _next_data(self) -> bytes | None:
        try:
            return self._exchange.next_data()
        except AnswerFault:
            raise self._truncated() from None

    def _receive_into(self, view: memoryview) -> int:
        try:
            return self._wire.receive_into(view, self._timeout)
        except TimeoutError:
            raise self._told(AnswerTimeoutError(self._destination, self._timeout)) from None
        except OSError:
            raise self._truncated() from None

    def _truncated(self) -> EgressError:
        return self._told(TruncatedError(self._destination))

    def _told(self, error: EgressError) -> EgressError:
        error.trace = self._wire.trace
        error.route = self._wire.call.route if self._wire.call else None
        return error

    def read(self, n: int = -1, *, limit: int | None = None) -> bytes:
        """At most `n` bytes, or all with -1.

        Raises TooLargeError beyond `limit` bytes, and what `readinto` raises.
        """
        if n >= 0:
            buffer = bytearray(n)
            return bytes(buffer[: self.readinto(buffer)])
        whole, buffer = bytearray(), bytearray(_CHUNK)
        while got := self.readinto(buffer):
            whole += memoryview(buffer)[:got]
            if limit is not None and len(whole) > limit:
                raise self._told(TooLargeError(self._destination, limit))
        return bytes(whole)

    def close(self) -> None:
        """Drop the connection, or keep it for the next request; may be called again."""
        keep, self._keep = self._keep, None
        if keep is not None and self._ended and self._exchange.persists:
            keep()
        else:
            self._wire.drop()
        count, self._count = self._count, None
        if count is not None:
            count(self._received)

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
    led: Led | None = None,
    kept: Kept | None = None,
) -> Body:
    """Send a request and return as soon as the head of its answer is there.

    No redirect is followed; any status of the destination is returned.
    timeout: seconds until the head is there, then for each read. extra_ca: PEM, trusted for this
    connection as well. observer: gets one record. led: somebody else's word names the URL, such as
    a redirect, so that it may not be inside this network. kept: takes the connection once the body
    was read to its end, and gives it to the next GET or HEAD; only a new one is told to `observer`.

    Raises EgressError: the destination was not reached. BadUrlError.
    """
    target = Target.parse(url)
    wire = Wire(timeout)
    choice = decide(target, settings, purpose, wire.trace, observer, timeout)
    calls = calls_for(
        target, choice, settings, extra_ca=extra_ca, led=limits_of(led, target, settings, purpose)
    )

    def attempt(call: Call) -> Plan[tuple[Opened, Exchange]]:
        wire.call = call
        asked = _request(method, target, call, headers or {}, data)
        return (yield from begin(call, asked, wire.trace))

    found = _on_kept(kept, calls, wire, method, target, headers or {})
    opened, exchange = found or wire.run(
        first_that_works(calls, wire.trace, attempt, teller(observer, purpose))
    )

    def keep() -> None:
        # A request in absolute form may have signed in for itself alone.
        if kept is None or wire.call is None or wire.call.absolute:
            wire.drop()
            return
        steps = tuple(wire.trace.steps)
        kept.give(KeptConnection(wire.call, opened, wire.release(), steps, time.monotonic()))

    def count(received: int) -> None:
        assert wire.call is not None
        moved(observer, wire.call, purpose, sent=len(data or b""), received=received)

    return Body(wire, exchange, target.endpoint, timeout, url, count, opened.place, keep)


def _on_kept(
    kept: Kept | None,
    calls: Sequence[Call],
    wire: Wire,
    method: str,
    target: Target,
    headers: Mapping[str, str],
) -> tuple[Opened, Exchange] | None:
    """The answer on a kept connection; None when there is none, or none that still works."""
    if kept is None or method not in ("GET", "HEAD"):
        return None
    while (one := kept.take(calls)) is not None:
        wire.adopt(one.connection)
        wire.call = one.call
        wire.trace.steps[:] = one.steps
        asked = _request(method, target, one.call, headers, None)
        try:
            return one.opened, wire.run(resume(one.call, asked, wire.trace, one.opened))
        except ClosedError:
            # It was closed while nobody used it: asking once more does no harm.
            wire.trace.steps.clear()
    return None


def decide(
    target: Target,
    settings: ProxySettings,
    purpose: Purpose,
    trace: Trace,
    observer: Observer | None = None,
    timeout: float = 30.0,
) -> Choice:
    """The choice for `target`, with what the PAC file says where that is needed.

    Raises EgressError: the PAC file cannot be asked.
    """
    choice = choose_route(target, settings, purpose)
    if not choice.ask_pac:
        return choice
    load = pac_loader(settings, purpose, observer, timeout)
    try:
        with trace.step("resolve", "PAC file") as step:
            found = PAC.find(settings.more, target, load)
            step.detail = "; ".join(str(one) if one else "DIRECT" for one in found.answer)
    except EgressError as error:
        error.trace = trace
        raise
    return choose_route(target, settings, purpose, found.answer)


def pac_loader(
    settings: ProxySettings, purpose: Purpose, observer: Observer | None, timeout: float = 30.0
) -> Load:
    """Fetches a PAC file: directly, since it is what says how else to go."""
    direct = ProxySettings(
        trust=settings.trust, more=More(destination_ca=settings.more.destination_ca)
    )

    def load(url: str) -> str:
        answer = fetch(
            url,
            direct,
            purpose=purpose,
            timeout=min(_PAC_SECONDS, timeout),
            observer=observer,
            limit=MAX_SCRIPT,
            redirects=3,
        )
        if answer.status != 200:
            raise PacFetchError(None, f"its server answers {answer.status}")
        return decoded(answer.body)

    return load


def _request(
    method: str, target: Target, call: Call, headers: Mapping[str, str], data: bytes | None
) -> Ask:
    fields = [("Host", target.authority)]
    given = {name.lower() for name in headers}
    if "user-agent" not in given:
        fields.append(("User-Agent", USER_AGENT))
    if "accept-encoding" not in given:
        # Digests are of the bytes as stored.
        fields.append(("Accept-Encoding", "identity"))
    if data is not None and "content-length" not in given:
        fields.append(("Content-Length", str(len(data))))
    # Only our own, and only to the proxy.
    fields += [(k, v) for k, v in headers.items() if k.lower() != "proxy-authorization"]

    def make(authorization: str | None, scrub: Scrub) -> Exchange:
        own = [] if authorization is None else [("Proxy-Authorization", authorization)]
        return Exchange(
            method,
            target.absolute if call.absolute else target.resource,
            [*fields, *own],
            scrub=scrub,
            data=data or b"",
            streams=True,
        )

    return Ask(method, target, make)


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
    """Send a request and return its whole answer.

    redirects: how many are followed, each by its own route; `Authorization` and `Cookie` stay
    with the first host and are never sent from https to http. None leads inside this network,
    unless the first host is there. Otherwise as `open_body`.

    Raises EgressError, TooLargeError beyond `limit` bytes. BadUrlError.
    """
    given, followed, led = dict(headers or {}), 0, None
    while True:
        with open_body(
            url,
            settings,
            purpose=purpose,
            method=method,
            headers=given,
            data=data,
            timeout=timeout,
            observer=observer,
            extra_ca=extra_ca,
            led=led,
        ) as body:
            led = led or Led(Target.parse(url).endpoint.host, body.place)
            step = redirected(url, body.status, body.headers, method, given) if redirects else None
            if step is None:
                return Fetched(body.status, body.headers, body.read(limit=limit), url)
        followed += 1
        if followed > redirects:
            raise TooManyRedirectsError(Target.parse(url).endpoint)
        url, method, given = step
        data = None if method in ("GET", "HEAD") else data


def check_connection(
    url: str,
    settings: ProxySettings,
    *,
    purpose: Purpose,
    timeout: float = 15.0,
    origin: str = "console",
    observer: Observer | None = None,
) -> TestResult:
    """The blocking form of `EgressClient.test`, for a command line without aiohttp."""
    target = Target.parse(url)
    wire = Wire(timeout)
    choice = choose_route(target, settings, purpose)
    try:
        choice = decide(target, settings, purpose, wire.trace, observer, timeout)
        calls = calls_for(target, choice, settings)

        def attempt(call: Call) -> Plan[Checked]:
            wire.call = call
            return check(call, target, wire.trace, os.urandom(16))

        plan = first_that_works(calls, wire.trace, attempt, teller(observer, purpose, test=True))
        checked = wire.run(plan)
    except EgressError as error:
        return failed(Explanation(url, choice, purpose, error.route), wire.trace, error, origin)
    finally:
        wire.drop()
    assert wire.call is not None
    return passed(
        Explanation(url, choice, purpose, wire.call.route),
        target.endpoint,
        wire.trace,
        checked,
        origin,
    )
