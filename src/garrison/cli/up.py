"""`garrison up`: Console and a Defender on one machine, in one process."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from garrison.cli.console import ConfigOption, DataOption, GatewayOption, ListenOption, load, run

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from garrison.console.runtime import Running
    from garrison.console.settings import ListenAddress
    from garrison.console.state import AppState
    from garrison.defender.settings import DefenderSettings
    from garrison.egress import ProxySettings
    from garrison.fleet import JoinToken


GROUP = "local"
"""Of the Defender inside this process."""


def register(app: typer.Typer) -> None:
    @app.command()
    def up(
        data: DataOption = None,
        listen: ListenOption = None,
        gateway_listen: GatewayOption = None,
        config: ConfigOption = None,
    ) -> None:
        """Start Console and local Defender together; print the address and the set-up link."""
        import os

        from garrison.console.settings import with_file

        settings = load(data, listen, gateway_listen, config)
        run(settings, functools.partial(_defend, with_file(os.environ, config)))


async def _defend(environ: Mapping[str, str], running: Running, stop: asyncio.Event) -> None:
    """The local Defender: its failure is logged and leaves the Console running."""
    import structlog
    from starlette.concurrency import run_in_threadpool

    from garrison.defender import Agent
    from garrison.errors import GarrisonError

    log = structlog.get_logger(__name__)
    state = running.state
    try:
        config = await run_in_threadpool(defender_settings, environ, state)
        agent = Agent(config, functools.partial(way_out, state))
        state.on_proxy.append(agent.settings_changed)
        state.local_defender = lambda: agent.state.defender_id
        await agent.run(stop)
    except GarrisonError as error:
        log.error("local Defender", code=error.code, message=error.message, hint=error.hint)
    except Exception:
        log.exception("local Defender")


def defender_settings(environ: Mapping[str, str], state: AppState) -> DefenderSettings:
    """Settings of the Defender inside `up`, with a join token where it still has to enrol."""
    from garrison.console.assemble import local_gateway
    from garrison.defender import DefenderSettings

    scheme = "ws" if state.settings.gateway_listen.is_loopback else "wss"
    base = DefenderSettings.from_environment(
        {name: value for name, value in environ.items() if "JOIN_TOKEN" not in name},
        console=f"{scheme}://{local_gateway(state.settings)}",
        data=state.data,
        # The Console has probes of its own; two more would only take a port.
        health_listen=environ.get("GARRISON_HEALTH_LISTEN", "off"),
    )
    return replace(base, join_token=_join_token(base, state))


def way_out(state: AppState) -> ProxySettings:
    """The Console's settings at this moment; its own gateway on this machine is reached directly.

    Loopback is direct anyway; an address of the machine's network card has to be named.
    """
    from garrison.console.assemble import local_gateway

    settings = state.egress.settings.for_group(GROUP)
    gateway = local_gateway(state.settings)
    return settings if gateway.is_loopback else _direct_to(settings, gateway)


def _direct_to(settings: ProxySettings, gateway: ListenAddress) -> ProxySettings:
    from garrison.egress import BypassList

    entries = [entry.text for entry in settings.bypass.entries]
    return replace(settings, bypass=BypassList.of([*entries, str(gateway)]))


def _join_token(config: DefenderSettings, state: AppState) -> JoinToken | None:
    """None when the identity on disk is one that the Console knows."""
    from garrison.console import fleet
    from garrison.console.assemble import join_expiry
    from garrison.database import defenders
    from garrison.fleet import DefenderIdentity, JoinToken

    identity = DefenderIdentity.load(config.directory)
    if identity is not None and state.authority.pin in identity.pins:
        with state.db.read() as c:
            known = defenders.by_id(c, identity.defender_id)
        if known is not None:
            # Removed on purpose, it stays away.
            return None
    created = fleet.create_join_token(
        state, group=GROUP, expires_at=join_expiry(), uses=1, actor="console"
    )
    return JoinToken.parse(created.text.reveal())
