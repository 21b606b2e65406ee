"""`garrison defender`: a Defender until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def defender(
        console: Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                help="The Console's gateway, wss://HOST:PORT. [env: GARRISON_CONSOLE]",
            ),
        ] = None,
        join_token_file: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help="Holds the join token; needed until enrolled. [env: GARRISON_JOIN_TOKEN_FILE]",
            ),
        ] = None,
        data: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Identity and unsent results. [env: GARRISON_DATA]"),
        ] = None,
        health_listen: Annotated[
            str | None,
            typer.Option(
                metavar="HOST:PORT",
                help="Where /healthz, /readyz and /metrics are; 'off' for nowhere. "
                "[env: GARRISON_HEALTH_LISTEN; default 127.0.0.1:9091]",
            ),
        ] = None,
    ) -> None:
        """Scan where this runs, for a Console reached through the proxy.

        How to get out is in GARRISON_HTTP_PROXY and its kin (garrison egress show).
        """
        import os

        from garrison.cli.logs import configure
        from garrison.defender.settings import DefenderSettings
        from garrison.egress import settings_from_environment

        settings = DefenderSettings.from_environment(
            os.environ,
            console=console,
            join_token_file=join_token_file,
            data=data,
            health_listen=health_listen,
        )
        way_out = settings_from_environment(os.environ)
        configure()

        from garrison.defender.agent import Agent
        from garrison.defender.process import run

        run(Agent(settings, lambda: way_out))
