"""/manage/waivers: findings that somebody accepts for a reason until a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import waivers as operations
from garrison.console.accounts import OPERATORS
from garrison.console.pages.view import Choice, Crumb, crumbs, link, segment
from garrison.console.pages.visit import Visit, field_errors, go, page
from garrison.console.problems import InvalidFieldsError
from garrison.console.waivers import WaiverForm

if TYPE_CHECKING:
    from garrison.database.waivers import WaiverRow, WaiverState

PATH = "/manage/waivers"
PAGE = 100
SOON = timedelta(days=14)
"""A waiver that ends so soon is worth a look."""
DEFAULT_DAYS = 90
_STATES: tuple[tuple[WaiverState, str], ...] = (
    ("active", "In force"),
    ("expired", "Expired"),
    ("ended", "Ended"),
)


@dataclass(frozen=True, slots=True)
class WaiverLine:
    """soon: it ends within days. scope: package and image, as far as they narrow it."""

    advisory: str
    advisory_href: str
    package: str
    image: str
    reason: str
    created_by: str
    last_day: str
    ended_at: datetime | None
    ended_by: str
    in_force: bool
    soon: bool
    findings: int
    href: str


@dataclass(frozen=True, slots=True)
class WaiversPage:
    crumbs: tuple[Crumb, ...]
    waivers: tuple[WaiverLine, ...]
    states: tuple[Choice, ...]
    state: str
    may_change: bool
    next_page: str


@dataclass(frozen=True, slots=True)
class WaiverPage:
    """The form. known: it is in force already, so its scope stays. action: where it is sent."""

    crumbs: tuple[Crumb, ...]
    heading: str
    action: str
    known: bool
    advisory: str = ""
    package: str = ""
    image: str = ""
    reason: str = ""
    expires: str = ""
    least: str = ""
    back: str = PATH
    errors: Mapping[str, str] = field(default_factory=dict)


def routes() -> list[Route]:
    return [
        page(PATH, show),
        page(f"{PATH}/new", show_new, roles=OPERATORS),
        page(PATH, create, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/{{waiver}}", show_one),
        page(f"{PATH}/{{waiver}}", change, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/{{waiver}}/end", end, methods=("POST",), roles=OPERATORS),
    ]


def show(visit: Visit) -> Response:
    """Waivers in one state, the newest first."""
    asked = visit.query.get("state", "")
    chosen: WaiverState = next((key for key, _ in _STATES if key == asked), "active")
    cursor = visit.query.get("cursor") or None
    found = operations.page(visit.state, PAGE, cursor, only=chosen)
    context = WaiversPage(
        crumbs=crumbs("Manage", "Waivers"),
        waivers=tuple(waiver_line(row, visit.now) for row in found.items),
        states=tuple(
            Choice(key, name, key == chosen, href=link(PATH, state=key)) for key, name in _STATES
        ),
        state=chosen,
        may_change=visit.may(*OPERATORS),
        next_page=link(PATH, state=chosen, cursor=found.next_cursor) if found.next_cursor else "",
    )
    return visit.page("waivers.html", context, title="Waivers", here="waivers")


def show_new(visit: Visit) -> Response:
    """The form, filled in with the finding it was opened from."""
    query = visit.query
    context = WaiverPage(
        _crumbs("New waiver"),
        "New waiver",
        PATH,
        known=False,
        advisory=query.get("advisory", ""),
        package=query.get("package", ""),
        image=query.get("image", ""),
        expires=(visit.now + timedelta(days=DEFAULT_DAYS)).date().isoformat(),
        least=visit.now.date().isoformat(),
    )
    return _form(visit, context)


def show_one(visit: Visit) -> Response:
    """One waiver: its form for those who may change it while it is in force, else the list."""
    row = operations.waiver(visit.state, visit.path("waiver"))
    if not row.in_force or not visit.may(*OPERATORS):
        return go(link(PATH, state=row.state))
    context = WaiverPage(
        _crumbs(title_of(row)),
        title_of(row),
        f"{PATH}/{segment(row.id)}",
        known=True,
        advisory=row.advisory,
        package=row.package,
        image=row.image,
        reason=row.reason,
        expires=last_day(row.expires_at),
        least=visit.now.date().isoformat(),
    )
    return _form(visit, context)


def create(visit: Visit) -> Response:
    form = _typed(visit)
    try:
        row = operations.create(visit.state, form, visit.actor)
    except InvalidFieldsError as error:
        context = WaiverPage(
            _crumbs("New waiver"),
            "New waiver",
            PATH,
            known=False,
            advisory=form.advisory,
            package=form.package,
            image=form.image,
            reason=form.reason,
            expires=form.expires,
            least=visit.now.date().isoformat(),
            errors=field_errors(error.problems),
        )
        return _form(visit, context, status=422)
    covered = "1 finding counts" if row.findings == 1 else f"{row.findings:,} findings count"
    return go(PATH, say=f"Waived. {covered} no longer, until {last_day(row.expires_at)}.")


def change(visit: Visit) -> Response:
    waiver_id, form = visit.path("waiver"), _typed(visit)
    try:
        row = operations.change(visit.state, waiver_id, form, visit.actor)
    except InvalidFieldsError as error:
        held = operations.waiver(visit.state, waiver_id)
        context = WaiverPage(
            _crumbs(title_of(held)),
            title_of(held),
            f"{PATH}/{segment(waiver_id)}",
            known=True,
            advisory=held.advisory,
            package=held.package,
            image=held.image,
            reason=form.reason,
            expires=form.expires,
            least=visit.now.date().isoformat(),
            errors=field_errors(error.problems),
        )
        return _form(visit, context, status=422)
    return go(PATH, say=f"Saved. It holds until {last_day(row.expires_at)}.")


def end(visit: Visit) -> Response:
    operations.end(visit.state, visit.path("waiver"), visit.actor)
    return go(PATH, say="Ended. What it covered counts again.")


def waiver_line(row: WaiverRow, now: datetime) -> WaiverLine:
    """One waiver in the words of the page."""
    return WaiverLine(
        advisory=row.advisory,
        advisory_href=f"/advisories/{segment(row.advisory)}" if row.advisory else "",
        package=row.package,
        image=row.image,
        reason=row.reason,
        created_by=row.created_by,
        last_day=last_day(row.expires_at),
        ended_at=row.ended_at,
        ended_by="" if row.state == "expired" else row.ended_by,
        in_force=row.in_force,
        soon=row.in_force and row.expires_at - now < SOON,
        findings=row.findings,
        href=f"{PATH}/{segment(row.id)}",
    )


def title_of(row: WaiverRow) -> str:
    """What it is about, in short."""
    return " in ".join(part for part in (row.advisory, row.package) if part)


def last_day(expires_at: datetime) -> str:
    """The last day on which it holds."""
    return (expires_at - timedelta(microseconds=1)).date().isoformat()


def _typed(visit: Visit) -> WaiverForm:
    form = visit.form
    return WaiverForm(
        advisory=form.text("advisory"),
        package=form.text("package"),
        image=form.text("image"),
        reason=form.raw("reason").replace("\r\n", "\n").strip(),
        expires=form.text("expires_at"),
    )


def _form(visit: Visit, context: WaiverPage, *, status: int = 200) -> Response:
    return visit.page("waiver.html", context, title=context.heading, here="waivers", status=status)


def _crumbs(name: str) -> tuple[Crumb, ...]:
    return crumbs("Manage", ("Waivers", PATH), name)
