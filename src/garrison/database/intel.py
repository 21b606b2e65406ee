"""How far the advisories are: the update under way, the last one, and what was matched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, or_, select, update

from garrison.database.dialect import insert_or_ignore
from garrison.database.tables import intel
from garrison.database.types import clean, clean_json


@dataclass(frozen=True, slots=True)
class IntelRow:
    """matched_revision: the advisories that every package has been matched with, or empty.

    exploitation: the scores and catalogue that findings are shown with, or empty.

    running_until: an update is under way, unless this has passed: then it died.
    last_error: of the last attempt (`code`, `message`, `hint`, …); None when it went well.
    """

    matched_revision: str = ""
    exploitation: str = ""
    running_until: datetime | None = None
    done: int = 0
    total: int = 0
    step: str = ""
    last_attempt_at: datetime | None = None
    last_success_at: datetime | None = None
    last_error: dict[str, Any] | None = None

    def running(self, now: datetime) -> bool:
        return self.running_until is not None and self.running_until > now


def state(c: Connection) -> IntelRow:
    row = c.execute(select(intel)).one_or_none()
    if row is None:
        return IntelRow()
    return IntelRow(
        row.matched_revision,
        row.exploitation,
        row.running_until,
        row.done,
        row.total,
        row.step,
        row.last_attempt_at,
        row.last_success_at,
        row.last_error,
    )


def start(c: Connection, *, lease_until: datetime, now: datetime) -> bool:
    """Begin an update; False when another process is at it.

    lease_until: when it counts as dead unless `progress` extends it.
    """
    _ensure(c)
    begun = c.execute(
        update(intel)
        .where(or_(intel.c.running_until.is_(None), intel.c.running_until <= now))
        .values(running_until=lease_until, last_attempt_at=now, done=0, total=0, step="")
    )
    return begun.rowcount > 0


def progress(c: Connection, *, done: int, total: int, step: str, lease_until: datetime) -> None:
    """How far the update under way is."""
    c.execute(
        update(intel).values(done=done, total=total, step=clean(step), running_until=lease_until)
    )


def succeeded(c: Connection, now: datetime) -> None:
    """The update is over and went well, whether or not it brought anything new."""
    c.execute(
        update(intel).values(running_until=None, last_success_at=now, last_error=None, step="")
    )


def failed(c: Connection, error: Mapping[str, Any]) -> None:
    """The update is over and did not go well; the advisories before it stay in force."""
    c.execute(update(intel).values(running_until=None, last_error=clean_json(dict(error)), step=""))


def matched(c: Connection, revision: str) -> None:
    """Every package has been matched with the advisories of this revision."""
    _ensure(c)
    c.execute(update(intel).values(matched_revision=revision))


def exploitation_known(c: Connection, version: str) -> None:
    """Findings are shown with these scores and this catalogue now."""
    _ensure(c)
    c.execute(update(intel).values(exploitation=version))


def _ensure(c: Connection) -> None:
    empty = {"id": 1, "matched_revision": "", "done": 0, "total": 0, "step": ""}
    c.execute(insert_or_ignore(c, intel).values(empty))
