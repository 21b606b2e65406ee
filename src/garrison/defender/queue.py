"""Which scan is next. A decision only: no threads, no network."""

from __future__ import annotations

from collections import OrderedDict

from garrison.fleet.messages import ScanRequest


class ScanQueue:
    """Scans asked for, in the order they came; at most `at_once` are in work.

    The Console may ask twice for the same scan, because it did not see our answer: the second
    request changes nothing while the first is known.
    """

    def __init__(self, at_once: int) -> None:
        if at_once < 1:
            raise ValueError("at least one scan at once")
        self._at_once = at_once
        self._waiting: OrderedDict[str, ScanRequest] = OrderedDict()
        self._running: set[str] = set()

    def offer(self, request: ScanRequest) -> bool:
        """Take `request`; False when this scan is known already."""
        if request.id in self._running or request.id in self._waiting:
            return False
        self._waiting[request.id] = request
        return True

    def start(self) -> ScanRequest | None:
        """The scan to begin now, or None: nothing waits, or enough are in work."""
        if not self._waiting or len(self._running) >= self._at_once:
            return None
        scan_id, request = self._waiting.popitem(last=False)
        self._running.add(scan_id)
        return request

    def finished(self, scan_id: str) -> None:
        """The scan is no longer in work."""
        self._running.discard(scan_id)

    def ids(self) -> list[str]:
        """Every scan known here."""
        return [*sorted(self._running), *self._waiting]

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)
