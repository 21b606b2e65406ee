"""What a running Console is made of; every operation takes it as its first argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

    from garrison.console.alerting import DeliveryService
    from garrison.console.gateway import Gateway
    from garrison.console.intel import IntelService
    from garrison.console.metrics import EgressMeter
    from garrison.console.settings import ConsoleSettings
    from garrison.console.throttle import Throttle
    from garrison.database import Database
    from garrison.egress import ProxySettings
    from garrison.egress.http import EgressClient
    from garrison.fleet.identity import Authority


@dataclass(slots=True)
class AppState:
    """The parts of one Console process. All of it may be used from any thread.

    gateway: None in processes that serve no Defenders. on_proxy: called after other proxy
    settings came into force. local_defender: id of the Defender inside this process, which follows
    the settings at once; empty without one.
    """

    data: Path
    settings: ConsoleSettings
    db: Database
    egress: EgressClient
    authority: Authority
    intel: IntelService
    deliveries: DeliveryService
    throttle: Throttle
    meter: EgressMeter
    gateway: Gateway | None = None
    on_proxy: list[Callable[[], None]] = field(default_factory=list, repr=False)
    local_defender: Callable[[], str] = field(default=lambda: "", repr=False)

    def use_proxy(self, settings: ProxySettings) -> None:
        """Make `settings` those of the next connection."""
        self.egress.use(settings)
        for tell in self.on_proxy:
            tell()


def state_of(request: Request) -> AppState:
    """The state of the application that serves `request`."""
    state: AppState = request.app.state.garrison
    return state
