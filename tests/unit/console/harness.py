"""A Console without sockets: its parts over a temporary database, and a client for the app."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import argon2
import pytest

from garrison.console import accounts
from garrison.console.app import create_app
from garrison.console.assemble import build_state, open_database
from garrison.console.contacts import ContactLog
from garrison.console.settings import ConsoleSettings
from garrison.console.state import AppState

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"


@contextmanager
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> Iterator[AppState]:
    """The state of a Console in `tmp_path`; hashing is made cheap."""
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "_HASHER", cheap)
    settings = ConsoleSettings.from_environment(environ, data=tmp_path / "data")
    database = open_database(settings)
    try:
        yield build_state(settings, database, ContactLog(database))
    finally:
        database.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the app answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Client:
    """Speaks ASGI with the app of a state, as a browser or a program would."""

    state: AppState
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app = create_app(self.state)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        chunks: list[bytes] | None = None,
    ) -> Answer:
        sent = {"host": "127.0.0.1:8083", **self.headers, **(headers or {})}
        if self.token:
            sent.setdefault("authorization", f"Bearer {self.token}")
        content = b""
        if form is not None:
            content = urlencode(form).encode()
            sent.setdefault("content-type", "application/x-www-form-urlencoded")
        elif isinstance(body, bytes):
            content = body
            sent.setdefault("content-type", "application/json")
        elif body is not None:
            content = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        if chunks is None:
            sent.setdefault("content-length", str(len(content)))
        return await self._exchange(method, path, sent, chunks or [content])

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], chunks: list[bytes]
    ) -> Answer:
        plain, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": plain,
            "raw_path": plain.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 8083),
        }
        waiting = list(chunks)
        answered: list[Any] = []
        gone = asyncio.Event()

        async def receive() -> Any:
            if not waiting:
                await gone.wait()
                return {"type": "http.disconnect"}
            part = waiting.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(waiting)}

        async def send(message: Any) -> None:
            answered.append(message)

        await self.app(scope, receive, send)
        gone.set()
        start = answered[0]
        return Answer(
            start["status"],
            {k.decode().lower(): v.decode() for k, v in start["headers"]},
            b"".join(m.get("body", b"") for m in answered[1:]),
        )


def token_for(state: AppState, role: accounts.Role) -> str:
    """A fresh API token of that role."""
    made = accounts.create_token(
        state, f"test {role}", role, expires_at=None, actor="test", now=datetime.now(UTC)
    )
    return made.secret.reveal()


async def signed_in(state: AppState) -> accounts.SignedIn:
    """An administrator with a session."""
    from garrison.secret import Secret

    now = datetime.now(UTC)
    if not accounts.is_set_up(state):
        link = accounts.new_setup_link(state, now)
        assert link is not None
        token = link.partition("token=")[2]
        return await accounts.complete_setup(state, token, "ada", Secret(PASSWORD), now=now)
    return await accounts.sign_in(state, "ada", Secret(PASSWORD), address="127.0.0.1", now=now)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)
