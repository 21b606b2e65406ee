"""`garrison console`: the server that people use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from garrison.console.runtime import Beside, Running
    from garrison.console.settings import ConsoleSettings

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data directory. [env: GARRISON_DATA]"),
]
ListenOption = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="HOST:PORT",
        help="Pages and API. Plain HTTP on loopback, else HTTPS. [env: GARRISON_LISTEN; "
        "default 127.0.0.1:8083]",
    ),
]
GatewayOption = Annotated[
    str | None,
    typer.Option(
        "--gateway-listen",
        metavar="HOST:PORT",
        help="Where Defenders connect. [env: GARRISON_GATEWAY_LISTEN; default 127.0.0.1:8084]",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="GARRISON_NAME=value lines; variables of the environment win.",
    ),
]


def register(app: typer.Typer) -> None:
    @app.command()
    def console(
        data: DataOption = None,
        listen: ListenOption = None,
        gateway_listen: GatewayOption = None,
        config: ConfigOption = None,
    ) -> None:
        """Serve pages, API and Defenders until told to stop."""
        run(load(data, listen, gateway_listen, config))


def load(
    data: Path | None, listen: str | None, gateway_listen: str | None, config: Path | None
) -> ConsoleSettings:
    """Settings from options, environment and file. Raises InvalidSettingError."""
    import os

    from garrison.console.settings import ConsoleSettings, with_file

    return ConsoleSettings.from_environment(
        with_file(os.environ, config), data=data, listen=listen, gateway_listen=gateway_listen
    )


def run(settings: ConsoleSettings, beside: Beside | None = None) -> None:
    """Run a Console, and what runs beside it, until SIGTERM or SIGINT."""
    import asyncio
    import signal

    import uvloop

    from garrison.cli.logs import configure
    from garrison.console.runtime import serve

    configure()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
        await serve(settings, stop=stop, ready=announce, beside=beside)

    uvloop.run(main())


def announce(running: Running) -> None:
    """Where to go, on stdout; the set-up link is a secret and in no log."""
    print(f"Console: {running.url}")
    if running.setup_link is not None:
        print(f"Set-up: {running.setup_link}")
    sys.stdout.flush()
