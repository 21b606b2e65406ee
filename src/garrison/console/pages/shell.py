"""What stands around a page: navigation with its counts, the state of the Intelligence Stream."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from garrison.console import fleet
from garrison.console.pages import text
from garrison.console.pages.view import Flash, Mark, Shell
from garrison.database import images as rows

if TYPE_CHECKING:
    from garrison.console.intel import IntelStatus
    from garrison.console.pages.visit import Visit

OLD = timedelta(hours=26)
"""Advisories older than this are worth a look: a daily update was missed."""
INTELLIGENCE = "/manage/system/intelligence"


def build(visit: Visit, here: str, *, flash: Flash | None = None) -> Shell:
    """The shell of a whole page."""
    from garrison.console.pages.visit import theme_of

    images, defenders = _counts(visit)
    return Shell(
        user=visit.session.user,
        role=visit.session.role,
        csrf=visit.session.csrf,
        theme=theme_of(visit.request),
        here=here,
        intel=intel_mark(visit.state.intel.status(), visit.now),
        now=visit.now,
        path=visit.address,
        images=images,
        defenders=defenders,
        flash=flash,
    )


def small(visit: Visit) -> Shell:
    """The shell for a part of a page: nothing is counted for it."""
    return Shell(
        user=visit.session.user,
        role=visit.session.role,
        csrf=visit.session.csrf,
        theme="",
        here="",
        intel=Mark("idle", ""),
        now=visit.now,
    )


def intel_mark(status: IntelStatus, now: datetime) -> Mark:
    """The state of the Intelligence Stream in a few words."""
    name = "Intelligence Stream"
    if status.running:
        progress = status.progress
        if progress is None or progress.total == 0:
            return Mark("run", f"{name} updates", INTELLIGENCE)
        done = text.share(progress.done, progress.total)
        return Mark("run", f"{name} fills, {done}", INTELLIGENCE)
    if not status.revision or status.updated_at is None:
        failed = status.last_error is not None
        word = f"{name} cannot be reached" if failed else f"{name} is empty"
        return Mark("fail" if failed else "warn", word, INTELLIGENCE)
    age = text.age(status.updated_at, now)
    if status.last_error is not None:
        return Mark("fail", f"{name} fails, {age} old", INTELLIGENCE)
    shape = "warn" if now - status.updated_at > OLD else "ok"
    return Mark(shape, f"{name} {age} old", INTELLIGENCE)


def _counts(visit: Visit) -> tuple[int, int]:
    with visit.state.db.read() as c:
        images = rows.count(c)
    return images, fleet.counts(visit.state).total
