"""Where the Console listens: plain HTTP on loopback, else TLS with a certificate of its own CA.

The only module of the Console that touches sockets and `ssl`; it opens nothing outgoing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import h11
import structlog
import uvicorn
from cryptography import x509
from uvicorn.protocols.http.h11_impl import H11Protocol

from garrison.console.settings import ConsoleSettings, ListenAddress
from garrison.errors import GarrisonError
from garrison.fleet.authority import Authority

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_RENEW_BEFORE = timedelta(days=45)
_GRACE_SECONDS = 2
_BACKLOG = 2048
HEAD_SECONDS = 20.0
"""For the whole head of a request, from its first byte, or from the connection's beginning."""
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_log = structlog.get_logger(__name__)


class ListenError(GarrisonError):
    """A listener cannot bind its address."""

    code = "console.listen"

    def __init__(self, address: ListenAddress, setting: str, reason: str, hint: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")
        self.address, self._setting, self._hint = address, setting, hint

    @property
    def hint(self) -> str:
        return self._hint


def bind(address: ListenAddress, setting: str) -> socket.socket:
    """A listening socket, so that a taken port is known before anything else is started.

    setting: the option or variable that names the address, for the hint.

    Raises: ListenError.
    """
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise ListenError(
            address, setting, "the name has no address", f"Set {setting} to an IP address."
        ) from error
    family, kind, protocol, _, place = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # A restart must not wait for old connections in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _listen_error(address, setting, error) from error
    return listener


def _listen_error(address: ListenAddress, setting: str, error: OSError) -> ListenError:
    if error.errno == errno.EADDRINUSE:
        return ListenError(
            address,
            setting,
            "another program listens there",
            f"Stop it, or set {setting} to another address.",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ListenError(address, setting, "not allowed", f"Set {setting} to a port above 1023.")
    return ListenError(
        address,
        setting,
        error.strerror or str(error),
        f"Set {setting} to an address of this machine.",
    )


def server_names(listen: ListenAddress, url: str) -> list[str]:
    """Names a certificate for `listen` must hold: what people dial, and this machine's own."""
    names = [urlsplit(url).hostname or ""]
    if listen.is_wildcard:
        names += [socket.gethostname(), "localhost", "127.0.0.1", "::1"]
    else:
        names.append(listen.host)
    return list(dict.fromkeys(name for name in names if name))


def tls_context(
    authority: Authority, names: list[str], directory: Path, now: datetime
) -> ssl.SSLContext:
    """A server context with a certificate for `names`, kept in `directory` over restarts.

    It is issued again when the names or the authority changed, or its end comes near.
    """
    path = directory / "listener.pem"
    pem = _kept(path, authority, names, now)
    if pem is None:
        issued = authority.issue_server(names, now)
        pem = issued.key + issued.chain
        _write_private(path, pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(path)
    return context


def _kept(path: Path, authority: Authority, names: list[str], now: datetime) -> bytes | None:
    try:
        pem = path.read_bytes()
        leaf, issuer = x509.load_pem_x509_certificates(pem)[:2]
        held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    known = {*held.get_values_for_type(x509.DNSName)}
    known |= {str(each) for each in held.get_values_for_type(x509.IPAddress)}
    fresh = leaf.not_valid_after_utc - now > _RENEW_BEFORE
    return pem if fresh and issuer == authority.certificate and known == set(names) else None


def _write_private(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def listener_tls(
    settings: ConsoleSettings, authority: Authority, now: datetime | None = None
) -> ssl.SSLContext | None:
    """The TLS context of the pages' listener; None on loopback, where HTTP is plain."""
    if settings.listen.is_loopback:
        return None
    names = server_names(settings.listen, settings.console_url)
    return tls_context(authority, names, settings.data / "tls" / "console", now or _now())


def gateway_tls(
    settings: ConsoleSettings, authority: Authority, now: datetime | None = None
) -> ssl.SSLContext | None:
    """The outer TLS context of the gateway's listener; None on loopback."""
    if settings.gateway_listen.is_loopback:
        return None
    names = server_names(settings.gateway_listen, settings.defender_url)
    return tls_context(authority, names, settings.data / "tls" / "gateway", now or _now())


class _Protocol(H11Protocol):
    """uvicorn's, with a deadline for the head of a request: a client that sends half of one, or
    nothing at all, must not hold a connection for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._end()
        elif self._deadline is None:
            # The first bytes of the next request; those that follow do not move the deadline.
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_LATE)
            self.transport.close()


class _Server(uvicorn.Server):
    """Signals belong to the program, not to one of its listeners."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, listener: socket.socket, tls: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Serve `app` on `listener` inside the context; leaving it ends within a few seconds."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        # The peer's address is used to slow down guessing: a header must not change it.
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=64 << 10,
    )
    config.load()
    config.ssl = tls
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="console-http")
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await task


def address_of(listener: socket.socket, address: ListenAddress) -> ListenAddress:
    """`address` with the port that was really bound: 0 means any free one."""
    place: Any = listener.getsockname()
    return ListenAddress(address.host, int(place[1]))


def _now() -> datetime:
    return datetime.now(UTC)
