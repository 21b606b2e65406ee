"""Composition root of a Defender: settings, egress, link, scans and probes put together."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import platform
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from garrison import __version__
from garrison.defender import health
from garrison.defender.contacts import ContactLog
from garrison.defender.journal import Journal
from garrison.defender.link import CONNECT_SECONDS, Connection, Link
from garrison.defender.queue import ScanQueue
from garrison.defender.settings import DefenderSettings
from garrison.defender.state import LinkState, as_failure
from garrison.defender.work import Scan, Workers, read_image
from garrison.errors import GarrisonError
from garrison.fleet.messages import (
    Acknowledge,
    Answer,
    Contacts,
    ExplainRequest,
    FromConsole,
    Hello,
    ScanProgress,
    ScanRequest,
    TestRequest,
)

if TYPE_CHECKING:
    from garrison.egress import ProxySettings, Purpose
    from garrison.egress.http import EgressClient

SETTINGS_SECONDS = 1.0
CONTACTS_SECONDS = 5.0
RESEND_SECONDS = 60.0
STOP_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class Agent:
    """One Defender; `run` is its whole life.

    settings: how to get out, asked again every second and before each scan; another value is
        used at once for new connections. Called in worker threads.
    changed: told of every change of `state`.
    """

    def __init__(
        self,
        config: DefenderSettings,
        settings: Callable[[], ProxySettings],
        *,
        scan: Scan | None = None,
        rng: random.Random | None = None,
        now: Callable[[], datetime] | None = None,
        changed: Callable[[LinkState], None] = lambda _: None,
    ) -> None:
        self._config, self._ask_settings = config, settings
        self._journal = Journal(config.directory / "journal")
        self._queue = ScanQueue(config.scans)
        self._contacts = ContactLog()
        self._settings_now: ProxySettings | None = None
        self._egress: EgressClient | None = None
        self._left_by = ""
        self._asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sessions = 0
        self._told = changed
        self._workers = Workers(
            self._queue,
            self._journal,
            scan=scan or functools.partial(read_image, cache=config.directory / "cache"),
            settings=self._for_scan,
            observer=self._contacts.observe,
            done=self._scan_done,
            moved=self._scan_moved,
        )
        self._link = Link(
            config,
            self._dial,
            self,
            rng=rng or random.Random(),
            now=now or (lambda: datetime.now(UTC)),
            changed=self._state_changed,
        )

    @property
    def state(self) -> LinkState:
        """Whether there is a session, and if not, why."""
        return self._link.state

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then end cleanly.

        Raises:
            InvalidSettingError: the probes' address cannot be used.
            IdentityUnreadableError: the identity's file is there but broken.
            NotEnrolledError: there is no identity and no join token.
        """
        from garrison.egress.http import EgressClient

        self._loop = asyncio.get_running_loop()
        settings = await asyncio.to_thread(self._ask_settings)
        self._settings_now = settings
        self._egress = EgressClient(settings, observer=self._contacts.observe)
        probes = await self._serve_probes()
        helpers = [
            self._spawn(self._follow_settings()),
            self._spawn(self._send_contacts()),
            self._spawn(self._resend()),
        ]
        try:
            await self._until_stopped(self._link.run(stop), helpers)
        finally:
            for helper in helpers:
                helper.cancel()
            await self._workers.stop(STOP_SECONDS)
            if probes is not None:
                probes.close()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._egress.aclose()

    def settings_changed(self) -> None:
        """Ask for the settings now instead of within a second. Any thread."""
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._asked.set)

    # --- the link's owner --------------------------------------------------------------------

    def hello(self) -> Hello:
        """What a session starts with."""
        settings = self._current()
        return Hello(
            name=self._config.node_name,
            version=__version__,
            platform=_platform(),
            settings_revision=settings.revision,
            proxy=str(settings.proxy) if settings.proxy else "",
            route=self._session_route(settings),
            scans=[*self._queue.ids(), *self._journal.ids()],
        )

    async def opened(self) -> None:
        """A session has begun: what the Console has not acknowledged goes first."""
        self._sessions += 1
        self._spawn(self._send_pending())

    async def received(self, message: FromConsole) -> None:
        match message:
            case ScanRequest():
                if message.id in self._journal:
                    # Done already; the Console had not seen the result when it asked.
                    self._spawn(self._send_result(message.id))
                elif self._queue.offer(message):
                    self._workers.start()
            case Acknowledge(id=scan_id):
                await asyncio.to_thread(self._journal.acknowledged, scan_id)
            case TestRequest() | ExplainRequest():
                self._spawn(self._answer(message))
            case _:
                pass

    # --- scans -------------------------------------------------------------------------------

    def _scan_moved(self, progress: ScanProgress) -> None:
        self._spawn(self._link.send(progress))

    def _scan_done(self, scan_id: str) -> None:
        self._spawn(self._send_result(scan_id))

    async def _send_result(self, scan_id: str) -> None:
        if not self.state.connected:
            return
        result = await asyncio.to_thread(self._journal.get, scan_id)
        if result is not None:
            await self._link.send(result)

    async def _send_pending(self) -> None:
        for scan_id in self._journal.ids():
            await self._send_result(scan_id)

    async def _resend(self) -> None:
        """Results that are sent but stay without acknowledgement: the Console could not store
        them."""
        while True:
            before = set(self._journal.ids())
            await asyncio.sleep(RESEND_SECONDS)
            for scan_id in before & set(self._journal.ids()):
                await self._send_result(scan_id)

    # --- settings and egress -------------------------------------------------------------------

    def _current(self) -> ProxySettings:
        if self._settings_now is None:
            raise RuntimeError("the agent does not run")
        return self._settings_now

    def _for_scan(self) -> ProxySettings:
        """Settings of this moment, in a worker thread."""
        return self._ask_settings()

    async def _follow_settings(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTINGS_SECONDS):
                    await self._asked.wait()
            self._asked.clear()
            try:
                settings = await asyncio.to_thread(self._ask_settings)
            except Exception as error:
                # The settings in force stay in force: never a silent fall back to direct.
                failure = as_failure(error)
                _log.warning("settings not readable", code=failure.code, reason=failure.message)
                continue
            if settings != self._current():
                self._use(settings)

    def _use(self, settings: ProxySettings) -> None:
        old, self._settings_now = self._current(), settings
        if self._egress is not None:
            self._egress.use(settings)
        moved = self._route(old) != self._route(settings)
        _log.info("settings in force", revision=settings.revision, route=self._route(settings))
        # The session itself goes by the new route too, and says so in its Hello.
        self._link.reconnect(close=moved or old.revision != settings.revision)

    def _route(self, settings: ProxySettings) -> str:
        from garrison.egress import explain

        return explain(self._config.url, settings, "fleet").proxy or "direct"

    def _session_route(self, settings: ProxySettings) -> str:
        """How the session left: of several proxies not always by the first."""
        from garrison.egress import ViaProxy, explain

        candidates = explain(self._config.url, settings, "fleet").choice.candidates
        used = next((one for one in candidates if str(one) == self._left_by), None)
        if used is None:
            return self._route(settings)
        return str(used.proxy) if isinstance(used, ViaProxy) else "direct"

    async def _dial(self, *, extra_ca: str, pin: bytes | None) -> Connection:
        if self._egress is None:
            raise RuntimeError("the agent does not run")
        connection = await self._egress.websocket(
            self._config.url,
            purpose="fleet",
            timeout=CONNECT_SECONDS,
            extra_ca=extra_ca,
            pin=pin,
        )
        self._left_by = connection.route
        return connection

    async def _answer(self, request: TestRequest | ExplainRequest) -> None:
        try:
            result = await self._result_of(request)
        except GarrisonError as error:
            failure = as_failure(error)
            result = {
                "error": {
                    "code": failure.code,
                    "message": failure.message,
                    "hint": failure.hint,
                    "who": failure.who or "you",
                }
            }
        await self._link.send(Answer(id=request.id, result=result))

    async def _result_of(self, request: TestRequest | ExplainRequest) -> dict[str, Any]:
        from garrison.egress import PURPOSES, explain

        purpose: Purpose = next((each for each in PURPOSES if each == request.purpose), "registry")
        if isinstance(request, ExplainRequest):
            way = await asyncio.to_thread(explain, request.url, self._current(), purpose)
            return way.as_dict()
        if self._egress is None:
            raise RuntimeError("the agent does not run")
        found = await self._egress.test(request.url, purpose=purpose, timeout=request.timeout)
        result: dict[str, Any] = found.as_dict()
        result["from"] = self._config.node_name
        return result

    async def _send_contacts(self) -> None:
        while True:
            await asyncio.sleep(CONTACTS_SECONDS)
            while self.state.connected and (batch := self._contacts.take()):
                if not await self._link.send(Contacts(contacts=batch)):
                    self._contacts.give_back(batch)
                    break

    # --- probes ----------------------------------------------------------------------------------

    async def _serve_probes(self) -> asyncio.Server | None:
        if self._config.health_listen is None:
            return None
        probes = health.Probes(self._ready, self._metrics)
        return await health.serve(*self._config.health_listen, probes)

    def _ready(self) -> tuple[bool, str]:
        return self.state.connected, self.state.describe()

    def _metrics(self) -> dict[str, float]:
        return {
            "garrison_defender_connected": float(self.state.connected),
            "garrison_defender_sessions_total": float(self._sessions),
            "garrison_defender_scans_running": float(self._queue.running),
            "garrison_defender_scans_waiting": float(self._queue.waiting),
            "garrison_defender_scans_finished_total": float(self._workers.finished),
            "garrison_defender_scans_failed_total": float(self._workers.failed),
            "garrison_defender_results_unacknowledged": float(len(self._journal)),
            "garrison_defender_settings_revision": float(self._current().revision),
            "garrison_defender_connections_opened_total": float(self._contacts.opened),
            "garrison_defender_connections_failed_total": float(self._contacts.failed),
        }

    # --- tasks -----------------------------------------------------------------------------------

    def _state_changed(self, state: LinkState) -> None:
        self._told(state)

    async def _until_stopped(self, life: Awaitable[None], helpers: list[asyncio.Task[Any]]) -> None:
        """Wait for the link's end; a helper that dies before it ends everything with its error."""
        link = asyncio.ensure_future(life)
        try:
            done, _ = await asyncio.wait([link, *helpers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            if not link.done():
                link.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await link

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(_forget, self._tasks))
        return task


def _forget(tasks: set[asyncio.Task[Any]], task: asyncio.Task[Any]) -> None:
    tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task failed", error=type(error).__name__, exc_info=error)


def _platform() -> str:
    """`linux/amd64`, as images name it."""
    machine = platform.machine().lower()
    names = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "i686": "386"}
    return f"{platform.system().lower()}/{names.get(machine, machine)}"
