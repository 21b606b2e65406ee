"""/advisories/{id}: what an advisory says, and where the fleet has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import images as operations
from garrison.console.pages.images import ImageLine, image_lines
from garrison.console.pages.view import Crumb, crumbs, link, segment
from garrison.console.pages.visit import Visit, page
from garrison.findings import Cvss, Severity, full_name

if TYPE_CHECKING:
    from garrison.advisories import Advisory
    from garrison.database.matches import AdvisoryRow, AffectedPackage

PATH = "/advisories"
LIMIT = 50


@dataclass(frozen=True, slots=True)
class AffectedLine:
    package: str
    kind: str
    version: str
    fixed_in: str
    images: int
    href: str


@dataclass(frozen=True, slots=True)
class AdvisoryPage:
    """url: the published record, if it is an ordinary web address. images: how many have it."""

    crumbs: tuple[Crumb, ...]
    id: str
    severity: Severity
    severity_source: str
    summary: str
    details: str
    aliases: tuple[str, ...]
    records: tuple[str, ...]
    cvss: tuple[Cvss, ...]
    published: str
    withdrawn: str
    url: str
    packages: tuple[AffectedLine, ...]
    images: int
    lines: tuple[ImageLine, ...]
    first_page: str
    next_page: str


def routes() -> list[Route]:
    return [page(f"{PATH}/{{id}}", show)]


def show(visit: Visit) -> Response:
    """The advisory by its id, an alias or a record's id."""
    from garrison.database.images import ImageQuery

    found = operations.advisory(visit.state, visit.path("id"))
    known = found.fleet or from_record(found.record)
    here = f"{PATH}/{segment(known.id)}"
    cursor = visit.query.get("cursor") or None
    affected = operations.page(
        visit.state, ImageQuery(limit=LIMIT, cursor=cursor, advisory=known.id)
    )
    context = AdvisoryPage(
        crumbs=crumbs(("Images", "/images"), known.id),
        id=known.id,
        severity=known.severity,
        severity_source=known.severity_source,
        summary=known.summary or (found.record.summary if found.record else ""),
        details=found.record.details if found.record else "",
        aliases=tuple(a for a in known.aliases if a not in {known.id, *known.records}),
        records=tuple(r for r in known.records if r != known.id),
        cvss=known.cvss,
        published=known.published[:10],
        withdrawn=found.record.withdrawn[:10] if found.record else "",
        url=web_address(known.url),
        packages=tuple(affected_line(item, known.id) for item in known.packages),
        images=known.images,
        lines=image_lines(visit.state, affected.items),
        first_page=here if cursor else "",
        next_page=link(here, cursor=affected.next_cursor) if affected.next_cursor else "",
    )
    return visit.page("advisory.html", context, title=known.id, here="images")


def from_record(record: Advisory | None) -> AdvisoryRow:
    """What is known of an advisory that nothing in the fleet matches."""
    from garrison.database.matches import AdvisoryRow

    assert record is not None
    return AdvisoryRow(
        id=record.id,
        aliases=tuple(i for i in record.identifiers if i != record.id),
        severity=Severity.UNKNOWN,
        severity_source="",
        cvss=(),
        summary=record.summary,
        url=record.url,
        published=record.published,
        records=(record.id,),
        packages=(),
        images=0,
    )


def affected_line(item: AffectedPackage, advisory: str) -> AffectedLine:
    """One package of the fleet that the advisory is about."""
    return AffectedLine(
        package=full_name(item.package),
        kind=item.package.distro or item.package.type,
        version=item.package.version,
        fixed_in=item.fixed_in,
        images=item.images,
        href=link("/images", q=advisory, package=item.package.name),
    )


def web_address(url: str) -> str:
    """`url` where a browser may be sent there; records come from outside."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in {"http", "https"} and parts.hostname else ""
