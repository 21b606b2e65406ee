"""The order of hops, written once for both faces: which operation comes next, and what a failure
of it means.

A plan is a generator: it yields operations and is sent their results, or has the exception
thrown in that a driver met. `dial` runs plans on asyncio, `body` on blocking sockets; no plan
touches a socket. A driver holds one connection at a time.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from garrison.egress.addresses import interleaved
from garrison.egress.credentials import Credentials
from garrison.egress.endpoint import Endpoint, Target
from garrison.egress.errors import (
    AnswerTimeoutError,
    BadAnswerError,
    BadCertificateChainError,
    CertificateError,
    ClientCertificateError,
    ClientCertificateLostError,
    ClosedError,
    ConnectFailedError,
    ConnectionRefusedDirectError,
    ConnectTimeoutError,
    DestinationFailedError,
    DestinationUnknownError,
    EgressError,
    ExpiredError,
    InspectorFailedError,
    InterceptedError,
    LedAstrayError,
    NameServerError,
    NotAllowedError,
    NotTlsError,
    NotYetValidError,
    ProxyAnswerError,
    ProxyAuthBrokenError,
    ProxyAuthRequiredError,
    ProxyAuthTicketError,
    ProxyBadAnswerError,
    ProxyBadCertificateError,
    ProxyClientCertificateError,
    ProxyClosedError,
    ProxyConnectionRefusedError,
    ProxyConnectTimeoutError,
    ProxyDeniedError,
    ProxyExpiredError,
    ProxyHeadTooLargeError,
    ProxyNotHttpError,
    ProxyNotSocksError,
    ProxyPortDeniedError,
    ProxySilentError,
    ProxySpeaksHttpError,
    ProxySpeaksSocksError,
    ProxySpeaksTlsError,
    ProxyTlsClosedError,
    ProxyTlsFailedError,
    ProxyTlsTimeoutError,
    ProxyUnknownCaError,
    ProxyUnknownError,
    ProxyUnreachableError,
    ProxyWrongNameError,
    SocksCredentialsError,
    SocksSignInError,
    SocksUnresolvedError,
    TlsClosedError,
    TlsFailedError,
    TlsTimeoutError,
    TunnelInspectedError,
    UnknownCaError,
    UnreachableError,
    UpgradeRefusedError,
    UpgradeStrippedError,
    WrongNameError,
)
from garrison.egress.handshake import (
    AnswerFault,
    ClosedEarly,
    Exchange,
    HeadTooLarge,
    NotHttp,
    Scrub,
    banner_of,
    connect_exchange,
    get_exchange,
    is_proxys_own,
    service_of,
    upgrade_exchange,
    wants_certificate_by_page,
)
from garrison.egress.interception import (
    SIGHTINGS,
    Interception,
    invented_name,
    judge,
    judge_trusted,
)
from garrison.egress.place import WORDS, Led, Place, place_named
from garrison.egress.refusal import (
    is_refusal,
    portal,
    refusal,
    sign_in_refused,
    socks_refusal,
    unauthorised,
)
from garrison.egress.route import Choice, Direct, Route, ViaProxy
from garrison.egress.settings import ProxySettings
from garrison.egress.signin import NAMES, SignIn
from garrison.egress.socks import (
    GREETING as SOCKS_GREETING,
)
from garrison.egress.socks import (
    BadPassword,
    NoMethod,
    NotSocks,
    SocksClosed,
    SocksHandshake,
    SocksRefusal,
    encoded,
)
from garrison.egress.trace import Answer, Chain, OpenStep, Trace
from garrison.egress.trust import (
    Certificate,
    TrustBundle,
    context_for,
    looking_context,
    pinned_certificate,
    pinned_context,
    presented_chain,
    read_chain,
    system_store,
)

SOCKS_ADDRESSES = 4
"""Of a name that we resolve for a SOCKS proxy: asked for in turn."""
GREETING_SECONDS = 2.0
"""For the answer to the first two bytes of SOCKS, which needs nobody else."""
GUESS_SECONDS = 1.5
"""Of the deadline, kept for finding out who is silent at the proxy's port."""
LOOK_SECONDS = 5.0
"""For a second look at what failed, within the dial's own deadline."""
BODY_SECONDS = 2.0
"""For the page behind a refusal."""

# --- operations -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a name, as the system's resolver gave it."""

    family: int
    sockaddr: tuple[Any, ...]

    def __str__(self) -> str:
        return str(self.sockaddr[0])


@dataclass(frozen=True, slots=True)
class Resolve:
    """-> tuple[Address, ...]"""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Connect:
    """-> Address: the first that answers; drops the connection there was."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class StartTls:
    """-> Peer. Raises EarlyData when the peer spoke first."""

    context: ssl.SSLContext
    name: str


@dataclass(frozen=True, slots=True)
class Send:
    """-> None"""

    data: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """-> bytes: what is there, b"" at the end."""


@dataclass(frozen=True, slots=True)
class Limit:
    """-> None. Shortens the deadline of what follows; None returns to the dial's own."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """-> what `function` returns or raises. It may block, but has no sockets of ours."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Share:
    """-> None. At most so long for what follows, until the next one; None for all that is left.

    Every `Limit` holds within it.
    """

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Left:
    """-> float: seconds until the dial's own deadline."""


Operation: TypeAlias = Resolve | Connect | StartTls | Send | Receive | Limit | Share | Left | Run
T = TypeVar("T")
Plan: TypeAlias = Generator[Operation, Any, T]


@dataclass(frozen=True, slots=True)
class Peer:
    """A TLS peer that passed verification. verified: DER, the root last."""

    verified: tuple[bytes, ...]
    version: str
    cipher: str
    alpn: str = ""


class EarlyData(Exception):
    """Bytes came before our handshake, so the other side does not speak TLS."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"{len(data)} bytes")
        self.data = data


# --- what is to be opened -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """One connection to be opened.

    tls: to the destination. tunnel: by CONNECT or SOCKS; without it the connection ends at the
    proxy, which then gets requests in absolute form. watched: a chain that ends at one of the
    operator's CAs means interception (not on routes the operator made direct). pin: SHA-256 of a
    CA's public key that is trusted if ordinary verification fails. known: PEM of that CA, once it
    was seen. led: somebody's word names the destination, which limits where it may be.
    strict: nothing but the destination may be asked for.
    """

    destination: Endpoint
    route: Route
    tls: bool
    tunnel: bool
    trust: TrustBundle
    credentials: Credentials | None = None
    extra_ca: str = ""
    watched: bool = False
    pin: bytes | None = None
    known: str = ""
    led: Led | None = None
    strict: bool = False

    @property
    def absolute(self) -> bool:
        """Whether requests on this connection are in absolute form."""
        return isinstance(self.route, ViaProxy) and not self.tunnel


def calls_for(
    target: Target,
    choice: Choice,
    settings: ProxySettings,
    *,
    extra_ca: str = "",
    pin: bytes | None = None,
    known: str = "",
    led: Led | None = None,
) -> tuple[Call, ...]:
    """The connections that would serve a request for `target`, in the order of the choice.

    Raises NotAllowedError in strict mode.
    """
    if not choice.candidates:
        raise NotAllowedError(target.endpoint)
    extra_ca = "\n".join(filter(None, (extra_ca, settings.more.extra_ca(target.endpoint))))
    # Not where the operator said "direct"; a PAC file, or no proxy at all, says less.
    named = choice.decided_by == "rule" and all(
        isinstance(route, Direct) for route in choice.candidates
    )
    watched = not named and settings.bypass.match(target.endpoint) is None
    return tuple(
        Call(
            destination=target.endpoint,
            route=route,
            tls=target.tls,
            # A WebSocket needs a tunnel even without TLS: proxies drop Upgrade.
            tunnel=target.tls
            or target.websocket
            or (isinstance(route, ViaProxy) and route.proxy.socks),
            trust=settings.trust,
            credentials=route.credentials if isinstance(route, ViaProxy) else None,
            extra_ca=extra_ca,
            watched=watched,
            pin=pin,
            known=known,
            led=led,
            strict=settings.more.strict,
        )
        for route in choice.candidates
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """An open connection. peer: of the destination's TLS. interceptor: DER of the operator's CA
    its chain ends at, where that means interception. pinned: the CA a pin stood for."""

    addresses: tuple[Address, ...]
    peer: Peer | None = None
    interceptor: bytes | None = None
    pinned: Certificate | None = None
    place: Place = "public"
    """Where the destination is; by a proxy it counts as public."""

    @property
    def intercepted_by(self) -> str | None:
        """The CA that opens TLS on the way."""
        return None if self.interceptor is None else Certificate.read(self.interceptor).subject

    def interception(self, host: str) -> Interception | None:
        """How sure it is that TLS to `host` is opened on the way."""
        if self.interceptor is None or self.peer is None:
            return None
        chain = read_chain(Chain(self.peer.verified, verified=True))
        return judge_trusted(host, chain, SIGHTINGS.of(host, chain))


def open_call(call: Call, trace: Trace) -> Plan[Opened]:
    """Open the way to the destination, one trace step per hop.

    Raises EgressError, with `trace` and `route` set.
    """
    trace.target = str(call.destination)
    try:
        return (yield from _Way(call, trace).open())
    except EgressError as error:
        error.trace, error.route = trace, call.route
        raise


# --- the way --------------------------------------------------------------------------------

_RESOLVER_FAILED = (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM)
_TRY_NEXT = {1, 3, 4, 5, 6, 8}
"""SOCKS replies after which another address of the name may do."""
_UNKNOWN_CA = {2, 18, 19, 20, 21}
_EXPIRED = {10}
_NOT_YET = {9}
_NAME = {62, 64}


@dataclass(frozen=True, slots=True)
class _Look:
    """What a second look saw: the first bytes that came, and the chain if it was TLS."""

    first: bytes = b""
    chain: tuple[Certificate, ...] = ()


class _Way:
    def __init__(self, call: Call, trace: Trace, addresses: tuple[Address, ...] = ()) -> None:
        self.call, self.trace, self.addresses = call, trace, addresses
        self.place: Place = "public"
        self.proxy = call.route.proxy if isinstance(call.route, ViaProxy) else None
        self.first = self.proxy.endpoint if self.proxy else call.destination
        self.sign_in = sign_in_for(call)

    def open(self) -> Plan[Opened]:
        mark = len(self.trace.steps)
        yield from self._reach()
        if self.proxy is not None:
            # The proxy has done its part: the destination may have the rest of the time.
            yield Share(None)
        if not self.call.tls:
            return Opened(self.addresses, place=self.place)
        context = context_for(self.call.trust, f"{self.call.extra_ca}\n{self.call.known}")
        try:
            peer = yield from self._tls(context)
        except (UnknownCaError, InterceptedError) as error:
            pinned = pinned_certificate(error.chain, self.call.pin) if self.call.pin else None
            if pinned is None:
                raise
        else:
            return Opened(self.addresses, peer, self._interceptor(peer), place=self.place)
        # The failed attempt is no part of the way that is used.
        del self.trace.steps[mark:]
        yield from self._reach()
        peer = yield from self._tls(pinned_context(pinned))
        return Opened(self.addresses, peer, pinned=pinned, place=self.place)

    def _interceptor(self, peer: Peer) -> bytes | None:
        if not self.call.watched:
            return None
        own = set(self.call.trust.ders)
        return next((der for der in reversed(peer.verified) if der in own), None)

    def _reach(self) -> Plan[None]:
        """Up to where the destination's own bytes begin."""
        yield from self._resolve()
        yield from self._tcp()
        if self.proxy and self.proxy.scheme == "https":
            yield from self._proxy_tls()
        if self.proxy and self.proxy.socks:
            yield from self._socks_tunnel()
        elif self.proxy and self.call.tunnel:
            yield from self._tunnel()

    def _resolve(self) -> Plan[None]:
        with self.trace.step("resolve", self.first.host) as step:
            try:
                self.addresses = yield Resolve(self.first)
            except TimeoutError:
                raise NameServerError(self.first) from None
            except OSError as error:
                raise self._unresolved(error.errno) from None
            step.detail = ", ".join(dict.fromkeys(map(str, self.addresses)))
            self._check_place()

    def _check_place(self) -> None:
        """After resolving and before connecting, so that no name leads where no address may."""
        led, destination = self.call.led, self.call.destination
        if led is None:
            return
        if self.proxy is not None:
            place = led.refused_by_proxy(destination.host)
        else:
            place = led.refused(map(str, self.addresses))
            # Of several, only those that may be called are.
            self.addresses = tuple(one for one in self.addresses if led.refused([str(one)]) is None)
        if place is not None:
            raise LedAstrayError(led.by, destination, WORDS[place])

    def _unresolved(self, number: int | None) -> EgressError:
        if number in _RESOLVER_FAILED:
            return NameServerError(self.first)
        if self.proxy:
            return ProxyUnknownError(self.first)
        return DestinationUnknownError(self.first, self.call.route.because)

    def _tcp(self) -> Plan[None]:
        started = self.trace.clock()
        with self.trace.step("tcp", self.first) as step:
            try:
                address = yield Connect(self.addresses)
            except OSError as error:
                raise self._unconnected(error, self.trace.clock() - started) from None
            step.detail = str(address)
            if self.proxy is None:
                self.place = place_named(str(address)) or "public"

    def _unconnected(self, error: OSError, seconds: float) -> EgressError:
        proxied = self.proxy is not None
        if isinstance(error, TimeoutError):
            kind = ProxyConnectTimeoutError if proxied else ConnectTimeoutError
            return kind(self.first, seconds)
        if isinstance(error, ConnectionRefusedError):
            return (ProxyConnectionRefusedError if proxied else ConnectionRefusedDirectError)(
                self.first
            )
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
            return (ProxyUnreachableError if proxied else UnreachableError)(self.first)
        return ConnectFailedError(self.first, errno.errorcode.get(error.errno or 0, "an error"))

    # TLS to the proxy

    def _proxy_tls(self) -> Plan[None]:
        started = self.trace.clock()
        with self.trace.step("proxy-tls", self.first) as step:
            try:
                peer = yield StartTls(context_for(self.call.trust), self.first.host)
            except EarlyData as early:
                raise self._proxy_not_tls(early.data) from None
            except ssl.SSLCertVerificationError as error:
                look = yield from self._look(behind=False)
                step.certificates = _presented(look.chain)
                raise _proxy_certificate_error(
                    self.first, error.verify_code, error.verify_message, look.chain
                ) from None
            except TimeoutError:
                seconds = self.trace.clock() - started
                raise ProxyTlsTimeoutError(self.first, seconds) from None
            except OSError as error:
                raise (yield from self._proxy_tls_failure(error)) from None
            _tell(step, peer)

    def _proxy_tls_failure(self, error: OSError) -> Plan[EgressError]:
        if _is_closed(error):
            if (yield from self._speaks_socks()):
                other = ProxySpeaksSocksError(self.first)
                other.hop = "proxy-tls"
                return other
            return ProxyTlsClosedError(self.first)
        reason = _reason(error)
        if _wants_certificate(reason):
            return ProxyClientCertificateError(self.first)
        if "_ALERT_" not in reason:
            look = yield from self._look(behind=False)
            if look.first and service_of(look.first) != "tls":
                return self._proxy_not_tls(look.first)
        return ProxyTlsFailedError(self.first, reason)

    def _proxy_not_tls(self, first: bytes) -> EgressError:
        assert self.proxy is not None
        service = service_of(first)
        if service == "http":
            return ProxySpeaksHttpError(self.proxy)
        error = _not_http(self.first, first)
        error.hop = "proxy-tls"
        return error

    # The tunnel

    def _tunnel(self) -> Plan[None]:
        destination = self.call.destination
        with self.trace.step("tunnel", destination) as step:
            exchange = yield from self.signed_in(
                "CONNECT",
                str(destination),
                lambda header: connect_exchange(destination, header, self.scrub),
            )
            answer = exchange.answer
            assert answer is not None
            if not 200 <= answer.status < 300:
                error = refusal(self.first, destination, answer)
                if isinstance(error, ProxyDeniedError) and (yield from self._allows_443()):
                    error = ProxyPortDeniedError(self.first, destination, answer)
                raise error
            if exchange.trailing:
                page = yield from self._rest(exchange.trailing)
                raise portal(self.first, destination, answer.status, page)
            step.detail = f"CONNECT: {answer.status}"

    def _allows_443(self) -> Plan[bool]:
        """Whether the proxy would open a tunnel to the same host, but to the port of HTTPS.

        Only asked when another port was refused; the tunnel, if there is one, is dropped.
        """
        if self.call.strict or self.call.destination.port == 443:
            return False
        other = Endpoint(self.call.destination.host, 443)
        way = _Way(replace(self.call, destination=other), Trace(self.trace.clock), self.addresses)
        allowed = True
        yield Limit(LOOK_SECONDS)
        try:
            yield Connect(self.addresses)
            yield from way._tunnel_again()
        except ProxyAnswerError as error:
            allowed = error.hop == "tunnel" and not isinstance(error, ProxyDeniedError)
        except (OSError, AnswerFault, EarlyData, EgressError):
            allowed = False
        yield Limit(None)
        return allowed

    @property
    def scrub(self) -> Scrub:
        return self.sign_in.scrub if self.sign_in else str

    def signed_in(
        self, method: str, uri: str, make: Callable[[str | None], Exchange]
    ) -> Plan[Exchange]:
        """Send a request to the proxy, and sign in as it asks; the answer is none of 407.

        make: the request with this `Proxy-Authorization`, for each round anew.
        """
        sign_in = self.sign_in
        assert sign_in is not None
        begin = partial(sign_in.begin, method, uri)
        header = (yield from self.token(begin)) if sign_in.begins_bound else begin()
        first = True
        while True:
            exchange = make(header)
            try:
                answer = yield from self.ask_proxy(exchange, fresh=first)
            except ProxyClosedError:
                # Some close after a 407 whatever they announced.
                if first:
                    raise
                lost = True
            else:
                if answer.status != 407:
                    self._accepted()
                    return exchange
                yield from _whole(exchange)
                header = yield from self.token(
                    partial(sign_in.answer, exchange.field_values, method, uri)
                )
                if header is None:
                    raise unauthorised(self.first, self.call.destination, exchange.answer, sign_in)
                lost = not exchange.reusable
            if lost:
                if sign_in.midway:
                    header = yield from self.token(partial(sign_in.give_up, method, uri))
                    if header is None:
                        raise ProxyAuthBrokenError(self.first, self.call.destination, sign_in.last)
                yield from self._again()
            first = lost

    def token(self, function: Callable[[], str | None]) -> Plan[str | None]:
        """What `function` makes; it may ask a Kerberos server."""
        try:
            return (yield Run(function))  # type: ignore[no-any-return]
        except TimeoutError:
            raise ProxyAuthTicketError(
                self.first,
                self.call.destination,
                None,
                "Negotiate",
                "the Kerberos server does not answer",
            ) from None

    def _accepted(self) -> None:
        sign_in = self.sign_in
        if sign_in is not None and sign_in.scheme is not None:
            sign_in.accepted()
            self.trace.add(
                "proxy-auth",
                self.first,
                ok=True,
                detail=sign_in.description,
                negotiated={"auth": NAMES[sign_in.scheme]},
            )

    def _again(self) -> Plan[None]:
        """A new connection to the proxy, as there was; its steps are no news."""
        kept, self.trace = self.trace, Trace(self.trace.clock)
        try:
            yield from self._tcp()
            if self.proxy and self.proxy.scheme == "https":
                yield from self._proxy_tls()
        finally:
            self.trace = kept

    # The tunnel by SOCKS

    def _socks_tunnel(self) -> Plan[None]:
        assert self.proxy is not None
        named = self.call.destination
        targets = [named]
        if self.proxy.scheme == "socks5" and named.ip is None:
            targets = yield from self._resolved_here(named)
        with self.trace.step("tunnel", named) as step:
            for number, target in enumerate(targets, start=1):
                try:
                    signed_in = yield from self._socks(target)
                except SocksRefusal as refused:
                    # Another address of the same name may be the reachable one.
                    if number == len(targets) or refused.reply not in _TRY_NEXT:
                        raise socks_refusal(self.first, target, refused.reply) from None
                    yield from self._again()
                else:
                    break
            if signed_in:
                detail = f'user and password, user "{self.call.credentials.user}"'  # type: ignore[union-attr]
                self.trace.add(
                    "proxy-auth", self.first, ok=True, detail=detail, negotiated={"auth": "SOCKS"}
                )
            where = "" if target == named else f" to {target}"
            step.detail = f"SOCKS5{where}"

    def _resolved_here(self, named: Endpoint) -> Plan[list[Endpoint]]:
        """The addresses to ask for, since `socks5://` leaves names to us."""
        with self.trace.step("resolve", named.host) as step:
            try:
                addresses: tuple[Address, ...] = yield Resolve(named)
            except TimeoutError:
                raise NameServerError(named) from None
            except OSError as error:
                if error.errno in _RESOLVER_FAILED:
                    raise NameServerError(named) from None
                raise SocksUnresolvedError(named, self.first) from None
            found = list(dict.fromkeys(map(str, interleaved(addresses))))[:SOCKS_ADDRESSES]
            if (led := self.call.led) is not None:
                places = [led.refused_by_proxy(one) for one in found]
                if all(places):
                    raise LedAstrayError(led.by, named, WORDS[places[0] or "nowhere"])
                found = [one for one, place in zip(found, places, strict=True) if place is None]
            step.detail = ", ".join(found)
        return [Endpoint(host, named.port) for host in found]

    def _socks(self, target: Endpoint) -> Plan[bool]:
        """One handshake; whether a password was asked for. Raises SocksRefusal."""
        credentials, named = self.call.credentials, self.call.destination
        if credentials is not None:
            try:
                encoded(credentials)
            except ValueError:
                raise SocksCredentialsError(self.first, named) from None
        handshake = SocksHandshake(target, credentials)
        started = self.trace.clock()
        try:
            yield Limit(GREETING_SECONDS)
            while handshake.bound is None:
                if data := handshake.outgoing():
                    yield Send(data)
                handshake.feed((yield Receive()))
                # What follows may have to wait for the destination.
                yield Limit(None)
        except SocksRefusal:
            raise
        except NoMethod:
            if credentials is None:
                raise ProxyAuthRequiredError(self.first, named, None, ()) from None
            raise SocksSignInError(self.first, named) from None
        except BadPassword:
            raise sign_in_refused(self.first, named, None, credentials) from None
        except NotSocks as fault:
            raise self._not_socks(fault.first) from None
        except TimeoutError:
            seconds = self.trace.clock() - started
            if handshake.received == 0 and (other := (yield from self._other_than_socks())):
                raise other from None
            raise ProxySilentError(self.first, seconds, handshake.received) from None
        except (SocksClosed, OSError):
            raise (yield from self._socks_hung_up(handshake.received)) from None
        if handshake.trailing and not self.call.tls:
            raise BadAnswerError(named)
        if handshake.trailing:
            raise (yield from self._not_tls(handshake.trailing))
        return handshake.bound.signed_in

    def _not_socks(self, first: bytes) -> EgressError:
        assert self.proxy is not None
        service = service_of(first) or "other"
        if service == "tls":
            return ProxySpeaksTlsError(self.first)
        if service == "http":
            error = ProxySpeaksHttpError(self.proxy)
            error.hop = "tunnel"
            return error
        return ProxyNotSocksError(self.first, service, banner_of(first))

    def _socks_hung_up(self, received: int) -> Plan[EgressError]:
        other = (yield from self._other_than_socks()) if received == 0 else None
        return other or ProxyClosedError(self.first)

    def _other_than_socks(self) -> Plan[EgressError | None]:
        """Greet in HTTP and in TLS: a port that keeps silent to SOCKS, or hangs up."""
        hello = Exchange("OPTIONS", "*", [("Host", str(self.first))]).outgoing
        look = yield from self._first_bytes(hello)
        if not look or service_of(look) not in ("http", "tls"):
            look = (yield from self._look(behind=False)).first
        return self._not_socks(look) if look and service_of(look) in ("http", "tls") else None

    def _first_bytes(self, greeting: bytes) -> Plan[bytes]:
        """What the first hop answers to a greeting, on a connection of its own; never raises."""
        first = b""
        yield Limit(LOOK_SECONDS)
        try:
            yield Connect(self.addresses)
            yield Send(greeting)
            while len(first) < 5 and (data := (yield Receive())):
                first += data
        except OSError:
            pass
        yield Limit(None)
        return first

    def ask_proxy(self, exchange: Exchange, *, fresh: bool = True) -> Plan[Answer]:
        """Send a request to the proxy; raises the error for whatever is no answer.

        fresh: nothing was sent on this connection yet, so who hangs up may speak another protocol.
        """
        started = self.trace.clock()
        left: float = yield Left()
        if left > 2 * GUESS_SECONDS:
            yield Limit(left - GUESS_SECONDS)
        try:
            answer = yield from ask(exchange)
            yield Limit(None)
            return answer
        except NotHttp as fault:
            if fault.service == "tls":
                raise ProxySpeaksTlsError(self.first) from None
            raise _not_http(self.first, exchange.first) from None
        except HeadTooLarge:
            raise ProxyHeadTooLargeError(self.first) from None
        except ClosedEarly as fault:
            raise (yield from self._proxy_hung_up(fault.received, fresh)) from None
        except AnswerFault:
            raise ProxyBadAnswerError(self.first) from None
        except TimeoutError:
            seconds = self.trace.clock() - started
            if fresh and exchange.received == 0 and (yield from self._speaks_socks()):
                raise ProxySpeaksSocksError(self.first) from None
            raise ProxySilentError(self.first, seconds, exchange.received) from None
        except OSError as error:
            # TLS 1.3 tells of a missing client certificate only at the first read.
            if _wants_certificate(_reason(error)):
                raise ProxyClientCertificateError(self.first) from None
            raise (yield from self._proxy_hung_up(exchange.received, fresh)) from None

    def _proxy_hung_up(self, received: int, fresh: bool) -> Plan[EgressError]:
        yield Limit(None)
        if fresh and received == 0 and self.proxy and self.proxy.scheme == "http":
            look = yield from self._look(behind=False)
            if service_of(look.first) == "tls":
                return ProxySpeaksTlsError(self.first)
            if not look.first and (yield from self._speaks_socks()):
                return ProxySpeaksSocksError(self.first)
        return ProxyClosedError(self.first)

    def _speaks_socks(self) -> Plan[bool]:
        return (yield from self._first_bytes(SOCKS_GREETING))[:1] == b"\x05"

    def _rest(self, start: bytes) -> Plan[str]:
        """What follows, as text: the page of a portal."""
        page = bytearray(start)
        yield Limit(BODY_SECONDS)
        try:
            while len(page) < 4096 and (data := (yield Receive())):
                page += data
        except OSError:
            pass
        yield Limit(None)
        return bytes(page[:4096]).decode("utf-8", "replace")

    # TLS to the destination

    def _tls(self, context: ssl.SSLContext) -> Plan[Peer]:
        destination, proxied = self.call.destination, self.proxy is not None
        started = self.trace.clock()
        with self.trace.step("tls", destination) as step:
            try:
                peer: Peer = yield StartTls(context, destination.host)
            except EarlyData as early:
                raise (yield from self._not_tls(early.data)) from None
            except ssl.SSLCertVerificationError as error:
                look = yield from self._look(behind=True)
                step.certificates = _presented(look.chain)
                raise (yield from self._certificate_error(error, look.chain)) from None
            except TimeoutError:
                seconds = self.trace.clock() - started
                raise TlsTimeoutError(destination, seconds, proxied) from None
            except OSError as error:
                raise (yield from self._tls_failure(error)) from None
            _tell(step, peer)
            return peer

    def _tls_failure(self, error: OSError) -> Plan[EgressError]:
        destination = self.call.destination
        if _is_closed(error):
            return TlsClosedError(destination, self.proxy is not None)
        reason = _reason(error)
        if _wants_certificate(reason):
            return ClientCertificateError(destination)
        if "_ALERT_" not in reason:
            look = yield from self._look(behind=True)
            if look.first and service_of(look.first) != "tls":
                return (yield from self._not_tls(look.first))
        return TlsFailedError(destination, reason)

    def _not_tls(self, first: bytes) -> Plan[EgressError]:
        """Behind a tunnel it is a portal's page; reached directly, another service."""
        if self.proxy is not None and not self.proxy.socks:
            page = yield from self._rest(first)
            return portal(self.first, self.call.destination, 200, page)
        service = {"http": "an HTTP server", "ssh": "an SSH server"}
        return NotTlsError(
            self.call.destination, service.get(service_of(first) or "", "another service")
        )

    def _certificate_error(
        self, error: ssl.SSLCertVerificationError, chain: tuple[Certificate, ...]
    ) -> Plan[CertificateError]:
        destination, code = self.call.destination, error.verify_code
        proxied = self.proxy is not None
        if code in _UNKNOWN_CA:
            # A root in the chain proves nothing: many servers of private CAs send theirs too.
            if found := (yield from self._interception(chain)):
                return InterceptedError(destination, chain, proxied, found)
            return UnknownCaError(destination, chain, proxied)
        if code in _EXPIRED:
            return ExpiredError(destination, chain)
        if code in _NOT_YET:
            return NotYetValidError(destination, chain)
        if code in _NAME:
            return WrongNameError(destination, chain)
        return BadCertificateChainError(destination, error.verify_message, chain)

    def _interception(self, chain: tuple[Certificate, ...]) -> Plan[Interception | None]:
        """Whether an untrusted chain is somebody's on the way."""
        host = self.call.destination.host
        seen, public = SIGHTINGS.of(host, chain), bool(system_store())
        found = judge(host, chain, sighting=seen, public_store=public)
        # A pinned CA is expected to be unknown: no further question is asked then.
        if chain and self.call.pin is None and (found is None or found.certainty != "certain"):
            name = invented_name(chain)
            look = yield from self._look(behind=True, name=name)
            if look.chain and name in look.chain[0].names:
                found = judge(host, chain, minted=True)
        SIGHTINGS.note(host, chain, found)
        return found

    # The second look

    def _look(self, *, behind: bool, name: str = "") -> Plan[_Look]:
        """Open the way again and read what answers a TLS greeting; nothing is sent after it.

        behind: look at the destination, through the tunnel if there is one; else at the first hop.
        name: to greet with, instead of the right one.
        Never raises: what could not be seen stays empty.
        """
        glimpse = _Glimpse(name or (self.call.destination.host if behind else self.first.host))
        yield Limit(LOOK_SECONDS)
        try:
            yield Connect(self.addresses)
            if behind and self.proxy is not None:
                yield from self._tunnel_again()
            while not glimpse.done:
                if data := glimpse.outgoing():
                    yield Send(data)
                glimpse.feed((yield Receive()))
        except (OSError, AnswerFault, EarlyData, EgressError):
            pass
        yield Limit(None)
        return _Look(glimpse.first, glimpse.chain)

    def _tunnel_again(self) -> Plan[None]:
        """Another tunnel, on the connection there is; without steps."""
        assert self.proxy is not None
        kept, self.trace = self.trace, Trace(self.trace.clock)
        self.sign_in = sign_in_for(self.call)
        try:
            if self.proxy.scheme == "https":
                yield from self._proxy_tls()
            if self.proxy.socks:
                yield from self._socks_tunnel()
            else:
                yield from self._tunnel()
        finally:
            self.trace = kept

    def find(self) -> Plan[None]:
        """Look up the first hop's addresses."""
        yield from self._resolve()

    def speaks_tls_within(self) -> Plan[bool]:
        """Whether a greeting of TLS is answered with TLS behind the tunnel."""
        return service_of((yield from self._look(behind=True)).first or b"?") == "tls"


class _Glimpse:
    """A TLS handshake over bytes that accepts any certificate and goes no further."""

    def __init__(self, name: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = looking_context().wrap_bio(self._in, self._out, server_hostname=name)
        self.first = b""
        self.chain: tuple[Certificate, ...] = ()
        self.done = False
        self._go()

    def outgoing(self) -> bytes:
        return self._out.read()

    def feed(self, data: bytes) -> None:
        self.first = (self.first + data)[:4096]
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
        self._go()
        if not data:
            self.done = True

    def _go(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            self.done = True
            return
        self.done = True
        try:
            self.chain = tuple(map(Certificate.read, presented_chain(self._tls)))
        except ValueError:
            self.chain = ()


def ask(exchange: Exchange) -> Plan[Answer]:
    """Send a request; the answer, with the start of its body unless that is a stream.

    Raises AnswerFault, OSError.
    """
    yield Send(exchange.outgoing)
    while exchange.answer is None:
        exchange.feed((yield Receive()))
    if not exchange.streams:
        yield from _keep_body(exchange)
    return exchange.answer


def _keep_body(exchange: Exchange) -> Plan[None]:
    """Wait a little for the start of the body; whatever came will do."""
    yield Limit(BODY_SECONDS)
    try:
        while not exchange.complete:
            exchange.feed((yield Receive()))
    except (OSError, AnswerFault):
        pass
    yield Limit(None)


def _not_http(proxy: Endpoint, first: bytes) -> ProxyNotHttpError:
    service = "an SSH server" if service_of(first) == "ssh" else "another service"
    return ProxyNotHttpError(proxy, service, banner_of(first))


def _proxy_certificate_error(
    proxy: Endpoint, code: int, reason: str, chain: Sequence[Certificate]
) -> CertificateError:
    if code in _UNKNOWN_CA:
        return ProxyUnknownCaError(proxy, chain)
    if code in _EXPIRED:
        return ProxyExpiredError(proxy, chain)
    if code in _NOT_YET:
        return NotYetValidError(proxy, chain, "proxy-tls")
    if code in _NAME:
        return ProxyWrongNameError(proxy, chain)
    return ProxyBadCertificateError(proxy, reason, chain)


def _reason(error: OSError) -> str:
    """OpenSSL's name for a failure, such as `TLSV13_ALERT_CERTIFICATE_REQUIRED`, or ''."""
    return (error.reason or "") if isinstance(error, ssl.SSLError) else ""


def _is_closed(error: OSError) -> bool:
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or not isinstance(
        error, ssl.SSLError
    )


def wants_certificate(error: BaseException | None) -> bool:
    """Whether `error` or what caused it is the peer's wish for a client certificate."""
    while error is not None:
        if isinstance(error, OSError) and _wants_certificate(_reason(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _wants_certificate(reason: str) -> bool:
    return reason.endswith("_ALERT_CERTIFICATE_REQUIRED")


def _tell(step: OpenStep, peer: Peer) -> None:
    step.detail = f"{peer.version}, {peer.cipher}"
    step.negotiated = {"tls": peer.version, "cipher": peer.cipher}
    if peer.alpn:
        step.negotiated = {**step.negotiated, "alpn": peer.alpn}
    step.certificates = Chain(peer.verified, verified=True)


def _presented(chain: Sequence[Certificate]) -> Chain:
    return Chain(tuple(one.der for one in chain), verified=False)


# --- the connection test --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checked:
    """A test that reached its end."""

    opened: Opened
    answer: Answer


def check(call: Call, target: Target, trace: Trace, key: bytes) -> Plan[Checked]:
    """Open the way and ask for `target` once. key: 16 random bytes, for a WebSocket.

    Any status below 500 means that the destination was reached.

    Raises EgressError, with `trace` and `route` set.
    """
    opened = yield from open_call(call, trace)
    try:
        if target.websocket:
            answer = yield from _upgrade(call, target, trace, opened, key)
        else:
            answer = yield from _get(call, target, trace, opened)
    except EgressError as error:
        error.trace, error.route = trace, call.route
        error.intercepted_by = opened.intercepted_by
        error.interception = opened.interception(call.destination.host)
        raise
    return Checked(opened, answer)


def _get(call: Call, target: Target, trace: Trace, opened: Opened) -> Plan[Answer]:
    destination = target.endpoint

    def make(header: str | None, scrub: Scrub) -> Exchange:
        return get_exchange(target, absolute=call.absolute, authorization=header, scrub=scrub)

    with trace.step("http", destination) as step:
        exchange = yield from request(call, Ask("GET", target, make), trace, opened)
        answer = exchange.answer
        assert answer is not None
        step.negotiated = {"http": exchange.http_version}
        if wants_certificate_by_page(answer):
            raise _certificate_wanted(destination, answer, opened)
        if answer.status >= 500:
            raise DestinationFailedError(destination, answer)
        step.detail = _status_detail(answer, destination)
    return answer


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to be sent. make: its bytes with this `Proxy-Authorization`, and what takes that
    out of the answer again; called once for each round of signing in."""

    method: str
    target: Target
    make: Callable[[str | None, Scrub], Exchange]


def request(call: Call, asked: Ask, trace: Trace, opened: Opened) -> Plan[Exchange]:
    """Send a request on the open connection; any answer of the destination is returned.

    Raises EgressError: what came was a proxy's own answer, or none.
    """
    if not isinstance(call.route, ViaProxy) or not call.absolute:
        exchange = asked.make(None, str)
        answer = yield from _ask_destination(exchange, call.destination, trace)
        if opened.interceptor is not None and is_proxys_own(answer):
            raise InspectorFailedError(call.destination, (yield from _whole(exchange)))
        return exchange
    way = _Way(call, trace, opened.addresses)
    exchange = yield from way.signed_in(
        asked.method, asked.target.absolute, lambda header: asked.make(header, way.scrub)
    )
    assert exchange.answer is not None
    if is_refusal(exchange.answer):
        answer = yield from _whole(exchange)
        raise refusal(call.route.proxy.endpoint, call.destination, answer)
    return exchange


def _whole(exchange: Exchange) -> Plan[Answer]:
    if exchange.streams:
        exchange.keep_body()
        yield from _keep_body(exchange)
    assert exchange.answer is not None
    return exchange.answer


def begin(call: Call, asked: Ask, trace: Trace) -> Plan[tuple[Opened, Exchange]]:
    """Open the way and send a request whose answer's body is then streamed.

    Raises EgressError, with `trace` and `route` set.
    """
    opened = yield from open_call(call, trace)
    return opened, (yield from resume(call, asked, trace, opened))


def resume(call: Call, asked: Ask, trace: Trace, opened: Opened) -> Plan[Exchange]:
    """The next request on a connection that `begin` opened. Raises as `begin`."""
    try:
        return (yield from request(call, asked, trace, opened))
    except EgressError as error:
        error.trace, error.route = trace, call.route
        error.intercepted_by = opened.intercepted_by
        error.interception = opened.interception(call.destination.host)
        raise


def sign_in_for(call: Call) -> SignIn | None:
    """How to sign in to the proxy of a call; None when it has none, or one of SOCKS."""
    route = call.route
    if not isinstance(route, ViaProxy) or route.proxy.socks:
        return None
    return SignIn(route.proxy, route.auth, call.credentials)


def prime(
    call: Call, trace: Trace, opened: Opened, sign_in: SignIn, method: str, uri: str
) -> Plan[str | None]:
    """The rounds of signing in that come before a request in absolute form which a library sends.

    NTLM belongs to a connection: its first token goes with the request's method and no body, which
    a proxy answers with 407 and passes on to nobody. Gives the header for the request itself.

    Raises EgressError.
    """
    way = _Way(call, trace, opened.addresses)
    header = yield from way.token(partial(sign_in.begin, method, uri))
    if header is None or sign_in.scheme != "ntlm":
        return header
    fields = [("Host", str(call.destination)), ("Content-Length", "0")]
    exchange = Exchange(
        method, uri, [*fields, ("Proxy-Authorization", header)], scrub=sign_in.scrub
    )
    answer = yield from way.ask_proxy(exchange)
    if answer.status != 407:
        return None
    yield from _whole(exchange)
    following = yield from way.token(partial(sign_in.answer, exchange.field_values, method, uri))
    if following is None:
        raise unauthorised(way.first, call.destination, exchange.answer, sign_in)
    if not exchange.reusable:
        raise ProxyAuthBrokenError(way.first, call.destination, "NTLM")
    return following


def diagnose(call: Call, trace: Trace) -> Plan[None]:
    """Ask the proxy for nothing in particular: raises the error that says what it is, if any.

    For a request in absolute form that a library sent, and that failed without a cause.
    """
    opened = yield from open_call(call, trace)
    exchange = Exchange("OPTIONS", "*", [("Host", str(call.destination)), ("Connection", "close")])
    yield from _Way(call, trace, opened.addresses).ask_proxy(exchange)


def _upgrade(call: Call, target: Target, trace: Trace, opened: Opened, key: bytes) -> Plan[Answer]:
    text = base64.b64encode(key).decode("ascii")
    exchange = upgrade_exchange(target, text)
    with trace.step("websocket", target.endpoint) as step:
        try:
            answer = yield from _ask_destination(exchange, target.endpoint, trace)
        except (ClosedError, BadAnswerError):
            yield from look_into_tunnel(call, opened.addresses)
            raise
        accept = dict(exchange.field_values).get("sec-websocket-accept", "")
        if wants_certificate_by_page(answer):
            raise _certificate_wanted(target.endpoint, answer, opened)
        if answer.status != 101 or accept.strip() != accept_key(text):
            raise upgrade_error(target.endpoint, answer, opened.interceptor)
        step.detail = "WebSocket open"
    # A close frame (RFC 6455 section 5.5.1) with a mask; the answer is not waited for.
    yield Send(b"\x88\x80" + key[:4])
    return answer


def _certificate_wanted(destination: Endpoint, answer: Answer, opened: Opened) -> EgressError:
    found = opened.interception(destination.host)
    if found is not None and found.certainty != "possible":
        return ClientCertificateLostError(destination, answer)
    error = ClientCertificateError(destination, answer)
    error.hop = "http"
    return error


def look_into_tunnel(call: Call, addresses: tuple[Address, ...] = ()) -> Plan[None]:
    """After a plain WebSocket was closed without an answer.

    Raises TunnelInspectedError: it is the proxy that speaks TLS in there.
    """
    if call.tls or not isinstance(call.route, ViaProxy) or call.route.proxy.socks:
        return
    way = _Way(call, Trace(lambda: 0.0), addresses)
    if not addresses:
        yield from way.find()
    if (yield from way.speaks_tls_within()):
        raise TunnelInspectedError(call.destination)


def accept_key(key: str) -> str:
    """The only right `Sec-WebSocket-Accept` (RFC 6455 section 1.3)."""
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    digest = hashlib.sha1(f"{key}{guid}".encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def upgrade_error(destination: Endpoint, answer: Answer, interceptor: bytes | None) -> EgressError:
    """Why a WebSocket did not open: the statuses a server gives to a GET without `Upgrade`, seen
    through an interceptor, mean that it was removed on the way.

    The operator's CA may also be the destination's own, so a `Via` must tell of somebody between.
    """
    if interceptor is not None and is_proxys_own(answer):
        return InspectorFailedError(destination, answer)
    between = interceptor is not None and "via" in answer.headers
    if between and answer.status in (200, 400, 426):
        return UpgradeStrippedError(destination, answer)
    return UpgradeRefusedError(destination, answer)


def _ask_destination(exchange: Exchange, destination: Endpoint, trace: Trace) -> Plan[Answer]:
    started = trace.clock()
    try:
        return (yield from ask(exchange))
    except TimeoutError:
        raise AnswerTimeoutError(destination, trace.clock() - started) from None
    except ClosedEarly:
        raise ClosedError(destination) from None
    except AnswerFault:
        raise BadAnswerError(destination) from None
    except OSError as error:
        if _wants_certificate(_reason(error)):
            raise ClientCertificateError(destination) from None
        raise ClosedError(destination) from None


def _status_detail(answer: Answer, destination: Endpoint) -> str:
    if host := redirected_to(answer, destination):
        return f"HTTP {answer.status}, redirects to {host}"
    return f"HTTP {answer.status}"


def redirected_to(answer: Answer, destination: Endpoint) -> str:
    """The other host that an answer leads to, or empty."""
    host = answer.headers.get("location", "").partition("://")[2].partition("/")[0]
    host = host.rpartition("@")[2].partition(":")[0]
    return host if 300 <= answer.status < 400 and host != destination.host else ""
