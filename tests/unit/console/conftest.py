"""A Console in a temporary directory, and a client with an administrator's token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from garrison.console.state import AppState
from tests.unit.console.harness import Client, console, token_for


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppState]:
    with console(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def client(state: AppState) -> Client:
    return Client(state, token_for(state, "admin"))
