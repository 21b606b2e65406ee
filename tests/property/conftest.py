"""Unit tests reach no network but loopback."""

from __future__ import annotations

import socket
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX or str(address[0]) in {"127.0.0.1", "::1"}:
            connect(self, address)
            return
        raise AssertionError(f"a unit test opened a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)
