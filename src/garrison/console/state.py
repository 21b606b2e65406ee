"""What a running Console is made of; every operation takes it as its first argument."""

from __future__ import annotations

import asyncio
import concurrent.futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

    from garrison.console.alerting import DeliveryService
    from garrison.console.gateway import Gateway
    from garrison.console.intel import IntelService
    from garrison.console.settings import ConsoleSettings
    from garrison.console.throttle import Throttle
    from garrison.database import Database
    from garrison.egress import EgressClient, ProxySettings
    from garrison.fleet.identity import Authority

_APPLY_SECONDS = 10.0


@dataclass(slots=True)
class AppState:
    """The parts of one Console process.

    loop: the event loop that `egress` lives in; operations may run in worker threads.
    gateway: None in processes that serve no Defenders.
    """

    data: Path
    settings: ConsoleSettings
    db: Database
    egress: EgressClient
    authority: Authority
    intel: IntelService
    deliveries: DeliveryService
    throttle: Throttle
    gateway: Gateway | None = None
    loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)

    def use_proxy(self, settings: ProxySettings) -> None:
        """Make `settings` those of the next connection; returns when they are. Any thread."""
        loop = self.loop
        if loop is None or not loop.is_running() or _running_loop() is loop:
            self.egress.use(settings)
            return
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def apply() -> None:
            try:
                self.egress.use(settings)
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        loop.call_soon_threadsafe(apply)
        done.result(_APPLY_SECONDS)


def state_of(request: Request) -> AppState:
    """The state of the application that serves `request`."""
    state: AppState = request.app.state.garrison
    return state


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
