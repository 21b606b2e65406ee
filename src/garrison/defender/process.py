"""A Defender as a process of its own: event loop and signals."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import structlog
import uvloop

if TYPE_CHECKING:
    from garrison.defender.agent import Agent

_log = structlog.get_logger(__name__)


def run(agent: Agent) -> None:
    """Run `agent` until SIGTERM or SIGINT, then let it end cleanly."""
    uvloop.run(_run(agent))


async def _run(agent: Agent) -> None:
    stop = asyncio.Event()

    def ask_to_stop(name: str) -> None:
        _log.info("stopping", signal=name)
        stop.set()

    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, ask_to_stop, each.name)
    await agent.run(stop)
