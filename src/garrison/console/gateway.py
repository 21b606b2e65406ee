"""Defender sessions: the listener that Defenders connect to.

Enrolment, sessions, scans handed out and results taken in. Nothing here waits for the database
in the event loop: heartbeats must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from garrison.console import gateway_records as records
from garrison.console.gateway_link import MAX_FRAME, AcceptLimiter, Link
from garrison.console.gateway_records import UnknownDefenderError
from garrison.database import contacts, defenders, scans
from garrison.database.errors import DatabaseError, JoinTokenError, NotFoundError
from garrison.errors import GarrisonError
from garrison.fleet import wire
from garrison.fleet.authority import Authority, InvalidRequestError
from garrison.fleet.channel import ServerIdentity
from garrison.fleet.errors import FleetError, ProtocolError
from garrison.fleet.messages import (
    Acknowledge,
    Answer,
    Contacts,
    EnrolRequest,
    ExplainRequest,
    FromDefender,
    Hello,
    Renew,
    Renewed,
    ScanFailed,
    ScanProgress,
    ScanRequest,
    ScanResult,
    TestRequest,
)
from garrison.packages import Inventory
from garrison.packages import wire as inventory_wire

if TYPE_CHECKING:
    from garrison.database import Database

PATH = "/v1/fleet"

Ingest: TypeAlias = Callable[[str, str, Inventory], None]
"""Takes in a result (Defender id, scan id, inventory), in a worker thread; safe to repeat."""

Fail: TypeAlias = Callable[[str, str, dict[str, Any]], None]
"""Notes that a scan failed (Defender id, scan id, error as a dict), in a worker thread."""

Change: TypeAlias = Callable[[Connection], None]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_THREADS = 4
_INGESTS = 2
_BATCH_SECONDS = 0.1
_MAX_CONTACTS = 1000
_log = structlog.get_logger(__name__)
_websocket_log = logging.getLogger("garrison.gateway.websocket")
# Every port scan would be a traceback otherwise; what matters is logged here.
_websocket_log.setLevel(logging.CRITICAL + 1)


class DefenderNotConnectedError(FleetError):
    """A question for a Defender that has no session now."""

    code = "fleet.defender_not_connected"

    def __init__(self) -> None:
        super().__init__("the Defender is not connected")

    @property
    def hint(self) -> str:
        return "Look at Manage > Defenders for when it was last seen, and at its log for why."


class DefenderSilentError(FleetError):
    """A Defender did not answer a question in time."""

    code = "fleet.defender_silent"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the Defender did not answer within {seconds:g} s")


class ReplacedError(FleetError):
    """Another session of the same Defender has begun."""

    code = "fleet.session_replaced"

    def __init__(self) -> None:
        super().__init__("another session of this Defender was opened")

    @property
    def hint(self) -> str:
        return (
            "If this repeats, two nodes have the same identity (a cloned disk): remove the "
            "Defender's data directory on one of them and let it enrol."
        )


class BadResultError(FleetError):
    """A Defender's result cannot be read."""

    code = "fleet.bad_result"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the Defender's result cannot be read: {reason}")

    @property
    def hint(self) -> str:
        return "Check that Console and Defender are of the same version."


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """What one gateway allows; seconds.

    heartbeat: between a Defender's pings; three may be missed. handshake: from the WebSocket to
    the first message. pending: connections without a session at a time. lease: how long a scan
    waits for a Defender that has gone. poll: between looks for queued scans when nothing wakes.
    """

    heartbeat: float = 25.0
    handshake: float = 15.0
    accepts_per_second: float = 300.0
    pending: int = 2000
    scans_per_defender: int = 2
    lease: float = 90.0
    poll: float = 1.0


@dataclass(slots=True, eq=False)
class _Session:
    """running: scans handed out, with the last progress of each."""

    id: str
    link: Link
    running: dict[str, ScanProgress | None] = field(default_factory=dict)
    questions: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    result: asyncio.Task[None] | None = None


@dataclass(slots=True)
class GatewayCounters:
    """Since the start, for metrics."""

    sessions: int = 0
    enrolments: int = 0
    refusals: int = 0
    results: int = 0


class Gateway:
    """Serves Defenders from `start` to `stop`.

    tls: an `ssl.SSLContext` for the outer TLS (from `console.listeners`), or None.
    listener: a bound socket to serve instead of host and port. contacted: told of every
    connection that a Defender reports.
    """

    def __init__(
        self,
        db: Database,
        authority: Authority,
        *,
        ingest: Ingest,
        fail: Fail,
        host: str = "127.0.0.1",
        port: int = 0,
        listener: Any = None,
        tls: Any = None,
        limits: GatewayLimits | None = None,
        now: Callable[[], datetime] | None = None,
        contacted: Callable[[records.Contacted], None] = lambda record: None,
    ) -> None:
        self._contacted = contacted
        self._db, self._authority = db, authority
        self._ingest, self._fail = ingest, fail
        self._host, self._port, self._listener, self._tls = host, port, listener, tls
        self._limits = limits or GatewayLimits()
        self._now = now or (lambda: datetime.now(UTC))
        self._limiter = AcceptLimiter(self._limits.accepts_per_second)
        self._sessions: dict[str, _Session] = {}
        # Scans that a Defender had when its session ended; it says on its return which are left.
        self._left: dict[str, set[str]] = {}
        self._pending = 0
        self._changes: deque[Change] = deque()
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._seen: set[str] = set()
        self._connected: frozenset[str] | None = frozenset()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keepers: list[asyncio.Task[Any]] = []
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.counters = GatewayCounters()

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, "gateway")
        self._ingesting = asyncio.Semaphore(_INGESTS)
        self._identity = await self._thread(ServerIdentity, self._authority, self._now())
        await self._thread(records.all_disconnected, self._db, self._now())
        self._left = await self._thread(records.running, self._db)
        where = (
            {"sock": self._listener}
            if self._listener is not None
            else {"host": self._host, "port": self._port, "reuse_address": True}
        )
        self._server = await serve(
            self._serve,
            process_request=self._request,
            compression=None,
            max_size=MAX_FRAME,
            max_queue=4,
            ping_interval=None,
            open_timeout=self._limits.handshake,
            close_timeout=2,
            server_header=None,
            logger=_websocket_log,
            ssl=self._tls,
            backlog=2048,
            **where,
        )
        for keep in (self._write_changes, self._hand_out, self._keep_leases):
            self._keepers.append(self._spawn(keep()))

    async def stop(self) -> None:
        """Close every session and the listener."""
        server, self._server = self._server, None
        if server is None:
            return
        # First of all nothing more is handed out: it would count as an attempt and reach nobody.
        await _cancelled(self._keepers)
        sessions = list(self._sessions.values())
        await asyncio.gather(*(session.link.close() for session in sessions))
        server.close()
        await server.wait_closed()
        await _cancelled(list(self._tasks))
        await self._flush_changes()
        self._threads.shutdown()

    @property
    def port(self) -> int:
        """The port listened on; of use when 0 was asked for."""
        if self._server is None:
            raise RuntimeError("the gateway is not listening")
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    def connected(self) -> frozenset[str]:
        """Ids of the Defenders with a session now. Any thread."""
        connected = self._connected
        if connected is None:
            connected = self._connected = frozenset(list(self._sessions))
        return connected

    def scans_wake(self) -> None:
        """A scan was queued: hand it out now. Any thread."""
        self._soon(self._wake.set)

    def disconnect(self, defender_id: str) -> None:
        """Close a Defender's session, because it was removed. Any thread."""

        def close() -> None:
            if (session := self._sessions.get(defender_id)) is not None:
                self._close(session)
                self._spawn(session.link.close(records.RemovedDefenderError()))

        self._soon(close)

    async def ask(
        self, defender_id: str, request: TestRequest | ExplainRequest, timeout: float
    ) -> dict[str, Any]:
        """A Defender's answer: a test or a route, as in interface.md. From any event loop.

        Raises:
            DefenderNotConnectedError, DefenderSilentError
        """
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            asked = asyncio.run_coroutine_threadsafe(
                self._ask(defender_id, request, timeout), self._loop
            )
            return await asyncio.wrap_future(asked)
        return await self._ask(defender_id, request, timeout)

    async def _ask(
        self, defender_id: str, request: TestRequest | ExplainRequest, timeout: float
    ) -> dict[str, Any]:
        session = self._sessions.get(defender_id)
        if session is None:
            raise DefenderNotConnectedError
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        session.questions[request.id] = answer
        try:
            async with asyncio.timeout(timeout):
                await session.link.send(request)
                return await answer
        except TimeoutError:
            raise DefenderSilentError(timeout) from None
        finally:
            session.questions.pop(request.id, None)

    # --- connections -----------------------------------------------------------------------

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Before the WebSocket opens: is it for us, and is it its turn?"""
        if request.path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "Garrison's gateway for Defenders.\n")
        wait, here = self._limiter.reserve(time.monotonic())
        if self._server is None or not here or self._pending >= self._limits.pending:
            self.counters.refusals += 1
            return Response(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Service Unavailable",
                Headers({"Retry-After": str(int(wait) + 1), "Connection": "close"}),
                b"",
            )
        await asyncio.sleep(wait)
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        link = Link(
            connection,
            await self._current_identity(),
            heartbeat=self._limits.heartbeat,
            handshake=self._limits.handshake,
        )
        peer = str((connection.remote_address or ("?",))[0])
        try:
            await self._converse(link, peer)
        except GarrisonError as error:
            self.counters.refusals += 1
            _log.info("connection ended", peer=peer, code=error.code, reason=error.message)
            await link.close(error, retry_after=_retry_after(error))
        except Exception:
            _log.exception("connection failed", peer=peer)
            await link.close()
        else:
            await link.close()

    async def _converse(self, link: Link, peer: str) -> None:
        self._pending += 1
        try:
            first = await self._first(link)
            if first is None:
                return
            if isinstance(first, EnrolRequest):
                await self._enrol(link, first, peer)
                return
            session = await self._open(link, first)
        finally:
            self._pending -= 1
        _log.info(
            "Defender connected",
            defender=session.id,
            name=first.name[: records.MAX_TEXT],
            peer=peer,
            route=first.route[: records.MAX_TEXT],
        )
        try:
            await self._session(session)
        finally:
            self._close(session)
            _log.info("Defender disconnected", defender=session.id)

    async def _first(self, link: Link) -> EnrolRequest | Hello | None:
        while (messages := await link.receive()) is not None:
            for message in messages:
                if isinstance(message, EnrolRequest | Hello):
                    return message
        return None

    async def _enrol(self, link: Link, request: EnrolRequest, peer: str) -> None:
        enrolled = await self._thread(
            records.enrol, self._db, self._authority, request, self._now()
        )
        self.counters.enrolments += 1
        _log.info("Defender enrolled", defender=enrolled.defender_id, peer=peer)
        link.session.enrolled(enrolled)
        await link.flush()

    async def _open(self, link: Link, hello: Hello) -> _Session:
        certificate = link.session.peer_certificate
        if certificate is None:
            raise ProtocolError("a session without a certificate")
        defender = await self._thread(records.admit, self._db, certificate)
        session = _Session(defender, link, dict.fromkeys(hello.scans))
        link.session.welcome(defender, time.monotonic())
        older = self._sessions.get(defender)
        self._sessions[defender] = session
        self._connected = None
        self.counters.sessions += 1
        if older is not None:
            self._spawn(older.link.close(ReplacedError(), retry_after=20))
        now = self._now()
        self._later(lambda c: records.connected(c, defender, hello, now))
        self._renew_leases(session)
        lost = self._left.pop(defender, set()) - set(hello.scans)
        if older is not None:
            lost |= set(older.running) - set(hello.scans)
        if lost:
            await self._thread(records.give_up, self._db, defender, lost, now)
        await link.flush()
        self._wake.set()
        return session

    async def _session(self, session: _Session) -> None:
        while (messages := await session.link.receive()) is not None:
            self._seen.add(session.id)
            for message in messages:
                await self._received(session, message)

    def _close(self, session: _Session) -> None:
        for question in session.questions.values():
            if not question.done():
                question.set_exception(DefenderNotConnectedError())
        if self._sessions.get(session.id) is not session:
            return
        del self._sessions[session.id]
        self._connected = None
        self._seen.discard(session.id)
        if session.running:
            self._left[session.id] = set(session.running)
        now = self._now()
        self._later(lambda c: defenders.disconnected(c, session.id, now))

    # --- messages ----------------------------------------------------------------------------

    async def _received(self, session: _Session, message: FromDefender) -> None:
        match message:
            case ScanProgress(id=scan_id) if scan_id in session.running:
                session.running[scan_id] = message
            case ScanResult() | ScanFailed():
                # One result of a session at a time: the Defender's next one waits unread, its
                # pings do not.
                if session.result is not None:
                    await session.result
                session.result = self._spawn(self._take_in(session, message))
            case Answer(id=question, result=result):
                answer = session.questions.get(question)
                if answer is not None and not answer.done():
                    answer.set_result(result)
            case Contacts(contacts=told) if told:
                now = self._now()
                some = records.contacted(told[:_MAX_CONTACTS], now)
                for each in some:
                    self._contacted(each)
                self._later(lambda c: contacts.add(c, session.id, some))
            case Renew(csr=csr):
                certificate = await self._thread(
                    self._authority.issue_defender, csr, session.id, self._now()
                )
                await session.link.send(
                    Renewed(certificate=certificate, ca=self._authority.certificate_pem)
                )
            case _:
                pass

    async def _take_in(self, session: _Session, message: ScanResult | ScanFailed) -> None:
        """Bring a result into the database, and only then say so."""
        try:
            async with self._ingesting:
                await self._thread(self._store, session.id, message)
        except NotFoundError:
            _log.info("result of an unknown scan", scan=message.id, defender=session.id)
        except Exception as error:
            # Not acknowledged: the Defender keeps it and sends it again.
            _log.exception("result not taken in", scan=message.id, error=type(error).__name__)
            return
        self.counters.results += 1
        session.running.pop(message.id, None)
        with contextlib.suppress(GarrisonError):
            await session.link.send(Acknowledge(id=message.id))
        self._wake.set()

    def _store(self, defender: str, message: ScanResult | ScanFailed) -> None:
        if isinstance(message, ScanFailed):
            self._fail(defender, message.id, msgspec.to_builtins(message.error))
            return
        try:
            inventory = inventory_wire.decode(wire.unpack(message.inventory))
        except (GarrisonError, ValueError) as error:
            reason = error.message if isinstance(error, GarrisonError) else str(error)[:200]
            bad = BadResultError(reason)
            _log.warning("result cannot be read", scan=message.id, reason=reason)
            failure = {"code": bad.code, "message": bad.message, "hint": bad.hint, "who": "you"}
            self._fail(defender, message.id, failure)
            return
        self._ingest(defender, message.id, inventory)

    # --- work kept going -----------------------------------------------------------------------

    async def _hand_out(self) -> None:
        """Queued scans go to Defenders that have room, the idle ones first."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._hand_out_once()
            except DatabaseError as error:
                _log.warning("scans not handed out", code=error.code, reason=error.message)
            except Exception:
                _log.exception("scans not handed out")

    async def _hand_out_once(self) -> None:
        free = [session for session in self._sessions.values() if self._room(session) > 0]
        if not free:
            return
        queued = await self._thread(records.queued, self._db)
        if queued is None:
            return
        free.sort(key=lambda session: len(session.running))
        anybody = queued.anybody
        for session in free:
            if not (anybody or session.id in queued.targets) or self._room(session) <= 0:
                continue
            taken = await self._thread(
                functools.partial(
                    records.claim,
                    self._db,
                    session.id,
                    limit=1 if anybody and len(free) > 1 else self._room(session),
                    lease=timedelta(seconds=self._limits.lease),
                    now=self._now(),
                )
            )
            anybody = anybody and bool(taken)
            for row, access in taken:
                session.running[row.id] = None
                request = ScanRequest(row.id, row.reference, row.platform, access)
                self._spawn(self._send_scan(session, request))
        if anybody:
            self._wake.set()

    def _room(self, session: _Session) -> int:
        return self._limits.scans_per_defender - len(session.running)

    async def _send_scan(self, session: _Session, request: ScanRequest) -> None:
        try:
            await session.link.send(request)
        except GarrisonError:
            # It never got it: no need to wait for the lease, and no more for this session.
            self._close(session)
            session.running.pop(request.id, None)
            await self._thread(records.give_up, self._db, session.id, [request.id], self._now())
            self._wake.set()

    async def _keep_leases(self) -> None:
        """Progress and leases of scans in work, who was seen, and what nobody works on."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, self._limits.lease / 6))
            due = time.monotonic() - last >= self._limits.lease / 3
            for session in list(self._sessions.values()):
                if due or any(session.running.values()):
                    self._renew_leases(session)
            if not due:
                continue
            last = time.monotonic()
            seen, self._seen = self._seen, set()
            if seen:
                now = self._now()
                self._later(functools.partial(_note_seen, seen, now))
            try:
                if await self._thread(records.requeue_lost, self._db, self._now()):
                    self._wake.set()
            except Exception:
                _log.exception("lost scans not queued again")

    def _renew_leases(self, session: _Session) -> None:
        until = self._now() + timedelta(seconds=self._limits.lease)
        for scan_id, progress in session.running.items():
            self._later(functools.partial(_note_progress, session.id, scan_id, progress, until))

    async def _write_changes(self) -> None:
        """Small changes of many sessions, a few transactions a second."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_BATCH_SECONDS)
            self._changed.clear()
            await self._flush_changes()

    async def _flush_changes(self) -> None:
        changes = list(self._changes)
        self._changes.clear()
        if not changes:
            return
        try:
            await self._thread(records.run, self._db, changes)
        except Exception:
            # One of them spoils the transaction: find it, keep the others.
            for change in changes:
                try:
                    await self._thread(records.run, self._db, [change])
                except NotFoundError:
                    continue
                except Exception as error:
                    _log.warning("change not written", error=type(error).__name__)

    async def _current_identity(self) -> ServerIdentity:
        """The inner certificate, made anew every month: a gateway may run for years."""
        if self._now() - self._identity.issued_at > timedelta(days=30):
            self._identity = await self._thread(ServerIdentity, self._authority, self._now())
        return self._identity

    def _later(self, change: Change) -> None:
        self._changes.append(change)
        self._changed.set()

    async def _thread(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, functools.partial(call, *args, **kwargs))

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _soon(self, call: Callable[[], None]) -> None:
        """Call it in the gateway's loop; nothing happens when that has ended."""
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()


def _note_seen(ids: Iterable[str], now: datetime, c: Connection) -> None:
    defenders.seen(c, ids, now)


def _note_progress(
    defender: str, scan_id: str, progress: ScanProgress | None, until: datetime, c: Connection
) -> None:
    done, total, step = (progress.done, progress.total, progress.step) if progress else (0, 0, "")
    bounded = (min(max(number, 0), 1 << 62) for number in (done, total))
    done, total = bounded
    scans.progress(
        c,
        scan_id,
        defender_id=defender,
        done=done,
        total=total,
        step=step[: records.MAX_TEXT],
        lease_until=until,
    )


def _retry_after(error: GarrisonError) -> float | None:
    """A refusal that only a person can change is not asked about every second."""
    if isinstance(error, JoinTokenError | InvalidRequestError | records.RemovedDefenderError):
        return 30.0
    return 20.0 if isinstance(error, UnknownDefenderError) else None
