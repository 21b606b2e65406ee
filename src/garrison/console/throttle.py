"""Slows down guessing of passwords: pure bookkeeping with bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock


@dataclass(slots=True)
class Throttle:
    """Counts failures by key; after `free` of them every further one waits, doubling.

    Memory is bounded: the keys unused for longest are forgotten first.
    """

    free: int = 5
    first: float = 2.0
    longest: float = 900.0
    capacity: int = 10_000
    _failures: OrderedDict[str, tuple[int, datetime]] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def wait(self, key: str, now: datetime) -> float:
        """Seconds until `key` may try again; 0 when it may now."""
        with self._lock:
            count, last = self._failures.get(key, (0, now))
        if count < self.free:
            return 0.0
        pause = min(self.first * 2.0 ** min(count - self.free, 30), self.longest)
        return max(0.0, pause - (now - last).total_seconds())

    def failed(self, key: str, now: datetime) -> None:
        """Count one failure."""
        with self._lock:
            count, last = self._failures.pop(key, (0, now))
            # Long quiet: start counting anew.
            if (now - last).total_seconds() > 2 * self.longest:
                count = 0
            self._failures[key] = (count + 1, now)
            while len(self._failures) > self.capacity:
                self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of `key`."""
        with self._lock:
            self._failures.pop(key, None)
