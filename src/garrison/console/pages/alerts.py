"""/alerts: who is told about which findings, and what became of each message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from garrison.console import alerting as operations
from garrison.console.accounts import OPERATORS
from garrison.console.alerting import ProfileForm
from garrison.console.pages import text, trace
from garrison.console.pages.text import ImageName
from garrison.console.pages.view import Choice, Crumb, Mark, choices, crumbs, link, segment
from garrison.console.pages.visit import Visit, field_errors, go, page
from garrison.console.problems import ConflictError, InvalidFieldsError
from garrison.findings.finding import Severity
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.database.alerts import AlertProfileRow, AttemptRow, DeliveryRow

PATH = "/alerts"
LIMIT = 50
THRESHOLDS = (
    ("critical", "Critical"),
    ("high", "High and above"),
    ("medium", "Medium and above"),
    ("low", "Low and above"),
    ("unknown", "Every finding"),
)
KINDS = {"slack": "Slack"}
STATES = {
    "queued": Mark("idle", "Waiting"),
    "sending": Mark("run", "Sending"),
    "sent": Mark("done", "Sent"),
    "failed": Mark("fail", "Given up"),
}


@dataclass(frozen=True, slots=True)
class TestResult:
    """What came of a test message. view: its way, hop by hop."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    ok: bool
    failure: trace.Failure | None
    view: trace.TraceView


@dataclass(frozen=True, slots=True)
class ProfileLine:
    """host: of the webhook, the only part of it that is no secret."""

    id: str
    name: str
    kind: str
    host: str
    threshold: str
    enabled: bool
    href: str
    test: TestResult | None = None


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One message. failure: of its last attempt. waits: when the next is due, while it waits."""

    id: str
    profile: str
    image: ImageName | None
    image_href: str
    findings: int
    state: Mark
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    waits: datetime | None
    failure: trace.Failure | None
    may_retry: bool


@dataclass(frozen=True, slots=True)
class AttemptLine:
    number: int
    at: datetime
    ok: bool
    view: trace.TraceView


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """text: the message as people see it. attempts: the newest first."""

    crumbs: tuple[Crumb, ...]
    line: DeliveryLine
    text: str
    attempts: tuple[AttemptLine, ...]
    may_change: bool


@dataclass(frozen=True, slots=True)
class AlertsPage:
    """waiting, given_up: deliveries on this page that failed; cause: of the newest of them."""

    profiles: tuple[ProfileLine, ...]
    deliveries: tuple[DeliveryLine, ...]
    waiting: int
    given_up: int
    cause: trace.Failure | None
    may_change: bool
    first_page: str
    next_page: str


@dataclass(frozen=True, slots=True)
class ProfilePage:
    """id: empty for a new profile."""

    crumbs: tuple[Crumb, ...]
    id: str
    heading: str
    name: str
    host: str
    threshold: tuple[Choice, ...]
    enabled: bool
    errors: Mapping[str, str] = field(default_factory=dict)


def routes() -> list[Route]:
    return [
        page(PATH, show),
        page(f"{PATH}/new", show_new, roles=OPERATORS),
        page(PATH, create, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/deliveries/{{id}}", show_delivery),
        page(f"{PATH}/deliveries/{{id}}/retry", retry, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/{{id}}", show_profile, roles=OPERATORS),
        page(f"{PATH}/{{id}}", change, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/{{id}}/test", test, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/{{id}}/remove", remove, methods=("POST",), roles=OPERATORS),
    ]


def show(visit: Visit) -> Response:
    """Profiles and deliveries."""
    return _answer(visit, _context(visit))


def show_new(visit: Visit) -> Response:
    return _form(visit, _new())


def _new() -> ProfilePage:
    return ProfilePage(_crumbs("Add Slack"), "", "Add Slack", "", "", _thresholds("high"), True)


def create(visit: Visit) -> Response:
    """A new profile."""
    try:
        made = operations.create_profile(visit.state, _typed(visit), visit.actor)
    except InvalidFieldsError as error:
        return _refused(visit, "", "Add Slack", error)
    return go(PATH, say=f"Added {made.name}. Send a test to see that it arrives.")


def show_profile(visit: Visit) -> Response:
    row = operations.profile(visit.state, visit.path("id"))
    context = ProfilePage(
        _crumbs(row.name),
        row.id,
        row.name,
        row.name,
        operations.shown_host(row),
        _thresholds(row.threshold.label),
        row.enabled,
    )
    return _form(visit, context)


def change(visit: Visit) -> Response:
    """Change a profile; an empty address keeps the one that is stored."""
    profile_id = visit.path("id")
    row = operations.profile(visit.state, profile_id)
    try:
        changed = operations.update_profile(visit.state, profile_id, _typed(visit), visit.actor)
    except InvalidFieldsError as error:
        return _refused(visit, profile_id, row.name, error, operations.shown_host(row))
    return go(PATH, say=f"Saved {changed.name}.")


def remove(visit: Visit) -> Response:
    row = operations.profile(visit.state, visit.path("id"))
    operations.delete_profile(visit.state, row.id, visit.actor)
    return go(PATH, say=f"Removed {row.name}. What it sent stays listed.")


async def test(visit: Visit) -> Response:
    """Send a test message now and say what came of it."""
    profile_id = visit.path("id")
    result = await operations.send_test(visit.state, profile_id, visit.actor)
    row = await run_in_threadpool(operations.profile, visit.state, profile_id)
    outcome = test_result(result, operations.shown_host(row), datetime.now(UTC))
    if visit.partial:
        return visit.part("_profile.html", profile=profile_line(row, outcome), may_change=True)
    context = await run_in_threadpool(_context, visit, profile_id, outcome)
    return _answer(visit, context)


def show_delivery(visit: Visit) -> Response:
    """One message, and every attempt to send it."""
    row = operations.delivery(visit.state, visit.path("id"))
    host = ""
    if row.profile_id:
        host = operations.shown_host(operations.profile(visit.state, row.profile_id))
    tries = operations.attempts(visit.state, row.id)
    context = DeliveryPage(
        crumbs=_crumbs("Delivery"),
        line=delivery_line(row),
        text=str(row.payload.get("text", "")),
        attempts=tuple(attempt_line(item, host) for item in reversed(tries)),
        may_change=visit.may(*OPERATORS),
    )
    return visit.page("alert-delivery.html", context, title="Delivery", here="alerts")


def attempt_line(row: AttemptRow, host: str) -> AttemptLine:
    """One attempt, with the way it took."""
    result = {"ok": row.ok, "error": row.error, "trace": row.trace or []}
    return AttemptLine(row.n, row.at, row.ok, trace.attempt_view(host, result, row.at))


def retry(visit: Visit) -> Response:
    """Try a delivery again now."""
    try:
        operations.retry_delivery(visit.state, visit.path("id"), visit.actor)
    except ConflictError:
        return go(PATH, say="It has been sent already.")
    return go(PATH, say="It is tried again now.")


def test_result(result: Mapping[str, Any], host: str, at: datetime) -> TestResult:
    """The outcome of a test message, from the operation's answer."""
    return TestResult(
        ok=bool(result["ok"]),
        failure=trace.failure(result.get("error")),
        view=trace.attempt_view(host, result, at),
    )


def profile_line(row: AlertProfileRow, outcome: TestResult | None = None) -> ProfileLine:
    """One profile in the words of the page."""
    return ProfileLine(
        id=row.id,
        name=row.name,
        kind=KINDS.get(row.kind, row.kind),
        host=operations.shown_host(row),
        threshold=dict(THRESHOLDS)[row.threshold.label],
        enabled=row.enabled,
        href=f"{PATH}/{row.id}",
        test=outcome,
    )


def delivery_line(row: DeliveryRow) -> DeliveryLine:
    """One delivery in the words of the page."""
    state = STATES[row.state]
    if row.state == "queued" and row.attempts:
        state = Mark("warn", "Tries again")
    return DeliveryLine(
        id=row.id,
        profile=row.profile_name,
        image=text.image_name(row.reference) if row.reference else None,
        image_href=f"/images/{segment(row.image_digest)}" if row.image_digest else "",
        findings=row.findings,
        state=state,
        attempts=row.attempts,
        created_at=row.created_at,
        sent_at=row.sent_at,
        waits=row.next_at if row.state == "queued" else None,
        failure=trace.failure(row.error) if row.state != "sent" else None,
        may_retry=row.state == "failed" or (row.state == "queued" and row.attempts > 0),
    )


def _context(visit: Visit, tested: str = "", outcome: TestResult | None = None) -> AlertsPage:
    cursor = visit.query.get("cursor") or None
    found = operations.deliveries(visit.state, LIMIT, cursor)
    lines = tuple(delivery_line(row) for row in found.items)
    return AlertsPage(
        profiles=tuple(
            profile_line(row, outcome if row.id == tested else None)
            for row in operations.profiles(visit.state)
        ),
        deliveries=lines,
        waiting=sum(1 for item in lines if item.failure and item.waits),
        given_up=sum(1 for item in lines if item.failure and not item.waits),
        cause=next((item.failure for item in lines if item.failure), None),
        may_change=visit.may(*OPERATORS),
        first_page=PATH if cursor else "",
        next_page=link(PATH, cursor=found.next_cursor) if found.next_cursor else "",
    )


def _answer(visit: Visit, context: AlertsPage) -> Response:
    return visit.page("alerts.html", context, title="Alerts", here="alerts")


def _form(visit: Visit, context: ProfilePage, *, status: int = 200) -> Response:
    return visit.page(
        "alert-profile.html", context, title=context.heading, here="alerts", status=status
    )


def _refused(
    visit: Visit, profile_id: str, heading: str, error: InvalidFieldsError, host: str = ""
) -> Response:
    form = visit.form
    wrong = field_errors(error.problems)
    context = ProfilePage(
        _crumbs(heading),
        profile_id,
        heading,
        form.text("name"),
        host,
        _thresholds(form.text("threshold")),
        form.checked("enabled"),
        wrong,
    )
    return _form(visit, context, status=422)


def _typed(visit: Visit) -> ProfileForm:
    form = visit.form
    webhook = form.text("webhook")
    try:
        threshold = Severity.parse(form.text("threshold"))
    except ValueError:
        threshold = Severity.HIGH
    return ProfileForm(
        name=form.text("name"),
        threshold=threshold,
        webhook=Secret(webhook) if webhook else None,
        enabled=form.checked("enabled"),
    )


def _thresholds(chosen: str) -> tuple[Choice, ...]:
    return choices(THRESHOLDS, chosen)


def _crumbs(name: str) -> tuple[Crumb, ...]:
    return crumbs(("Alerts", PATH), name)
