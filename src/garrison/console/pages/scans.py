"""/scans: what was asked for, how far it is, and why it failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import fleet
from garrison.console import proxy as routing
from garrison.console import scans as operations
from garrison.console.accounts import OPERATORS
from garrison.console.pages import text, trace
from garrison.console.pages.text import ImageName
from garrison.console.pages.view import Choice, Crumb, Mark, choices, crumbs, link, segment
from garrison.console.pages.visit import Visit, field_errors, go, htmx_go, page
from garrison.console.problems import InvalidFieldsError, NotFoundError
from garrison.errors import GarrisonError

if TYPE_CHECKING:
    from garrison.database.scans import ScanRow

PATH = "/scans"
LIMIT = 50
STATES = {
    "queued": Mark("idle", "Waiting"),
    "running": Mark("run", "Scanning"),
    "done": Mark("done", "Done"),
    "failed": Mark("fail", "Failed"),
}
PLATFORMS = (
    ("", "The Defender's own"),
    ("linux/amd64", "linux/amd64"),
    ("linux/arm64", "linux/arm64"),
    ("linux/arm/v7", "linux/arm/v7"),
    ("linux/ppc64le", "linux/ppc64le"),
    ("linux/s390x", "linux/s390x"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One scan, in the words of the page.

    image: address of the result, or empty. labels: what the build says of itself that did it.
    """

    id: str
    href: str
    name: ImageName
    reference: str
    platform: str
    state: Mark
    active: bool
    failed: bool
    where: str
    asked_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    done: int
    total: int
    step: str
    attempts: int
    image: str
    failure: trace.Failure | None
    trace: trace.TraceView | None = None
    from_build: bool = False
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def progress(self) -> str:
        """How far it is, with numbers."""
        if not self.active:
            return ""
        if self.started_at is None:
            return "Waits for a Defender"
        if self.total:
            return f"{text.size(self.done)} of {text.size(self.total)}"
        return self.step or "Starts"

    @property
    def seconds(self) -> float | None:
        """How long the work took, or None while it goes on, or where only a build knows it."""
        if self.from_build or self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class ScansPage:
    jobs: tuple[Job, ...]
    active: int
    may_scan: bool
    here: str
    first_page: str
    next_page: str


@dataclass(frozen=True, slots=True)
class ScanPage:
    crumbs: tuple[Crumb, ...]
    job: Job
    connected: int
    again: str
    may_scan: bool


@dataclass(frozen=True, slots=True)
class NewScanPage:
    """connected: how many Defenders could do it now."""

    crumbs: tuple[Crumb, ...]
    reference: str
    platforms: tuple[Choice, ...]
    defenders: tuple[Choice, ...]
    connected: int
    errors: dict[str, str] = field(default_factory=dict)


def routes() -> list[Route]:
    return [
        page(PATH, show_all),
        page(f"{PATH}/new", show_new, roles=OPERATORS),
        page(f"{PATH}/route", route),
        page(PATH, request, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/{{id}}", show),
    ]


def job(row: ScanRow) -> Job:
    """A scan as it is shown."""
    return Job(
        id=row.id,
        href=f"{PATH}/{row.id}",
        name=text.image_name(row.reference),
        reference=row.reference,
        platform=row.platform,
        state=STATES[row.state],
        active=row.state in {"queued", "running"},
        failed=row.state == "failed",
        where="A build" if row.origin == "ci" else row.claimed_by_name,
        asked_by=row.requested_by,
        created_at=row.created_at,
        started_at=row.started_at if row.state != "queued" else None,
        finished_at=row.finished_at,
        done=row.done,
        total=row.total,
        step=row.step,
        attempts=row.attempts,
        image=f"/images/{segment(row.image_digest)}" if row.image_digest else "",
        failure=trace.failure(row.error) if row.state == "failed" else None,
        trace=trace.stored_view(row.error, row.finished_at or row.created_at)
        if row.state == "failed"
        else None,
        from_build=row.origin == "ci",
        labels=tuple(sorted(row.labels.items())),
    )


def show_all(visit: Visit) -> Response:
    """All scans, newest first."""
    found = operations.scans(visit.state, LIMIT, visit.query.get("cursor") or None)
    jobs = tuple(job(row) for row in found.items)
    context = ScansPage(
        jobs=jobs,
        active=sum(item.active for item in jobs),
        may_scan=visit.may(*OPERATORS),
        here=link(PATH, cursor=visit.query.get("cursor", "")),
        first_page=PATH if visit.query.get("cursor") else "",
        next_page=link(PATH, cursor=found.next_cursor) if found.next_cursor else "",
    )
    if visit.partial:
        return visit.part("_scans.html", page=context)
    return visit.page("scans.html", context, title="Scans", here="scans")


def show(visit: Visit) -> Response:
    """One scan. Asked by htmx while it goes on; a finished one leads to its image."""
    item = job(operations.scan(visit.state, visit.path("id")))
    if visit.partial and item.image:
        return htmx_go(item.image)
    context = ScanPage(
        crumbs=crumbs(("Scans", PATH), str(item.name)),
        job=item,
        connected=_connected(visit),
        again=link(f"{PATH}/new", reference=item.reference, platform=item.platform),
        may_scan=visit.may(*OPERATORS) and operations.can_be_asked_for(item.reference),
    )
    if visit.partial:
        return visit.part("_scan.html", page=context)
    return visit.page("scan.html", context, title=f"Scan of {item.name}", here="scans")


def show_new(visit: Visit) -> Response:
    """The form; `?reference=` fills it."""
    reference = visit.query.get("reference", "").strip()
    context = _new(visit, reference, visit.query.get("platform", ""), "")
    return visit.page("scan-new.html", context, title="Scan an image", here="images")


def request(visit: Visit) -> Response:
    """Queue a scan and watch it."""
    reference, platform = visit.form.text("reference"), visit.form.text("platform")
    defender = visit.form.text("defender")
    try:
        row = operations.request_scan(
            visit.state,
            reference,
            platform=platform,
            defender_id=defender or None,
            actor=visit.actor,
        )
    except InvalidFieldsError as error:
        errors = field_errors(error.problems)
    except NotFoundError:
        errors = {"defender": "This Defender is not there any more. Choose another."}
    else:
        return go(f"{PATH}/{row.id}")
    context = _new(visit, reference, platform, defender, errors)
    return visit.page("scan-new.html", context, title="Scan an image", here="images", status=422)


async def route(visit: Visit) -> Response:
    """By which route the registry of `?reference=` would be reached, while it is typed.

    Asked of the Defender that was chosen; of the Console where any may do it, since Defenders
    usually run the same settings.
    """
    from garrison.console.pages import proxy

    url = registry_url(visit.query.get("reference", "").strip())
    if not url:
        return visit.part("_explain.html", view=proxy.Explained())
    source = visit.query.get("defender", "") or routing.CONSOLE
    try:
        found = await routing.explain(visit.state, url, "registry", source)
    except GarrisonError as error:
        return visit.part("_explain.html", view=proxy.Explained(url, error=error.message))
    return visit.part("_explain.html", view=proxy.explained(url, found, "Defender"))


def registry_url(reference: str) -> str:
    """Where the registry of a reference answers, or empty when no registry is asked."""
    from garrison.images import ImageReference

    if not reference or reference.startswith(
        ("oci:", "docker-archive:", "rootfs:", "dir:", "docker:")
    ):
        return ""
    try:
        host = ImageReference.parse(reference).registry
    except (GarrisonError, ValueError):
        return ""
    return f"https://{host}/v2/"


def _new(
    visit: Visit,
    reference: str,
    platform: str,
    defender: str,
    errors: dict[str, str] | None = None,
) -> NewScanPage:
    views = [v for v in fleet.defenders(visit.state, limit=1000).items if v.row.removed_at is None]
    options = [("", "Any that is free")]
    options += [
        (v.row.id, v.row.name if v.connected else f"{v.row.name} (not connected)") for v in views
    ]
    return NewScanPage(
        crumbs=crumbs(("Images", "/images"), "Scan an image"),
        reference=reference,
        platforms=choices(PLATFORMS, platform),
        defenders=choices(options, defender),
        connected=sum(v.connected for v in views),
        errors=errors or {},
    )


def _connected(visit: Visit) -> int:
    return fleet.counts(visit.state).connected
