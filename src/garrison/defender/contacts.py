"""Outside hosts that this Defender contacted, until the Console has them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from garrison.fleet.messages import Contact

if TYPE_CHECKING:
    from garrison.egress import ConnectionRecord

MAX_WAITING = 1000
MAX_BATCH = 200


class ContactLog:
    """Collects records from any thread. The oldest give way when nobody fetches them."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max = max_waiting
        self._waiting: list[Contact] = []
        self._lock = threading.Lock()

    def observe(self, record: ConnectionRecord) -> None:
        """An observer for `egress`."""
        contact = Contact(
            host=record.host,
            port=record.port,
            purpose=record.purpose,
            route=record.route,
            ok=record.ok,
            at=record.at.timestamp(),
            code=record.code,
        )
        with self._lock:
            self._waiting.append(contact)
            del self._waiting[: -self._max]

    def take(self) -> list[Contact]:
        """The next batch, oldest first; give it back when it could not be sent."""
        with self._lock:
            batch = self._waiting[:MAX_BATCH]
            del self._waiting[:MAX_BATCH]
            return batch

    def give_back(self, batch: list[Contact]) -> None:
        with self._lock:
            self._waiting[:0] = batch
            del self._waiting[: -self._max]
