"""Which Console a command means: a remote one by its API, or the data directory on this machine.

`--data` and `--console` decide; then `GARRISON_CONSOLE` with a token, then `GARRISON_DATA`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from garrison.cli.remote import ConsoleAnswerError, RefusedValueError, Remote, remote, segment
from garrison.errors import GarrisonError, InvalidSettingError

if TYPE_CHECKING:
    from garrison.console.state import AppState
    from garrison.database import Page

__all__ = [
    "ConsoleAnswerError",
    "ConsoleOption",
    "DataOption",
    "JsonOption",
    "Local",
    "NoConsoleError",
    "RefusedValueError",
    "Remote",
    "Target",
    "actor",
    "all_items",
    "segment",
    "target",
    "without_foreign_proxy",
]

T = TypeVar("T")
ConsoleOption = Annotated[
    str | None,
    typer.Option("--console", metavar="URL", help="A Console's address. [env: GARRISON_CONSOLE]"),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Its data directory. [env: GARRISON_DATA]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class NoConsoleError(GarrisonError):
    """There is no Console's data in the directory."""

    code = "console.no_data"

    def __init__(self, data: Path) -> None:
        super().__init__(f"there is no Console in {data}")

    @property
    def hint(self) -> str:
        return "Name its directory with --data, or a running Console with --console URL."


@dataclass(frozen=True, slots=True)
class Local:
    """A Console's data directory on this machine, whether the Console runs or not."""

    data: Path
    environ: Mapping[str, str]

    @property
    def exists(self) -> bool:
        """Whether a Console was ever started or set up here."""
        named = self.environ.get("GARRISON_DATABASE_URL") or self.environ.get(
            "GARRISON_DATABASE_URL_FILE"
        )
        return bool(named) or (self.data / "garrison.db").exists()

    @contextmanager
    def state(self, *, create: bool = False, foreign: bool = False) -> Iterator[AppState]:
        """The Console's parts, none of them running. create: make what is missing.

        foreign: where no proxy settings were saved, also read HTTPS_PROXY and its kin.

        Raises: NoConsoleError.
        """
        if not create and not self.exists:
            raise NoConsoleError(self.data)
        from garrison.console.assemble import build_state, open_database
        from garrison.console.contacts import ContactLog
        from garrison.console.settings import ConsoleSettings

        environ = self.environ if foreign else without_foreign_proxy(self.environ)
        settings = ConsoleSettings.from_environment(environ, data=self.data)
        database = open_database(settings)
        try:
            yield build_state(settings, database, ContactLog(database))
        finally:
            database.close()


Target: TypeAlias = Remote | Local


def all_items(page: Callable[[int, str | None], Page[T]], limit: int) -> list[T]:
    """Up to `limit` items of a list in the database, over as many pages as that takes."""
    found: list[T] = []
    cursor: str | None = None
    while len(found) < limit:
        part = page(min(limit - len(found), 500), cursor)
        found += part.items
        cursor = part.next_cursor
        if cursor is None:
            break
    return found


def target(console: str | None, data: Path | None) -> Target:
    """The Console that is meant. Raises InvalidSettingError."""
    environ = os.environ
    if console and data:
        raise InvalidSettingError(
            "console", "--console and --data exclude each other", "Name one of them."
        )
    if data is not None:
        return Local(data, environ)
    named = console
    if named is None and (_has_token(environ) or not environ.get("GARRISON_DATA")):
        named = environ.get("GARRISON_CONSOLE") or None
    if named:
        return remote(named, environ)
    from garrison.environment import data_directory

    return Local(data_directory(environ), environ)


def without_foreign_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without HTTPS_PROXY and its kin: those of a shell are not the Console's."""
    foreign = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file"}
    return {name: value for name, value in environ.items() if name.lower() not in foreign}


def actor() -> str:
    """Who changes something here, as it stands in the audit table."""
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"{name} (command line)"


def _has_token(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("GARRISON_TOKEN") or environ.get("GARRISON_TOKEN_FILE"))
