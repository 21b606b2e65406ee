"""A Console's gateway over a real database, and Defenders that connect to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from garrison.console.gateway import Gateway, GatewayLimits
from garrison.database import Database, defenders, images, scans
from garrison.database.scans import ScanRow
from garrison.defender import Agent, DefenderSettings
from garrison.defender.state import LinkState
from garrison.defender.work import Progress
from garrison.egress import ConnectionRecord, ProxySettings
from garrison.fleet.authority import Authority
from garrison.fleet.join_token import JoinToken
from garrison.fleet.messages import ScanRequest
from garrison.packages import Inventory, wire

WAIT = 20.0


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Console:
    """What a Console's composition root makes of gateway and database; `port` survives restarts.

    tls: gives the outer TLS context. listener: a bound socket to serve instead of host and port.
    taken, failed: what the gateway handed over, in order: Defender, scan, inventory or error.
    ahead: how far the gateway's clock is before the machine's.
    before_ingest: called in the worker thread before a result is stored.
    """

    data: Path
    limits: GatewayLimits = field(default_factory=lambda: GatewayLimits(poll=0.2))
    tls: Callable[[Console], Any] | None = None
    listener: Any = None
    host: str = "127.0.0.1"
    port: int = 0
    taken: list[tuple[str, str, Inventory]] = field(default_factory=list)
    failed: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    before_ingest: Callable[[], None] = lambda: None
    ahead: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        self.db = Database.open(self.data)
        self.authority = Authority.load_or_create(self.data / "authority.pem", utc_now())
        self.changed = asyncio.Condition()

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.gateway = Gateway(
            self.db,
            self.authority,
            host=self.host,
            port=self.port,
            listener=self.listener,
            tls=self.tls(self) if self.tls else None,
            ingest=self._ingest,
            fail=self._fail,
            limits=self.limits,
            now=lambda: utc_now() + self.ahead,
        )
        await self.gateway.start()
        self.port = self.gateway.port

    async def stop(self) -> None:
        await self.gateway.stop()

    @property
    def url(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://{self.host}:{self.port}"

    def join_token(
        self, *, uses: int | None = None, authority: Authority | None = None
    ) -> JoinToken:
        token = JoinToken.create(authority or self.authority)
        with self.db.write() as c:
            defenders.create_join_token(
                c,
                token_hash=token.secret_hash,
                group="edge",
                expires_at=None,
                uses=uses,
                actor="test",
                now=utc_now(),
            )
        return token

    def request_scan(self, reference: str, *, defender: str | None = None) -> str:
        with self.db.write() as c:
            row = scans.enqueue(
                c,
                reference=reference,
                platform="",
                defender_id=defender,
                requested_by="test",
                now=utc_now(),
            )
        self.gateway.scans_wake()
        return row.id

    def scan(self, scan_id: str) -> ScanRow:
        with self.db.read() as c:
            row = scans.get(c, scan_id)
        assert row is not None
        return row

    def defenders(self) -> list[defenders.DefenderRow]:
        with self.db.read() as c:
            return list(defenders.page(c, removed=True).items)

    async def until(self, condition: Callable[[], bool], timeout: float = WAIT) -> None:
        """Wait until something handed over makes `condition` true."""
        async with asyncio.timeout(timeout), self.changed:
            await self.changed.wait_for(condition)

    async def until_row(self, condition: Callable[[], bool], timeout: float = WAIT) -> None:
        """Wait until the database says so: its writes are batched and announce nothing."""
        async with asyncio.timeout(timeout):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def _ingest(self, defender: str, scan_id: str, inventory: Inventory) -> None:
        self.before_ingest()
        with self.db.write() as c:
            stored = images.store(c, inventory, utc_now(), ecosystems=())
            if scans.done(c, scan_id, stored.image_id, utc_now()):
                self.taken.append((defender, scan_id, inventory))
        self._announce()

    def _fail(self, defender: str, scan_id: str, error: dict[str, Any]) -> None:
        with self.db.write() as c:
            scans.fail(c, scan_id, error, utc_now(), defender_id=defender)
        self.failed.append((defender, scan_id, error))
        self._announce()

    def _announce(self) -> None:
        async def notify() -> None:
            async with self.changed:
                self.changed.notify_all()

        asyncio.run_coroutine_threadsafe(notify(), self.loop)


@contextlib.asynccontextmanager
async def running_console(data: Path, **options: Any) -> AsyncIterator[Console]:
    console = Console(data, **options)
    await console.start()
    try:
        yield console
    finally:
        await console.stop()
        console.db.close()


def inventory(reference: str) -> Inventory:
    """A small one; the digest follows the reference."""
    return Inventory(
        reference=reference,
        digest=f"sha256:{abs(hash(reference)):064x}",
        platform="linux/amd64",
        os=None,
        layers=(),
        packages=(),
    )


class Scanner:
    """Stands in for reading images. While `gate` is cleared scans wait, for a test to act."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)
        self.requests: list[ScanRequest] = []
        self.settings: list[ProxySettings] = []
        self.error: Exception | None = None

    def __call__(
        self,
        request: ScanRequest,
        settings: ProxySettings,
        progress: Progress,
        observer: Callable[[ConnectionRecord], None],
    ) -> bytes:
        self.requests.append(request)
        self.settings.append(settings)
        progress(1, 2, "layers")
        self.began.release()
        while not self.gate.wait(0.05):
            progress(1, 2, "layers")
        if self.error is not None:
            raise self.error
        return wire.encode(inventory(request.reference))

    async def begun(self, count: int = 1) -> None:
        for _ in range(count):
            assert await asyncio.to_thread(self.began.acquire, True, WAIT)


class Defender:
    """An agent that runs in a task, and its states as they come."""

    def __init__(
        self,
        console_url: str,
        data: Path,
        *,
        token: JoinToken | None = None,
        settings: ProxySettings | None = None,
        name: str = "node",
        seed: int = 1,
        ahead: timedelta = timedelta(0),
    ) -> None:
        self.ahead = ahead
        self.settings = settings or ProxySettings.build()
        self.config = DefenderSettings(
            console=console_url, data=data, join_token=token, name=name, health_listen=None
        )
        self.scanner = Scanner()
        self.states: list[LinkState] = []
        self._seed = seed
        self._condition = asyncio.Condition()
        self._notes: set[asyncio.Future[None]] = set()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._stop = asyncio.Event()
        self.agent = Agent(
            self.config,
            lambda: self.settings,
            scan=self.scanner,
            rng=random.Random(self._seed),
            now=lambda: utc_now() + self.ahead,
            changed=self._changed,
        )
        self._task = asyncio.create_task(self.agent.run(self._stop))

    async def stop(self) -> None:
        task, self._task = self._task, None
        self._stop.set()
        if task is not None:
            await task

    async def kill(self) -> None:
        """End as a crash would: no goodbye."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def state(self) -> LinkState:
        return self.agent.state

    async def until(
        self, condition: Callable[[LinkState], bool], timeout: float = WAIT
    ) -> LinkState:
        """The first state from now on (or now) that fits."""
        async with asyncio.timeout(timeout), self._condition:
            await self._condition.wait_for(lambda: condition(self.agent.state))
            return self.agent.state

    async def connected(self, timeout: float = WAIT) -> str:
        return (await self.until(lambda state: state.connected, timeout)).defender_id

    async def failing(self, code: str, timeout: float = WAIT) -> LinkState:
        return await self.until(
            lambda state: state.failure is not None and state.failure.code == code, timeout
        )

    def _changed(self, state: LinkState) -> None:
        self.states.append(state)

        async def notify() -> None:
            async with self._condition:
                self._condition.notify_all()

        self._notes.add(note := asyncio.ensure_future(notify()))
        note.add_done_callback(self._notes.discard)


@contextlib.asynccontextmanager
async def running_defender(console_url: str, data: Path, **options: Any) -> AsyncIterator[Defender]:
    defender = Defender(console_url, data, **options)
    defender.start()
    try:
        yield defender
    finally:
        defender.scanner.gate.set()
        await defender.stop()
