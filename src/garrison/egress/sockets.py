"""Plans on blocking sockets, as `dial` runs them on asyncio."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from garrison.egress.addresses import STAGGER, interleaved, worst
from garrison.egress.endpoint import Endpoint
from garrison.egress.plan import (
    Address,
    Call,
    Connect,
    EarlyData,
    Left,
    Limit,
    Operation,
    Peer,
    Plan,
    Receive,
    Resolve,
    Run,
    Send,
    Share,
    StartTls,
)
from garrison.egress.trace import Trace
from garrison.egress.trust import verified_chain

T = TypeVar("T")
_CHUNK = 64 << 10


class Wire:
    """Performs the operations of one plan on one connection at a time."""

    def __init__(self, timeout: float) -> None:
        self.call: Call | None = None
        """The one whose connection this is."""
        self.trace = Trace(time.monotonic)
        self._end = time.monotonic() + timeout
        self._share = self._deadline = self._end
        self._connection: socket.socket | ssl.SSLSocket | TlsOverTls | None = None

    def run(self, plan: Plan[T]) -> T:
        """Run a plan to its end; when it raises, the connection is dropped."""
        try:
            operation = plan.send(None)
            while True:
                try:
                    result = self._perform(operation)
                except (OSError, EarlyData) as error:
                    operation = plan.throw(error)
                else:
                    operation = plan.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except BaseException:
            self.drop()
            raise
        finally:
            plan.close()

    def _perform(self, operation: Operation) -> Any:
        match operation:
            case Left():
                return self._end - time.monotonic()
            case Share(seconds):
                now = time.monotonic()
                self._share = self._end if seconds is None else min(self._end, now + seconds)
                self._deadline = self._share
                return None
            case Limit(seconds):
                self._deadline = self._share
                if seconds is not None:
                    self._deadline = min(self._share, time.monotonic() + seconds)
                return None
            case Resolve(endpoint):
                return _resolve(endpoint, self._remaining())
            case Connect(addresses):
                return self._connect(addresses)
            case StartTls(context, name):
                return self._start_tls(context, name)
            case Send(data):
                connection = self._open()
                connection.settimeout(self._remaining())
                connection.sendall(data)
                return None
            case Run(function):
                return _within(self._remaining(), function)
            case Receive():
                buffer = bytearray(_CHUNK)
                n = self.receive_into(memoryview(buffer), self._remaining())
                return bytes(buffer[:n])

    def receive_into(self, view: memoryview, timeout: float) -> int:
        connection = self._open()
        connection.settimeout(timeout)
        return connection.recv_into(view)

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _connect(self, addresses: tuple[Address, ...]) -> Address:
        self.drop()
        address, sock = _first_to_answer(interleaved(addresses), self._deadline)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = sock
        return address

    def _start_tls(self, context: ssl.SSLContext, name: str) -> Peer:
        plain = self._open()
        plain.settimeout(self._remaining())
        if isinstance(plain, ssl.SSLSocket):
            tls: ssl.SSLSocket | TlsOverTls = TlsOverTls(plain, context, name)
        else:
            assert isinstance(plain, socket.socket)
            tls = context.wrap_socket(
                plain,
                server_hostname=name,
                suppress_ragged_eofs=False,
                do_handshake_on_connect=False,
            )
        self._connection = tls
        tls.do_handshake()
        cipher = tls.cipher()
        layer = tls.tls if isinstance(tls, TlsOverTls) else tls
        return Peer(
            verified_chain(layer),
            tls.version() or "",
            cipher[0] if cipher else "",
            layer.selected_alpn_protocol() or "",
        )

    def _open(self) -> socket.socket | ssl.SSLSocket | TlsOverTls:
        if self._connection is None:
            raise ConnectionResetError
        return self._connection

    def adopt(self, connection: socket.socket | ssl.SSLSocket | TlsOverTls) -> None:
        """Go on with a connection that is open."""
        self._connection = connection

    def release(self) -> socket.socket | ssl.SSLSocket | TlsOverTls:
        """Hand the connection over; `drop` leaves it alone from now on."""
        connection, self._connection = self._open(), None
        return connection

    def drop(self) -> None:
        """Close without waiting for the other side; may be called again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class TlsOverTls:
    """TLS inside the TLS to an `https://` proxy; the `ssl` module wraps no SSLSocket again."""

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, name: str) -> None:
        self._outer = outer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._buffer = memoryview(bytearray(_CHUNK))

    def do_handshake(self) -> None:
        self._run(self.tls.do_handshake)

    def recv_into(self, buffer: memoryview) -> int:
        return int(self._run(lambda: self.tls.read(len(buffer), buffer)))

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._run(lambda part=view: self.tls.write(part)) :]  # type: ignore[misc]

    def _run(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
                continue
            except ssl.SSLError:
                # The alert tells the peer why; that it may be gone already is no matter.
                with contextlib.suppress(OSError):
                    self._flush()
                raise
            self._flush()
            return result

    def _flush(self) -> None:
        if data := self._out.read():
            self._outer.sendall(data)

    def _fill(self) -> None:
        n = self._outer.recv_into(self._buffer)
        if n:
            self._in.write(self._buffer[:n])
        else:
            self._in.write_eof()

    def settimeout(self, seconds: float | None) -> None:
        self._outer.settimeout(seconds)

    def fileno(self) -> int:
        return self._outer.fileno()

    def version(self) -> str | None:
        return self.tls.version()

    def cipher(self) -> tuple[str, str, int] | None:
        return self.tls.cipher()

    def close(self) -> None:
        self._outer.close()


def _resolve(endpoint: Endpoint, timeout: float) -> tuple[Address, ...]:
    if endpoint.ip is not None:
        return _addresses(endpoint)
    return _within(timeout, lambda: _addresses(endpoint))


def _within(timeout: float, function: Callable[[], T]) -> T:
    """Call `function` in a thread: neither the system's resolver nor Kerberos know a deadline."""
    found: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            found.append(function())
        except BaseException as error:  # handed to the thread that asked
            errors.append(error)

    thread = threading.Thread(target=work, name="egress-wait", daemon=True)
    thread.start()
    thread.join(timeout)
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError
    return found[0]


def _addresses(endpoint: Endpoint) -> tuple[Address, ...]:
    found = socket.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    return tuple(Address(int(one[0]), one[4]) for one in found)


def _first_to_answer(
    addresses: Sequence[Address], deadline: float
) -> tuple[Address, socket.socket]:
    """Connect to the addresses in turn, each a little later or when the one before failed
    (RFC 8305); the first that answers wins."""
    queue, errors = list(addresses), list[OSError]()
    with selectors.DefaultSelector() as selector:
        try:
            while queue or selector.get_map():
                wait = deadline - time.monotonic()
                if wait <= 0:
                    raise TimeoutError
                if queue:
                    _begin_connect(queue.pop(0), selector, errors)
                    wait = min(wait, STAGGER) if queue else wait
                if winner := _ready(selector, wait, errors):
                    return winner
            raise worst(errors)
        finally:
            for key in list(selector.get_map().values()):
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]


def _begin_connect(
    address: Address, selector: selectors.BaseSelector, errors: list[OSError]
) -> None:
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        errors.append(error)
        return
    sock.setblocking(False)
    try:
        sock.connect(address.sockaddr)
    except BlockingIOError:
        pass
    except OSError as error:
        sock.close()
        errors.append(error)
        return
    selector.register(sock, selectors.EVENT_WRITE, address)


def _ready(
    selector: selectors.BaseSelector, wait: float, errors: list[OSError]
) -> tuple[Address, socket.socket] | None:
    if not selector.get_map():
        return None
    for key, _ in selector.select(wait):
        sock = key.fileobj
        assert isinstance(sock, socket.socket)
        selector.unregister(sock)
        if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            sock.close()
            errors.append(OSError(number, ""))
            continue
        return key.data, sock
    return None
