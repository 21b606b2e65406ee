"""/manage/system/intelligence: the advisories, how old they are, and updating them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.routing import Route

from garrison.console.accounts import OPERATORS
from garrison.console.pages import text, trace
from garrison.console.pages.shell import OLD
from garrison.console.pages.view import Crumb, crumbs, link
from garrison.console.pages.visit import Visit, go, page

if TYPE_CHECKING:
    from garrison.console.intel import IntelStatus

PATH = "/manage/system/intelligence"
PATIENCE = 5
_WHAT = {
    "EPSS": "how likely exploitation is within 30 days",
    "KEV": "vulnerabilities known to be exploited",
    "CVE": "ratings, for findings that no advisory rates",
}


@dataclass(frozen=True, slots=True)
class EcosystemLine:
    name: str
    records: int
    withdrawn: int
    skipped: int
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class SourceLine:
    """What is loaded beside advisories. what: what it is for."""

    name: str
    what: str
    records: int
    skipped: int
    version: str
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class SkippedLine:
    ecosystem: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Running:
    """An update under way. total: 0 while it is not known."""

    done: int
    total: int
    step: str

    @property
    def numbers(self) -> str:
        return f"{self.done:,} of {self.total:,}" if self.total else ""


@dataclass(frozen=True, slots=True)
class IntelligencePage:
    """old: warn about the age. matching: packages still to be looked at with this revision.

    follow: seconds to wait for an update that was asked for and has not begun.
    """

    crumbs: tuple[Crumb, ...]
    revision: str
    updated_at: datetime | None
    old: bool
    url: str
    host: str
    running: Running | None
    matching: int
    records: int
    ecosystems: tuple[EcosystemLine, ...]
    sources: tuple[SourceLine, ...]
    skipped: tuple[SkippedLine, ...]
    skipped_total: int
    last_attempt_at: datetime | None
    last_success_at: datetime | None
    next_update_at: datetime | None
    failure: trace.Failure | None
    trace: trace.TraceView | None
    may_update: bool
    follow: int = 0

    @property
    def live(self) -> str:
        """The address to ask in a second while something goes on; empty when nothing does."""
        if self.running is not None or self.matching > 0:
            return PATH
        return link(PATH, follow=self.follow - 1) if self.follow else ""


def routes() -> list[Route]:
    return [
        page(PATH, show),
        page(f"{PATH}/update", update, methods=("POST",), roles=OPERATORS),
    ]


def show(visit: Visit) -> Response:
    """The state of the stream; htmx asks for its changing part every second of an update."""
    status = visit.state.intel.status()
    follow = visit.query.get("follow", "")
    context = intelligence_page(
        status,
        visit.now,
        may_update=visit.may(*OPERATORS),
        follow=min(int(follow), PATIENCE) if follow.isdecimal() else 0,
    )
    if visit.partial:
        return visit.part("_intelligence.html", page=context)
    return visit.page(
        "intelligence.html", context, title="Intelligence Stream", here="intelligence"
    )


def update(visit: Visit) -> Response:
    """Start an update, unless one is under way."""
    started = visit.state.intel.request_update(visit.actor)
    say = "" if started else "An update is under way already."
    return go(link(PATH, follow=PATIENCE), say=say)


def intelligence_page(
    status: IntelStatus, now: datetime, *, may_update: bool, follow: int = 0
) -> IntelligencePage:
    """The context of the page."""
    progress = status.progress
    running = None
    if status.running:
        running = Running(
            progress.done if progress else 0,
            progress.total if progress else 0,
            (progress.step if progress else "") or "Starts",
        )
    return IntelligencePage(
        crumbs=crumbs("Manage", "System", "Intelligence Stream"),
        revision=status.revision,
        updated_at=status.updated_at,
        old=status.updated_at is not None and now - status.updated_at > OLD,
        url=status.url,
        host=urlsplit(status.url).netloc or status.url,
        running=running,
        matching=status.matching,
        records=sum(e.records for e in status.ecosystems),
        ecosystems=tuple(
            EcosystemLine(e.name, e.records, e.withdrawn, e.skipped, moment(e.updated_at))
            for e in status.ecosystems
        ),
        sources=tuple(
            SourceLine(s.name, _WHAT[s.name], s.records, s.skipped, s.version, moment(s.updated_at))
            for s in status.sources
        ),
        skipped=tuple(
            SkippedLine(s.ecosystem, s.id, text.sentence(s.reason)) for s in status.skipped
        ),
        skipped_total=status.skipped_total,
        last_attempt_at=status.last_attempt_at,
        last_success_at=status.last_success_at,
        next_update_at=status.next_update_at,
        failure=trace.failure(status.last_error),
        trace=trace.stored_view(
            asdict(status.last_error) if status.last_error else None, status.last_attempt_at or now
        ),
        may_update=may_update,
        follow=follow,
    )


def moment(value: str) -> datetime | None:
    """An RFC 3339 time, or None where there is none."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else None
