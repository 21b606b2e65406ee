"""Composition root of a Defender."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from garrison.defender.settings import DefenderSettings

if TYPE_CHECKING:
    from garrison.egress import ProxySettings


class Agent:
    """One Defender; `run` is its whole life.

    settings: how to get out, asked again and again; a new revision is used at once for new
        connections. May be called from any thread.
    """

    def __init__(self, config: DefenderSettings, settings: Callable[[], ProxySettings]) -> None:
        raise NotImplementedError

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then end cleanly."""
        raise NotImplementedError

    def settings_changed(self) -> None:
        """Ask for the settings now instead of within a second. Any thread."""
        raise NotImplementedError
