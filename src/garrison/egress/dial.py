"""Plans on asyncio: `dial` opens the way to a destination as a byte stream.

One deadline holds for everything from names to TLS. Works on uvloop as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from garrison.egress.addresses import STAGGER, interleaved, worst
from garrison.egress.endpoint import Endpoint, Purpose
from garrison.egress.failover import first_that_works
from garrison.egress.plan import (
    Address,
    Call,
    Connect,
    EarlyData,
    Left,
    Limit,
    Opened,
    Operation,
    Peer,
    Plan,
    Receive,
    Resolve,
    Run,
    Send,
    Share,
    StartTls,
    open_call,
)
from garrison.egress.record import Observer, teller
from garrison.egress.trace import Trace
from garrison.egress.trust import verified_chain

T = TypeVar("T")

_GOODBYE_SECONDS = 2.0
"""How long a peer may take to answer the end of TLS."""


class Stream:
    """An open connection, to be handed to a protocol or dropped."""

    def __init__(self, wire: Wire, opened: Opened, call: Call, trace: Trace) -> None:
        self._wire = wire
        self.opened, self.call, self.trace = opened, call, trace

    def hand_to(self, protocol: asyncio.Protocol) -> None:
        """From now on `protocol` has the connection.

        Raises OSError: it was closed meanwhile.
        """
        self._wire.hand_to(protocol)

    async def run(self, plan: Plan[T]) -> T:
        """Run another plan on it, before it is handed over. Raises EgressError."""
        return await self._wire.run(plan)

    def abort(self) -> None:
        self._wire.drop()


async def dial(
    calls: Sequence[Call],
    *,
    purpose: Purpose,
    timeout: float,
    observer: Observer | None = None,
    trace: Trace | None = None,
) -> Stream:
    """Open the first of `calls` that works; they are tried in order.

    timeout: seconds for everything: names, TCP, TLS, the proxy's answer, second looks.
    trace: gains one step per hop, also when the dial fails. observer: gets one record for each
    that was tried.

    Raises EgressError.
    """
    trace = trace if trace is not None else Trace(time.monotonic)
    wire = Wire(timeout)

    def attempt(call: Call) -> Plan[tuple[Call, Opened]]:
        return call, (yield from open_call(call, trace))

    tell = teller(observer, purpose)
    call, opened = await wire.run(first_that_works(calls, trace, attempt, tell))
    return Stream(wire, opened, call, trace)


class Wire:
    """Performs the operations of one plan on one connection at a time."""

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + timeout
        self._share = self._deadline = self._end
        self._transport: asyncio.Transport | None = None
        self._pipe = _Pipe()

    async def run(self, plan: Plan[T]) -> T:
        """Run a plan to its end; when it raises, the connection is dropped."""
        try:
            operation = plan.send(None)
            while True:
                try:
                    result = await self._perform(operation)
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

    async def _perform(self, operation: Operation) -> Any:
        if isinstance(operation, Left):
            return self._end - self._loop.time()
        if isinstance(operation, Limit | Share):
            now, seconds = self._loop.time(), operation.seconds
            if isinstance(operation, Share):
                self._share = self._end if seconds is None else min(self._end, now + seconds)
                seconds = None
            self._deadline = self._share if seconds is None else min(self._share, now + seconds)
            return None
        if isinstance(operation, Send):
            self._pipe.check()
            self._open().write(operation.data)
            return None
        if isinstance(operation, Resolve) and operation.endpoint.ip is not None:
            return _resolved(operation.endpoint)
        async with asyncio.timeout_at(self._deadline):
            match operation:
                case Resolve(endpoint):
                    return await asyncio.to_thread(_resolved, endpoint)
                case Connect(addresses):
                    return await self._connect(addresses)
                case StartTls(context, name):
                    return await self._start_tls(context, name)
                case Run(function):
                    return await asyncio.to_thread(function)
                case Receive():
                    return await self._pipe.receive()

    async def _connect(self, addresses: tuple[Address, ...]) -> Address:
        self.drop()
        address, sock = await _first_to_answer(self._loop, interleaved(addresses))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A session may be silent for long; a peer that vanished is to be noticed.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._pipe = _Pipe()
            transport, _ = await self._loop.create_connection(lambda: self._pipe, sock=sock)
        except BaseException:
            sock.close()
            raise
        self._transport = transport
        return address

    async def _start_tls(self, context: ssl.SSLContext, name: str) -> Peer:
        if early := self._pipe.waiting():
            raise EarlyData(early)
        self._pipe.check()
        transport = await self._loop.start_tls(
            self._open(),
            self._pipe,
            context,
            server_hostname=name,
            # Ours is the shorter one, and says where it passed.
            ssl_handshake_timeout=max(1.0, self._end - self._loop.time() + 60),
            ssl_shutdown_timeout=_GOODBYE_SECONDS,
        )
        assert transport is not None
        self._transport = transport
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        cipher = tls.cipher()
        return Peer(
            verified_chain(tls),
            tls.version() or "",
            cipher[0] if cipher else "",
            tls.selected_alpn_protocol() or "",
        )

    def _open(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionResetError
        return self._transport

    def hand_to(self, protocol: asyncio.Protocol) -> None:
        self._pipe.check()
        transport = self._open()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if waiting := self._pipe.waiting():
            protocol.data_received(waiting)
        self._transport = None

    def drop(self) -> None:
        """Close without waiting for the other side."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


def _resolved(endpoint: Endpoint) -> tuple[Address, ...]:
    """By the system's resolver, which blocks unless the host is an address."""
    found = socket.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    return tuple(Address(int(one[0]), one[4]) for one in found)


class _Pipe(asyncio.Protocol):
    """What arrives, until somebody asks for it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._wake()

    def eof_received(self) -> bool | None:
        self._ended = True
        self._wake()
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._ended, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def waiting(self) -> bytes:
        """Take what arrived, without waiting."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def check(self) -> None:
        """Raises OSError when the connection has ended."""
        if self._error is not None:
            raise self._error if isinstance(self._error, OSError) else ConnectionResetError
        if self._ended and not self._buffer:
            raise ConnectionResetError

    async def receive(self) -> bytes:
        if not self._buffer and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._buffer:
            return self.waiting()
        if isinstance(self._error, OSError):
            raise self._error
        return b""


async def _first_to_answer(
    loop: asyncio.AbstractEventLoop, addresses: list[Address]
) -> tuple[Address, socket.socket]:
    """Connect to the addresses in turn, each a little later or when the one before failed
    (RFC 8305); the first that answers wins."""
    if len(addresses) == 1:
        return addresses[0], await _connect_one(loop, addresses[0])
    errors: list[OSError] = []
    tasks: dict[asyncio.Task[socket.socket], Address] = {}
    queue = list(addresses)
    try:
        while queue or tasks:
            if queue:
                address = queue.pop(0)
                tasks[asyncio.create_task(_connect_one(loop, address))] = address
            done, _ = await asyncio.wait(
                tasks, timeout=STAGGER if queue else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                address = tasks.pop(task)
                error = task.exception()
                if error is None:
                    return address, task.result()
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
        raise worst(errors)
    finally:
        await _cancel(tasks)


async def _cancel(tasks: dict[asyncio.Task[socket.socket], Address]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, OSError):
            (await task).close()


async def _connect_one(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock
