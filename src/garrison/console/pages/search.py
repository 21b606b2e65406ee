"""/search: pages, images and advisories by a few letters; also the list behind Ctrl K."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import images
from garrison.console.pages import text
from garrison.console.pages.images import ADVISORY
from garrison.console.pages.view import segment
from garrison.console.pages.visit import Visit, page

PATH = "/search"
LIMIT = 8
PAGES = (
    ("Overview", "/overview", "compass", "start home attention status"),
    ("Images", "/images", "layers", "findings vulnerabilities packages"),
    ("Scan an image", "/scans/new", "plus", "pull registry reference"),
    ("Scans", "/scans", "activity", "progress failed"),
    ("Alerts", "/alerts", "bell", "slack deliveries messages"),
    ("Egress map", "/network/map", "waypoints", "routes picture health failing"),
    (
        "Connections",
        "/network/connections",
        "arrow-left-right",
        "egress hosts firewall contacted allow-list export squid csv",
    ),
    ("Defenders", "/defenders", "shield", "fleet agents nodes"),
    ("Add a Defender", "/defenders/add", "plus", "join token enrol deploy"),
    ("Registries", "/manage/registries", "database", "credentials password docker"),
    (
        "Proxy",
        "/manage/system/proxy",
        "settings-2",
        "no proxy ca certificates user password system",
    ),
    ("Proxies and failover", "/manage/system/proxy/proxies", "settings-2", "second backup"),
    ("Proxy rules", "/manage/system/proxy/rules", "settings-2", "purpose group destination"),
    ("PAC file", "/manage/system/proxy/pac", "settings-2", "wpad auto configuration"),
    ("CAs per destination", "/manage/system/proxy/authorities", "settings-2", "private trust"),
    ("Strict mode", "/manage/system/proxy/strict", "lock", "allow-list refuse"),
    (
        "Intelligence Stream",
        "/manage/system/intelligence",
        "refresh-cw",
        "advisories osv update feed",
    ),
    ("Access", "/manage/access", "users", "api tokens people users"),
    ("Audit log", "/manage/access/audit", "file-text", "changes history who"),
)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result. mark: an icon's name."""

    mark: str
    before: str
    name: str
    after: str
    note: str
    href: str


@dataclass(frozen=True, slots=True)
class SearchPage:
    """groups: (name, hits) pairs; empty ones are left out."""

    query: str
    groups: tuple[tuple[str, tuple[Hit, ...]], ...]


def routes() -> list[Route]:
    return [page(PATH, show)]


def show(visit: Visit) -> Response:
    """Results of `?q=`; htmx gets the list alone."""
    words = visit.query.get("q", "").strip()
    found = [("Pages", matching_pages(words)), ("Images", _images(visit, words))]
    if ADVISORY.match(words):
        name = words.upper() if words.upper().startswith("CVE-") else words
        hit = Hit("shield-alert", "", name, "", "Advisory", f"/advisories/{segment(name)}")
        found.insert(0, ("Advisories", (hit,)))
    context = SearchPage(words, tuple((name, hits) for name, hits in found if hits))
    if visit.partial:
        return visit.part("_search.html", page=context)
    return visit.page("search.html", context, title="Search", here="search")


def matching_pages(words: str) -> tuple[Hit, ...]:
    """Pages whose name or subject has every word; those named so first."""
    wanted = words.lower().split()
    hits = [
        (all(word in name.lower() for word in wanted), Hit(mark, "", name, "", "Page", href))
        for name, href, mark, about in PAGES
        if all(word in f"{name} {about}".lower() for word in wanted)
    ]
    return tuple(hit for named, hit in sorted(hits, key=lambda pair: not pair[0]))


def _images(visit: Visit, words: str) -> tuple[Hit, ...]:
    from garrison.database.images import ImageQuery

    if not words or ADVISORY.match(words):
        return ()
    found = images.page(visit.state, ImageQuery(limit=LIMIT, search=words))
    hits = []
    for row in found.items:
        name = text.image_name(row.reference or row.digest)
        note = text.plural(row.counts.total, "finding")
        href = f"/images/{segment(row.digest)}"
        hits.append(Hit("layers", name.host, name.repository, name.tag, note, href))
    return tuple(hits)
