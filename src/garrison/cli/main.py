"""The `garrison` program."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

from garrison import __version__
from garrison.cli.output import note, print_error
from garrison.errors import GarrisonError, InvalidSettingError

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_FAILED = 3

# Command → module of garrison.cli whose `register(app)` adds it. Only the module of the command
# asked for is imported.
COMMANDS = {
    "up": "up",
    "console": "console",
    "defender": "defender",
    "scan": "scan",
    "sbom": "scan",
    "intel": "intel",
    "egress": "egress",
    "defenders": "fleet",
    "join-tokens": "fleet",
    "images": "images",
    "findings": "images",
    "alerts": "alerts",
    "tokens": "accounts",
    "users": "accounts",
}


def build(command: str | None) -> typer.Typer:
    """The application with the module of `command`, or with all of them (for help)."""
    app = typer.Typer(
        name="garrison",
        help="Container security for networks where everything leaves through a proxy.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        add_completion=False,
    )

    @app.callback()
    def root(
        version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    ) -> None:
        if version:
            print(f"garrison {__version__}")
            raise typer.Exit

    module = COMMANDS.get(command or "")
    for name in [module] if module else sorted(set(COMMANDS.values())):
        importlib.import_module(f"garrison.cli.{name}").register(app)
    return app


def main() -> None:
    """Run the command in `sys.argv` and exit with the codes of the command line's contract."""
    # Python's TLS would write the keys of connections there, and aiohttp opens it when imported.
    os.environ.pop("SSLKEYLOGFILE", None)
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        build(command)()
    except InvalidSettingError as error:
        print_error(error)
        sys.exit(EXIT_USAGE)
    except GarrisonError as error:
        print_error(error)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        note("interrupted")
        sys.exit(130)
