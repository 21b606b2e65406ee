"""Defender sessions: the listener that Defenders connect to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from garrison.fleet.identity import Authority
from garrison.fleet.messages import ExplainRequest, TestRequest
from garrison.packages import Inventory

if TYPE_CHECKING:
    from garrison.database import Database

Ingest: TypeAlias = Callable[[str, str, Inventory], None]
"""Takes in a result (Defender id, scan id, inventory), in a worker thread; safe to repeat."""

Fail: TypeAlias = Callable[[str, str, dict[str, Any]], None]
"""Notes that a scan failed (Defender id, scan id, error as a dict), in a worker thread."""


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """What one gateway allows; seconds and bytes."""

    heartbeat: float = 25.0
    handshake: float = 15.0
    accepts_per_second: float = 300.0
    scans_per_defender: int = 2
    lease: float = 120.0
    poll: float = 1.0


class Gateway:
    """Serves Defenders on `host`:`port` until `stop`.

    tls: an `ssl.SSLContext` for the outer TLS (from `console.listeners`), or None.
    """

    def __init__(
        self,
        db: Database,
        authority: Authority,
        *,
        host: str,
        port: int,
        ingest: Ingest,
        fail: Fail,
        tls: Any = None,
        limits: GatewayLimits | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Listen."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Close every session and the listener."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        """The port listened on; of use when 0 was asked for."""
        raise NotImplementedError

    def connected(self) -> frozenset[str]:
        """Ids of the Defenders with a session now; any thread."""
        raise NotImplementedError

    def scans_wake(self) -> None:
        """A scan was queued: hand it out now. Any thread."""
        raise NotImplementedError

    def disconnect(self, defender_id: str) -> None:
        """Close a Defender's session, because it was removed. Any thread."""
        raise NotImplementedError

    async def ask(
        self, defender_id: str, request: TestRequest | ExplainRequest, timeout: float
    ) -> dict[str, Any]:
        """A Defender's answer: a test or a route, as in interface.md.

        Raises:
            DefenderNotConnectedError, DefenderSilentError
        """
        raise NotImplementedError
