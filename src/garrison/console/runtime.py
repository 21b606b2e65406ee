"""Composition root of a Console process: settings in, everything running, everything stopped."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from starlette.concurrency import run_in_threadpool

from garrison.console import accounts, listeners, proxy, scans, waivers
from garrison.console.app import create_app
from garrison.console.assemble import build_state, open_database
from garrison.console.contacts import ContactLog
from garrison.console.gateway import Gateway
from garrison.console.settings import ConsoleSettings
from garrison.console.state import AppState
from garrison.database import Database
from garrison.errors import GarrisonError

if TYPE_CHECKING:
    import socket

_FOLLOW_SECONDS = 1.0
_TIDY_SECONDS = 3600.0
_EXPIRE_SECONDS = 10.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A Console that answers. setup_link: None once an administrator exists."""

    state: AppState
    setup_link: str | None

    @property
    def url(self) -> str:
        return self.state.settings.console_url


Beside = Callable[[Running, asyncio.Event], Awaitable[None]]
"""Something that runs as long as the Console does, and ends when the event is set."""


async def serve(
    settings: ConsoleSettings,
    *,
    stop: asyncio.Event,
    ready: Callable[[Running], None],
    beside: Beside | None = None,
) -> None:
    """Run a Console until `stop` is set; call `ready` once it answers.

    Raises:
        ListenError: an address cannot be bound. DatabaseError: the data cannot be used.
        InvalidFieldsError: the administrator's password in its file cannot be used.
    """
    with bound(settings) as (pages, gateway, settings):
        database = await run_in_threadpool(open_database, settings)
        try:
            await _serve(settings, database, pages, gateway, stop, ready, beside)
        finally:
            await run_in_threadpool(database.close)


@contextlib.contextmanager
def bound(
    settings: ConsoleSettings,
) -> Iterator[tuple[socket.socket, socket.socket, ConsoleSettings]]:
    """Both listeners, and the settings with the ports they really got."""
    with contextlib.ExitStack() as stack:
        pages = stack.enter_context(listeners.bind(settings.listen, "GARRISON_LISTEN"))
        gateway = stack.enter_context(
            listeners.bind(settings.gateway_listen, "GARRISON_GATEWAY_LISTEN")
        )
        yield (
            pages,
            gateway,
            replace(
                settings,
                listen=listeners.address_of(pages, settings.listen),
                gateway_listen=listeners.address_of(gateway, settings.gateway_listen),
            ),
        )


async def _serve(
    settings: ConsoleSettings,
    database: Database,
    pages: socket.socket,
    gateway_listener: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[Running], None],
    beside: Beside | None,
) -> None:
    contacts = ContactLog(database)
    state = await run_in_threadpool(build_state, settings, database, contacts)
    gateway = Gateway(
        database,
        state.authority,
        ingest=functools.partial(scans.ingest, state),
        fail=functools.partial(scans.fail, state),
        listener=gateway_listener,
        tls=listeners.gateway_tls(settings, state.authority),
        contacted=functools.partial(state.meter.count, "defender"),
    )
    state.gateway = gateway
    tls = listeners.listener_tls(settings, state.authority)
    try:
        await gateway.start()
        async with listeners.serving(create_app(state), pages, tls):
            running = Running(state, await run_in_threadpool(set_up, state))
            _log_start(state)
            async with _services(state, contacts):
                ready(running)
                await _until(stop, running, beside)
    finally:
        _log.info("stopping")
        await gateway.stop()
        await state.egress.aclose()


def set_up(state: AppState) -> str | None:
    """Create the administrator from the password file, or make a link for it."""
    password = state.settings.admin_password
    if password is not None:
        accounts.ensure_admin(state, password, _now())
    return accounts.new_setup_link(state, _now())


@contextlib.asynccontextmanager
async def _services(state: AppState, contacts: ContactLog) -> AsyncIterator[None]:
    """The Console's own work, as long as the context lasts."""
    tasks = [
        asyncio.create_task(work, name=name)
        for name, work in (
            ("intel", state.intel.run()),
            ("deliveries", state.deliveries.run()),
            ("contacts", contacts.run()),
            ("settings", _repeat(_FOLLOW_SECONDS, lambda: _follow(state))),
            ("tidy", _repeat(_TIDY_SECONDS, lambda: _tidy(state))),
            ("waivers", _repeat(_EXPIRE_SECONDS, lambda: _expire(state))),
        )
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until(stop: asyncio.Event, running: Running, beside: Beside | None) -> None:
    if beside is None:
        await stop.wait()
        return
    companion = asyncio.ensure_future(beside(running, stop))
    try:
        await stop.wait()
    finally:
        await asyncio.gather(companion, return_exceptions=True)


async def _repeat(seconds: float, what: Callable[[], None]) -> None:
    while True:
        try:
            await run_in_threadpool(what)
        except GarrisonError as error:
            _log.error("console", code=error.code, message=error.message)
        await asyncio.sleep(seconds)


def _follow(state: AppState) -> None:
    if proxy.follow(state):
        _log.info("proxy settings in force", revision=state.egress.settings.revision)


def _expire(state: AppState) -> None:
    waivers.expire(state, _now())


def _tidy(state: AppState) -> None:
    accounts.forget_old_sessions(state, _now())


def _log_start(state: AppState) -> None:
    settings = state.settings
    way = state.egress.settings
    _log.info(
        "console started",
        url=settings.console_url,
        port=settings.listen.port,
        gateway=settings.defender_url,
        data=str(settings.data),
        database=state.db.kind,
        proxy=str(way.proxy) if way.proxy else "",
        proxy_revision=way.revision,
    )


def _now() -> datetime:
    return datetime.now(UTC)
