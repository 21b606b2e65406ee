"""A Console on another machine, reached by its API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from garrison.errors import GarrisonError, InvalidSettingError
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.egress import ProxySettings

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


def segment(text: str) -> str:
    """A name as one segment of a path."""
    return quote(text, safe="")


def remote(url: str, environ: Mapping[str, str]) -> Remote:
    """The Console at `url`, with the token of the environment. Raises InvalidSettingError."""
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
