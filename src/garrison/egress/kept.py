"""Connections that one blocking client keeps for its next request."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from garrison.egress.plan import Call, Opened
from garrison.egress.sockets import TlsOverTls
from garrison.egress.trace import Step

Connection: TypeAlias = "socket.socket | ssl.SSLSocket | TlsOverTls"


@dataclass(frozen=True, slots=True)
class KeptConnection:
    """steps: how it was opened, for the trace of what fails on it later."""

    call: Call
    opened: Opened
    connection: Connection
    steps: tuple[Step, ...]
    since: float


class Kept:
    """Idle connections, each for the same `Call` only. Close it when the client is done; safe to
    use from several threads.

    idle_seconds: how long one is kept; proxies and servers forget idle ones.
    """

    def __init__(self, idle_seconds: float = 20.0) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._idle: list[KeptConnection] = []
        self._closed = False

    def take(self, calls: Sequence[Call]) -> KeptConnection | None:
        """A connection that serves one of `calls` and still stands, the latest first."""
        while True:
            with self._lock:
                found = next((one for one in reversed(self._idle) if one.call in calls), None)
                if found is None:
                    return None
                self._idle.remove(found)
            if time.monotonic() - found.since <= self._idle_seconds and _stands(found.connection):
                return found
            found.connection.close()

    def give(self, kept: KeptConnection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(kept)
                return
        kept.connection.close()

    def close(self) -> None:
        """Close what is idle, and what comes back later; may be called again."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for one in idle:
            one.connection.close()

    def __del__(self) -> None:
        self.close()


def _stands(connection: Connection) -> bool:
    """Nothing is to be read on an idle connection but its end."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
    except (OSError, ValueError):
        return False
    return not readable
