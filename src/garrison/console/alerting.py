"""Alert profiles, and the service that sends what they ask for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from starlette.concurrency import run_in_threadpool

from garrison import alerts
from garrison.alerts.deliver import (
    SEND_TIMEOUT,
    Backoff,
    Outcome,
    Rejected,
    Retry,
    Sent,
    pause,
)
from garrison.alerts.webhook import webhook_host
from garrison.console.problems import ConflictError, InvalidFieldsError, NotFoundError
from garrison.console.state import AppState
from garrison.database import alerts as rows
from garrison.database import audit, images
from garrison.database.alerts import AlertProfileRow, AttemptRow, DeliveryRow, DeliveryState
from garrison.database.keys import SEAL_WEBHOOK
from garrison.database.page import MAX_LIMIT, Page
from garrison.errors import GarrisonError, InvalidSettingError
from garrison.findings.finding import Severity
from garrison.secret import Secret

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from garrison.advisories import AdvisoryStore
    from garrison.database import Database
    from garrison.egress.http import EgressClient

_log = structlog.get_logger(__name__)
_KINDS = ("slack",)


@dataclass(frozen=True, slots=True)
class ProfileForm:
    """What a person typed. webhook: None keeps the stored one (not for a new profile)."""

    name: str
    threshold: Severity
    webhook: Secret | None = None
    enabled: bool = True
    kind: str = "slack"


def profiles(state: AppState) -> list[AlertProfileRow]:
    """All profiles, by name. Webhook addresses are secrets; `shown_host` may be shown."""
    with state.db.read() as c:
        return list(rows.profiles(c, MAX_LIMIT).items)


def shown_host(profile: AlertProfileRow) -> str:
    """The host of the profile's webhook: the only part of it that is no secret."""
    return str(profile.config.get("host", ""))


def profile(state: AppState, profile_id: str) -> AlertProfileRow:
    """One profile. Raises NotFoundError."""
    with state.db.read() as c:
        row = rows.profile(c, profile_id)
    if row is None:
        raise NotFoundError(f"there is no alert profile {profile_id}")
    return row


def create_profile(state: AppState, form: ProfileForm, actor: str) -> AlertProfileRow:
    """A new profile.

    Raises: InvalidFieldsError (fields `name`, `webhook`, `kind`, `threshold`); NameTakenError.
    """
    webhook = _check(form, new=True)
    assert webhook is not None
    with state.db.write() as c:
        return rows.create_profile(
            c,
            name=form.name.strip(),
            kind=form.kind,
            config={"host": webhook_host(webhook)},
            webhook=state.db.key.seal(SEAL_WEBHOOK, webhook),
            threshold=form.threshold,
            enabled=form.enabled,
            actor=actor,
            now=datetime.now(UTC),
        )


def update_profile(
    state: AppState, profile_id: str, form: ProfileForm, actor: str
) -> AlertProfileRow:
    """Change a profile. Raises as `create_profile`, and NotFoundError."""
    webhook = _check(form, new=False)
    before = profile(state, profile_id)
    with state.db.write() as c:
        row = rows.update_profile(
            c,
            profile_id,
            name=form.name.strip(),
            config={"host": webhook_host(webhook)} if webhook else before.config,
            webhook=state.db.key.seal(SEAL_WEBHOOK, webhook) if webhook else None,
            threshold=form.threshold,
            enabled=form.enabled,
            actor=actor,
            now=datetime.now(UTC),
        )
    state.deliveries.retry_soon()
    return row


def delete_profile(state: AppState, profile_id: str, actor: str) -> None:
    """Remove a profile; what it sent stays listed. Raises NotFoundError."""
    with state.db.write() as c:
        removed = rows.delete_profile(c, profile_id, actor=actor, now=datetime.now(UTC))
    if not removed:
        raise NotFoundError(f"there is no alert profile {profile_id}")


async def send_test(state: AppState, profile_id: str, actor: str) -> dict[str, Any]:
    """Send a test message now: `{"ok", "error": null or code, message, hint, who, hop, "trace"}`.

    Raises NotFoundError.
    """
    row = await run_in_threadpool(profile, state, profile_id)
    webhook = state.db.key.open(SEAL_WEBHOOK, row.webhook)
    message = alerts.slack_test_message(row.name, state.settings.console_url)
    outcome = await alerts.send_slack(state.egress, webhook, message, datetime.now(UTC))
    error = None if isinstance(outcome, Sent) else dict(outcome.failure)

    def note() -> None:
        with state.db.write() as c:
            audit.record(
                c,
                actor=actor,
                action="alert_profile.test",
                target=f"alert-profiles/{profile_id}",
                detail={"ok": error is None, "code": error["code"] if error else ""},
                now=datetime.now(UTC),
            )

    await run_in_threadpool(note)
    return {"ok": error is None, "error": error, "trace": list(outcome.trace)}


def deliveries(
    state: AppState,
    limit: int = 50,
    cursor: str | None = None,
    *,
    only: DeliveryState | None = None,
    profile_id: str | None = None,
) -> Page[DeliveryRow]:
    """Messages sent, waiting and given up, newest first."""
    with state.db.read() as c:
        return rows.deliveries(c, limit, cursor, state=only, profile_id=profile_id)


def delivery(state: AppState, delivery_id: str) -> DeliveryRow:
    """One message. Raises NotFoundError."""
    with state.db.read() as c:
        row = rows.delivery(c, delivery_id)
    if row is None:
        raise NotFoundError(f"there is no delivery {delivery_id}")
    return row


def attempts(state: AppState, delivery_id: str) -> tuple[AttemptRow, ...]:
    """Every attempt of a delivery with the trace of its route."""
    with state.db.read() as c:
        return rows.attempts(c, delivery_id)


def retry_delivery(state: AppState, delivery_id: str, actor: str) -> DeliveryRow:
    """Try again now. Raises NotFoundError, ConflictError (sent, or its profile is gone)."""
    with state.db.write() as c:
        due = rows.retry_now(c, delivery_id, actor=actor, now=datetime.now(UTC))
        row = rows.delivery(c, delivery_id)
    if row is None:
        raise NotFoundError(f"there is no delivery {delivery_id}")
    if not due:
        raise ConflictError(
            "this message cannot be sent again",
            "It was sent, is being sent, or its profile was removed.",
        )
    state.deliveries.wake()
    return row


def raise_alerts(
    c: Connection, public_url: str, image_id: int, now: datetime, store: AdvisoryStore | None
) -> int:
    """Queue what the profiles are to be told of this image; how many messages.

    In the transaction that made the findings: an alert is lost with its cause or not at all.
    """
    enabled = rows.enabled_profiles(c)
    if not enabled:
        return 0
    detail = images.by_id(c, image_id)
    if detail is None:
        return 0
    covered = frozenset(
        name for name in detail.image.ecosystems if store is not None and store.covers(name)
    )
    queued = 0
    for each in enabled:
        found = rows.fresh(c, each, image_id)
        alert = alerts.alert_for(
            _image(detail),
            each.threshold,
            [r.finding for r in found],
            _counts(detail),
            now,
            detail.image.warnings(covered),
        )
        if alert is not None:
            rows.record_alert(
                c,
                profile_id=each.id,
                image_id=image_id,
                findings=found,
                payload=alerts.slack_message(alert, public_url),
                now=now,
            )
            queued += 1
    return queued


def _image(detail: images.ImageDetail) -> alerts.AlertImage:
    row = detail.image
    return alerts.AlertImage(
        row.reference, row.digest, row.platform, row.os.pretty_name if row.os else ""
    )


def _counts(detail: images.ImageDetail) -> dict[Severity, int]:
    return {severity: detail.image.counts.of(severity) for severity in Severity}


def _check(form: ProfileForm, *, new: bool) -> Secret | None:
    problems = []
    name = form.name.strip()
    if not 0 < len(name) <= 100 or not name.isprintable():
        problems.append(InvalidSettingError("name", "the name must be 1 to 100 characters"))
    if form.kind not in _KINDS:
        problems.append(InvalidSettingError("kind", f"there is no service {form.kind}"))
    if form.threshold is Severity.UNKNOWN:
        problems.append(
            InvalidSettingError("threshold", "unknown is no threshold", "Choose low or higher.")
        )
    webhook = Secret(form.webhook.reveal().strip()) if form.webhook else None
    if webhook is None and new:
        problems.append(
            InvalidSettingError(
                "webhook",
                "the webhook is missing",
                "Copy it from Slack: https://hooks.slack.com/services/…",
            )
        )
    if webhook is not None:
        try:
            alerts.check_webhook(webhook)
        except InvalidSettingError as error:
            problems.append(error)
    if problems:
        raise InvalidFieldsError(problems)
    return webhook


# --- sending --------------------------------------------------------------------------------

_LEASE = timedelta(seconds=4 * SEND_TIMEOUT)
_POLL_SECONDS = 5.0
_IN_FLIGHT = 64
_PER_PROFILE = 2


@dataclass(slots=True)
class _Destination:
    """How one profile's service does: `until` is when it is tried again after a failure."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PER_PROFILE))
    until: datetime | None = None
    failure: Retry | None = None


class DeliveryService:
    """Sends deliveries that the database holds; a slow destination delays only its own.

    After a failure the other messages to the same destination are put back without being tried,
    so that they do not occupy the places of others. At least once: a crash between sending and
    noting it sends again.
    """

    def __init__(
        self,
        db: Database,
        egress: EgressClient,
        *,
        clock: Callable[[], datetime],
        backoff: Backoff | None = None,
    ) -> None:
        self._db, self._egress, self._clock = db, egress, clock
        self._backoff = backoff or Backoff()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._destinations: dict[str, _Destination] = {}
        self._retry_all = False

    def wake(self) -> None:
        """Look at the table now. Any thread; call it after a commit that wrote deliveries."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._event.set)

    def retry_soon(self) -> None:
        """Try waiting deliveries now: the settings changed. Any thread."""
        self._retry_all = True
        self.wake()

    async def run(self) -> None:
        """Send until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._event.clear()
                try:
                    more = await self._round()
                except GarrisonError as error:
                    _log.error("deliveries not read", code=error.code)
                    more = False
                if not more:
                    await self._wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self) -> None:
        due = await run_in_threadpool(self._next_due)
        seconds = _POLL_SECONDS
        if due is not None:
            seconds = min(max((due - self._clock()).total_seconds(), 0.05), _POLL_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()

    def _next_due(self) -> datetime | None:
        with self._db.read() as c:
            return rows.next_due(c)

    async def _round(self) -> bool:
        """Start what is due; whether there may be more."""
        if self._retry_all:
            self._retry_all = False
            for destination in self._destinations.values():
                destination.until = None
            await run_in_threadpool(self._make_due)
        room = _IN_FLIGHT - len(self._tasks)
        if room <= 0:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            return True
        claimed = await run_in_threadpool(self._claim, room)
        for delivery, webhook in claimed:
            task = asyncio.create_task(self._deliver(delivery, webhook))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(claimed) == room

    def _make_due(self) -> None:
        with self._db.write() as c:
            rows.make_due(c, self._clock())

    def _claim(self, room: int) -> list[tuple[DeliveryRow, Secret | None]]:
        now = self._clock()
        with self._db.read() as c:
            due = rows.next_due(c)
        if due is None or due > now:
            return []
        with self._db.write() as c:
            claimed = rows.claim(c, limit=room, lease_until=now + _LEASE, now=now)
            return [(each, self._webhook(c, each)) for each in claimed]

    def _webhook(self, c: Connection, delivery: DeliveryRow) -> Secret | None:
        row = rows.profile(c, delivery.profile_id) if delivery.profile_id else None
        return self._db.key.open(SEAL_WEBHOOK, row.webhook) if row else None

    async def _deliver(self, delivery: DeliveryRow, webhook: Secret | None) -> None:
        try:
            outcome = await self._attempt(delivery, webhook)
            if outcome is not None:
                await run_in_threadpool(self._note, delivery, outcome)
                self.wake()
        except GarrisonError as error:
            # Its lease ends, and then it is claimed again.
            _log.error("delivery not noted", delivery=delivery.id, code=error.code)
        except Exception:
            _log.exception("delivery failed", delivery=delivery.id)

    async def _attempt(self, delivery: DeliveryRow, webhook: Secret | None) -> Outcome | None:
        if webhook is None or delivery.profile_id is None:
            return Rejected(_NO_PROFILE)
        destination = self._destinations.setdefault(delivery.profile_id, _Destination())
        async with destination.slots:
            now = self._clock()
            if destination.until and destination.failure and now < destination.until:
                # No sooner than the destination itself is tried again.
                wait = (destination.until - now).total_seconds()
                return Retry(destination.failure.failure, wait)
            lease = delivery.lease_until
            if lease is not None and (lease - now).total_seconds() < SEND_TIMEOUT:
                # It waited so long that another may claim it: sending now could double it.
                return None
            outcome = await alerts.send_slack(self._egress, webhook, delivery.payload, now)
            self._judge(destination, delivery, outcome)
            return outcome

    def _judge(self, destination: _Destination, delivery: DeliveryRow, outcome: Outcome) -> None:
        if isinstance(outcome, Retry):
            wait = pause(delivery.attempts, outcome.after, self._backoff)
            destination.until, destination.failure = self._clock() + wait, outcome
        else:
            destination.until = destination.failure = None

    def _note(self, delivery: DeliveryRow, outcome: Outcome) -> None:
        now = self._clock()
        trace = list(outcome.trace) or None
        event = {"delivery": delivery.id, "profile": delivery.profile_name}
        with self._db.write() as c:
            if isinstance(outcome, Sent):
                rows.sent(c, delivery.id, now=now, trace=trace)
                _log.info("alert sent", findings=delivery.findings, **event)
                return
            again = None
            if isinstance(outcome, Retry):
                again = alerts.next_attempt(
                    delivery.attempts, delivery.created_at, now, outcome.after, self._backoff
                )
            if again is None:
                rows.failed(c, delivery.id, error=outcome.failure, now=now, trace=trace)
            else:
                rows.retry(
                    c, delivery.id, error=outcome.failure, next_at=again, now=now, trace=trace
                )
        _log.warning(
            "alert not sent", code=outcome.failure["code"], given_up=again is None, **event
        )


_NO_PROFILE = {
    "code": "alerts.no_profile",
    "message": "the profile of this message was removed",
    "hint": "",
    "who": "you",
    "hop": "",
}
