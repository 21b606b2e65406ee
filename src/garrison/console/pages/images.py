"""/images: every image, worst first, with what is being scanned now above it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import fleet, scans
from garrison.console import images as operations
from garrison.console.pages import text
from garrison.console.pages.scans import Job, job
from garrison.console.pages.shell import intel_mark
from garrison.console.pages.text import ImageName
from garrison.console.pages.view import Choice, Mark, choices, link, segment
from garrison.console.pages.visit import Visit, page
from garrison.findings.finding import Severity

if TYPE_CHECKING:
    from garrison.console.state import AppState
    from garrison.database.images import ImageQuery, ImageRow, ImageSort
    from garrison.database.scans import ScanRow

PATH = "/images"
LIMIT = 50
SORTS = ("severity", "reference", "scanned")
SEVERITIES = (
    ("", "Any severity"),
    ("critical", "With critical"),
    ("high", "High and above"),
    ("medium", "Medium and above"),
    ("low", "Low and above"),
)
WORST_FIRST = tuple(sorted(Severity, reverse=True))
ADVISORY = re.compile(r"(?i)^(?:CVE|GHSA|DSA|DLA|PYSEC|GO|RUSTSEC|ALPINE|DEBIAN|OSV)-[\w.-]+$")
_FAILED_FOR = timedelta(hours=24)
_FAILED_SHOWN = 5
_ACTIVE_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ImageLine:
    """One image of the list. warnings: why it may not be called clean; shown as a badge."""

    href: str
    name: ImageName
    digest: str
    system: str
    counts: tuple[tuple[Severity, int], ...]
    with_fix: str
    scanned_at: datetime
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Jobs:
    """Scans under way, and those that failed lately. active: how many are under way."""

    items: tuple[Job, ...] = ()
    active: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Sort:
    """One sortable column: its address, and how it is sorted now (`aria-sort`), or empty."""

    href: str
    now: str = ""


@dataclass(frozen=True, slots=True)
class ImagesPage:
    """here: the address of this list, for refreshing it. narrowed: a filter is set.

    needs: before the first image, what a scan needs and whether it is there.
    """

    jobs: Jobs
    images: tuple[ImageLine, ...]
    query: str
    package: str
    fixable: bool
    severities: tuple[Choice, ...]
    sort: str
    sorts: dict[str, Sort]
    here: str
    first_page: str
    next_page: str
    narrowed: bool
    may_scan: bool
    needs: tuple[tuple[Mark, str], ...] = ()


def routes() -> list[Route]:
    return [page(PATH, show), page(f"{PATH}/jobs", jobs_part)]


def show(visit: Visit) -> Response:
    """The list as the address describes it."""
    from garrison.database.images import ImageQuery

    query = query_of(visit, ImageQuery)
    found = operations.page(visit.state, query)
    context = ImagesPage(
        jobs=current_jobs(visit.state, visit.now),
        images=image_lines(visit.state, found.items),
        query=visit.query.get("q", "").strip(),
        package=query.package,
        fixable=query.fixable,
        severities=choices(SEVERITIES, visit.query.get("severity", "")),
        sort=query.sort,
        sorts={name: _sort(visit, name, query.sort) for name in SORTS},
        here=_here(visit, cursor=visit.query.get("cursor", "")),
        first_page=_here(visit) if query.cursor else "",
        next_page=_here(visit, cursor=found.next_cursor) if found.next_cursor else "",
        narrowed=any(visit.query.get(name) for name in ("q", "severity", "package", "fixable")),
        may_scan=visit.may("admin", "operator"),
        needs=needs(visit) if not found.items else (),
    )
    return visit.page("images.html", context, title="Images", here="images")


def needs(visit: Visit) -> tuple[tuple[Mark, str], ...]:
    """The way out, advisories and a Defender: a first scan says little without any of them."""
    proxy = visit.state.egress.settings.proxy
    way = f"Out by {proxy.endpoint}" if proxy else "Out directly"
    intel = intel_mark(visit.state.intel.status(), visit.now)
    count = fleet.counts(visit.state).connected
    defender = Mark(
        "ok" if count else "warn",
        f"{text.plural(count, 'Defender')} connected" if count else "No Defender connected",
        "/defenders",
    )
    return (
        (Mark("ok", way, "/manage/system/proxy"), "How registries and advisories are reached."),
        (intel, "What is known to be vulnerable."),
        (defender, "Who pulls the image."),
    )


def jobs_part(visit: Visit) -> Response:
    """The scans alone, asked for every second while one is under way.

    `?active=N` is how many the page shows; when fewer are left, the list below has news.
    """
    current = current_jobs(visit.state, visit.now)
    response = visit.part("_jobs.html", jobs=current)
    before = visit.query.get("active", "")
    if before.isdecimal() and current.active < int(before):
        response.headers["HX-Trigger"] = "images-changed"
    return response


def query_of(visit: Visit, make: type[ImageQuery]) -> ImageQuery:
    """The query in the address; what it does not understand is left out."""
    words = visit.query.get("q", "").strip()
    severity, sort = visit.query.get("severity", ""), visit.query.get("sort", "")
    advisory = words if ADVISORY.match(words) else ""
    return make(
        limit=LIMIT,
        cursor=visit.query.get("cursor") or None,
        search="" if advisory else words,
        sort=cast("ImageSort", sort if sort in SORTS else "severity"),
        min_severity=severity_of(severity),
        fixable=bool(visit.query.get("fixable")),
        advisory=advisory,
        package=visit.query.get("package", "").strip(),
    )


def severity_of(word: str) -> Severity | None:
    """The severity of that name, or None."""
    try:
        return Severity.parse(word)
    except ValueError:
        return None


def image_lines(state: AppState, rows: Sequence[ImageRow]) -> tuple[ImageLine, ...]:
    """Rows in the words of the page, each with why it may not be called clean."""
    return tuple(image_line(row, operations.warnings(state, row)) for row in rows)


def image_line(row: ImageRow, warnings: tuple[str, ...]) -> ImageLine:
    """One row in the words of the page."""
    return ImageLine(
        href=f"{PATH}/{segment(row.digest)}",
        name=text.image_name(row.reference or row.digest),
        digest=row.digest,
        system=system(row),
        counts=tuple((severity, row.counts.of(severity)) for severity in WORST_FIRST),
        with_fix=text.share(row.counts.fixable, row.counts.total) if row.counts.total else "",
        scanned_at=row.scanned_at,
        warnings=warnings,
    )


def system(row: ImageRow) -> str:
    """`Debian 12`, `Alpine 3.20`; the platform is said where it is not the usual one."""
    if row.os is None:
        return "No distribution"
    pretty = row.os.pretty_name or f"{row.os.id} {row.os.version_id}"
    name = re.sub(r" GNU/Linux| Linux|\s*\([^)]*\)| LTS", "", pretty).replace(" v", " ").strip()
    return name or row.os.id


def current_jobs(state: AppState, now: datetime) -> Jobs:
    """What is worth showing above the list."""
    running = scans.scans(state, LIMIT, only="running").items
    queued = scans.scans(state, LIMIT, only="queued").items
    return jobs(running, queued, scans.scans(state, LIMIT).items, now)


def jobs(
    running: Sequence[ScanRow], queued: Sequence[ScanRow], recent: Sequence[ScanRow], now: datetime
) -> Jobs:
    """Scans under way, and failed ones until they are repeated. Queued ones start oldest first."""
    active = [*running, *reversed(queued)]
    failed, seen = [], {(row.reference, row.platform) for row in active}
    # Newest first: the latest scan of a reference decides whether its failure still matters.
    for row in recent:
        key = (row.reference, row.platform)
        if key in seen:
            continue
        seen.add(key)
        if row.state == "failed" and now - (row.finished_at or row.created_at) < _FAILED_FOR:
            failed.append(row)
    shown = [*active[:_ACTIVE_SHOWN], *failed[:_FAILED_SHOWN]]
    return Jobs(tuple(job(row) for row in shown), len(active), len(failed))


def _here(visit: Visit, **changes: str) -> str:
    names = ("q", "severity", "fixable", "package", "sort")
    values = {name: visit.query.get(name, "") for name in names}
    return link(PATH, **{**values, **changes})


def _sort(visit: Visit, name: str, current: str) -> Sort:
    now = ("ascending" if name == "reference" else "descending") if name == current else ""
    return Sort(_here(visit, sort=name), now)
