"""Outside hosts that this Defender contacted, until the Console has them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from garrison.fleet.messages import Contact, ContactStep

if TYPE_CHECKING:
    from garrison.egress import ConnectionRecord

MAX_WAITING = 1000
MAX_BATCH = 200
_NEAR = 50
"""How far back one to add to is looked for."""


class ContactLog:
    """Collects records from any thread. The oldest give way when nobody fetches them.

    What a connection carried is added up until it is fetched. opened, failed: connections since
    the start.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max = max_waiting
        self._waiting: list[Contact] = []
        self._lock = threading.Lock()
        self.opened = self.failed = 0

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
            who=record.who,
            hop=record.hop,
            message=record.message,
            hint=record.hint,
            steps=[ContactStep(s.hop, s.target, s.ok, s.ms, s.detail) for s in record.steps],
            test=record.test,
            opened=record.opened,
            sent=record.sent,
            received=record.received,
        )
        with self._lock:
            if not contact.opened and self._added(contact):
                return
            if contact.opened:
                self.opened += contact.ok
                self.failed += not contact.ok
            self._waiting.append(contact)
            del self._waiting[: -self._max]

    def _added(self, contact: Contact) -> bool:
        names = (contact.host, contact.port, contact.purpose, contact.route)
        for place in range(len(self._waiting) - 1, max(-1, len(self._waiting) - _NEAR), -1):
            held = self._waiting[place]
            if not held.opened and (held.host, held.port, held.purpose, held.route) == names:
                self._waiting[place] = msgspec.structs.replace(
                    held,
                    at=contact.at,
                    sent=held.sent + contact.sent,
                    received=held.received + contact.received,
                )
                return True
        return False

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
