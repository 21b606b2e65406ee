"""/advisories/{id}: what an advisory says, and where the fleet has it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import images as operations
from garrison.console.pages.image import highest, package_name
from garrison.console.pages.images import ImageLine, image_line, loaded_ecosystems
from garrison.console.pages.view import Crumb, crumbs, link, segment
from garrison.console.pages.visit import Visit, page
from garrison.findings.finding import Cvss, Severity

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
    """url: the published record, only if it is an ordinary web address. images: how many have it."""

    crumbs: tuple[Crumb, ...]
    id: str
    severity: Severity
    severity_source: str
    summary: str
    aliases: tuple[str, ...]
    records: tuple[str, ...]
    cvss: tuple[Cvss, ...]
    published: str
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
    cursor = visit.query.get("cursor") or None
    affected = operations.page(
        visit.state, ImageQuery(limit=LIMIT, cursor=cursor, advisory=found.id)
    )
    here = f"{PATH}/{segment(found.id)}"
    loaded = loaded_ecosystems(visit)
    context = AdvisoryPage(
        crumbs=crumbs(("Images", "/images"), found.id),
        id=found.id,
        severity=found.severity,
        severity_source=found.severity_source,
        summary=found.summary,
        aliases=tuple(a for a in found.aliases if a != found.id),
        records=tuple(r for r in found.records if r != found.id),
        cvss=found.cvss,
        published=found.published[:10],
        url=web_address(found.url),
        packages=tuple(
            AffectedLine(
                package=package_name(item.package),
                kind=item.package.distro or item.package.type,
                version=item.package.version,
                fixed_in=highest(item.package.type, [item.fixed_in]),
                images=item.images,
                href=link("/images", package=item.package.name, q=found.id),
            )
            for item in found.packages
        ),
        images=found.images,
        lines=tuple(image_line(row, loaded) for row in affected.items),
        first_page=here if cursor else "",
        next_page=link(here, cursor=affected.next_cursor) if affected.next_cursor else "",
    )
    return visit.page("advisory.html", context, title=found.id, here="images")


def web_address(url: str) -> str:
    """`url` where a browser may be sent there; records come from outside."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in {"http", "https"} and parts.hostname else ""
