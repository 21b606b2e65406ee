"""The Intelligence Stream: when it is updated, and what an update changes in known images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from garrison.advisories import AdvisoryStore
    from garrison.database import Database
    from garrison.egress import EgressClient


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an update is. total: 0 while it is not known. step: what is done now, for people."""

    done: int
    total: int
    step: str


@dataclass(frozen=True, slots=True)
class EcosystemStatus:
    """One loaded ecosystem."""

    name: str
    records: int
    withdrawn: int
    skipped: int
    updated_at: str


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record that could not be read, and why."""

    ecosystem: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class LastError:
    """Why the last update failed. who: `you|proxy|destination|network`, or empty."""

    code: str
    message: str
    hint: str = ""
    who: str = ""
    hop: str = ""


@dataclass(frozen=True, slots=True)
class IntelStatus:
    """What the Intelligence Stream page shows.

    revision: empty when nothing was ever loaded. matching: packages still to be matched with this
    revision. next_update_at: None while one runs.
    """

    revision: str
    updated_at: datetime | None
    url: str
    running: bool
    progress: Progress | None
    ecosystems: tuple[EcosystemStatus, ...]
    skipped: tuple[SkippedRecord, ...]
    skipped_total: int
    last_attempt_at: datetime | None
    last_success_at: datetime | None
    last_error: LastError | None
    next_update_at: datetime | None
    matching: int


class IntelService:
    """Updates the advisory store on a schedule and matches known packages with it."""

    def __init__(
        self,
        db: Database,
        egress: EgressClient,
        data: Path,
        *,
        url: str,
        ecosystems: tuple[str, ...],
        clock: Callable[[], datetime],
    ) -> None:
        raise NotImplementedError

    def status(self) -> IntelStatus:
        """What is loaded and what goes on. Any thread."""
        raise NotImplementedError

    def store(self) -> AdvisoryStore | None:
        """The advisories now loaded, or None. Any thread."""
        raise NotImplementedError

    def request_update(self, actor: str) -> bool:
        """Start an update in the background; False when one is under way. Any thread."""
        raise NotImplementedError

    async def run(self) -> None:
        """Update on schedule and match after it, until cancelled."""
        raise NotImplementedError
