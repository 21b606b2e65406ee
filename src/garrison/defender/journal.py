"""Results that the Console has not acknowledged yet: kept on disk, sent again until it has."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import structlog

from garrison.fleet.errors import ProtocolError
from garrison.fleet.files import write_private
from garrison.fleet.messages import (
    MAX_MESSAGE,
    ScanFailed,
    ScanResult,
    decode_from_defender,
    encode,
)

Result: TypeAlias = ScanResult | ScanFailed

MAX_ENTRIES = 256
MAX_BYTES = 512 << 20
_NAME = re.compile(r"(\d{12})-[0-9a-f]{32}\.json")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    """message: kept in memory only while it could not be written."""

    path: Path
    size: int
    message: Result | None = None


class Journal:
    """Unacknowledged results by scan id, oldest first.

    Survives a restart. When it is full the oldest gives way: the Console hands that scan out
    again when its lease has ended, so nothing is lost but work. A disk that takes nothing more
    is survived in memory. Any thread.
    """

    def __init__(
        self, directory: Path, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._directory = directory
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: dict[str, _Entry] = {}
        self._number = 0
        self._lock = threading.RLock()
        self._load()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._entries

    def ids(self) -> list[str]:
        """Scan ids, oldest first."""
        return list(self._entries)

    def add(self, result: Result) -> None:
        """Remember `result` until it is acknowledged; a second one for a scan replaces the first.

        When this returns the result survives a crash, unless the disk refused it.
        """
        data = encode(result)
        with self._lock:
            self._add(result, data)

    def _add(self, result: Result, data: bytes) -> None:
        self.acknowledged(result.id)
        self._number += 1
        name = f"{self._number:012d}-{hashlib.sha256(result.id.encode()).hexdigest()[:32]}.json"
        entry = _Entry(self._directory / name, len(data))
        try:
            write_private(entry.path, data)
        except OSError as error:
            _log.warning("result not written", scan=result.id, reason=error.strerror)
            entry.message = result
        self._entries[result.id] = entry
        self._trim()

    def get(self, scan_id: str) -> Result | None:
        """The result of one scan, None where there is none (any more)."""
        with self._lock:
            entry = self._entries.get(scan_id)
            if entry is None or entry.message is not None:
                return entry.message if entry else None
            result = _read(entry.path)
            if result is None or result.id != scan_id:
                self.acknowledged(scan_id)
                return None
            return result

    def pending(self) -> Iterator[Result]:
        """All results, oldest first, each read when it is its turn."""
        for scan_id in self.ids():
            if (result := self.get(scan_id)) is not None:
                yield result

    def acknowledged(self, scan_id: str) -> None:
        """The Console has it: forget it."""
        with self._lock:
            if entry := self._entries.pop(scan_id, None):
                entry.path.unlink(missing_ok=True)

    def _trim(self) -> None:
        size = sum(entry.size for entry in self._entries.values())
        while len(self._entries) > 1 and (
            len(self._entries) > self._max_entries or size > self._max_bytes
        ):
            oldest = next(iter(self._entries))
            size -= self._entries[oldest].size
            _log.warning("journal is full, a result is dropped", scan=oldest)
            self.acknowledged(oldest)

    def _load(self) -> None:
        if not self._directory.is_dir():
            return
        for path in sorted(self._directory.iterdir()):
            if not (match := _NAME.fullmatch(path.name)):
                # What a crash left of a file that was being written.
                if path.name.startswith("."):
                    path.unlink(missing_ok=True)
                continue
            self._number = int(match[1])
            if (result := _read(path)) is None:
                _log.warning("journal entry is not readable and dropped", file=path.name)
                path.unlink(missing_ok=True)
                continue
            self._entries[result.id] = _Entry(path, path.stat().st_size)
        self._trim()


def _read(path: Path) -> Result | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MESSAGE + 1)
        message = decode_from_defender(data) if len(data) <= MAX_MESSAGE else None
    except (OSError, ProtocolError):
        return None
    return message if isinstance(message, ScanResult | ScanFailed) else None
