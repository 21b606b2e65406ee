"""Which Console a command means: a remote one by its API, or the data directory on this machine.

`--data` and `--console` decide; then `GARRISON_CONSOLE` with a token, then `GARRISON_DATA`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import typer

from garrison.errors import GarrisonError, InvalidSettingError
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.console.state import AppState
    from garrison.database import Page
    from garrison.egress import ProxySettings

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
_TIMEOUT = 90.0


class ConsoleAnswerError(GarrisonError):
    """A Console's API said no; code, message and hint are the API's."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or f"the Console answered {status}"))
        self.status = status
        self.code = str(problem.get("code") or "console.answer")  # type: ignore[misc]
        self._hint = str(problem.get("hint") or "")

    @property
    def hint(self) -> str:
        return self._hint


class RefusedValueError(InvalidSettingError):
    """A value that was refused, with the code of who refused it."""

    def __init__(self, field: str, message: str, hint: str, code: str) -> None:
        super().__init__(field, message, hint)
        self.code = code  # type: ignore[misc]


class NoConsoleError(GarrisonError):
    """There is no Console's data in the directory."""

    code = "console.no_data"

    def __init__(self, data: Path) -> None:
        super().__init__(f"there is no Console in {data}")

    @property
    def hint(self) -> str:
        return "Name its directory with --data, or a running Console with --console URL."


@dataclass(frozen=True, slots=True)
class Remote:
    """A Console reached by its API."""

    url: str
    token: Secret
    way_out: ProxySettings

    def call(self, method: str, path: str, body: Any = None, **query: object) -> Any:
        """The JSON answer of `/api/v1{path}`; None where there is none.

        Raises: EgressError; InvalidSettingError and ConsoleAnswerError for the API's errors.
        """
        from garrison.egress import fetch

        asked = {name: value for name, value in query.items() if value not in (None, "", False)}
        address = f"{self.url}/api/v1{path}" + (f"?{urlencode(asked)}" if asked else "")
        headers = {"Authorization": f"Bearer {self.token.reveal()}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        answer = fetch(
            address,
            self.way_out,
            purpose="fleet",
            method=method,
            headers=headers,
            data=data,
            timeout=_TIMEOUT,
            limit=64 << 20,
        )
        return _read(answer.status, answer.body)

    def items(self, path: str, limit: int, **query: object) -> list[Any]:
        """Up to `limit` items of a list, over as many pages as that takes."""
        found: list[Any] = []
        cursor: str | None = None
        while len(found) < limit:
            size = min(limit - len(found), 500)
            page = self.call("GET", path, None, limit=size, cursor=cursor, **query)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return found


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
        return _remote(named, environ)
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


def segment(text: str) -> str:
    """A name as one segment of a path."""
    return quote(text, safe="")


def _has_token(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("GARRISON_TOKEN") or environ.get("GARRISON_TOKEN_FILE"))


def _remote(url: str, environ: Mapping[str, str]) -> Remote:
    from garrison.egress import settings_from_environment

    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidSettingError(
            "console", f"{url!r} is not a Console's address", "Write https://HOST:8083."
        )
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return Remote(base, _token(environ), settings_from_environment(environ))


def _token(environ: Mapping[str, str]) -> Secret:
    from garrison.environment import text_or_file

    text = text_or_file(environ, "GARRISON_TOKEN")
    if not text:
        raise InvalidSettingError(
            "token",
            "no API token is set",
            "Set GARRISON_TOKEN or GARRISON_TOKEN_FILE; `garrison tokens create` makes a token.",
        )
    if not text.isascii() or not text.isprintable():
        raise InvalidSettingError("token", "the API token has characters that no token has")
    return Secret(text)


def _read(status: int, body: bytes) -> Any:
    try:
        document = msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        document = None
    if status < 300:
        if document is None and body:
            raise ConsoleAnswerError(
                status,
                {
                    "detail": "what answered is not a Garrison Console",
                    "hint": "Check the address; a proxy or portal may have answered instead.",
                },
            )
        return document
    problem = document if isinstance(document, dict) else {}
    fields = problem.get("errors") or []
    if status == 422 and fields:
        first = fields[0]
        text = "; ".join(str(each.get("message", "")) for each in fields)
        raise RefusedValueError(
            str(first.get("field", "")),
            text,
            str(first.get("hint") or ""),
            str(problem.get("code") or "request.fields"),
        )
    raise ConsoleAnswerError(status, problem)
