"""`/alert-profiles` and `/deliveries`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from garrison.console import alerting
from garrison.console.api.common import Operator, Reader, State, Wanted, failure, item_list
from garrison.console.api.models import (
    AttemptOut,
    DeliveryDetailOut,
    DeliveryOut,
    ItemList,
    ProfileChange,
    ProfileIn,
    ProfileOut,
    SentOut,
    StepOut,
)
from garrison.database.alerts import AlertProfileRow, AttemptRow, DeliveryRow
from garrison.findings.finding import Severity
from garrison.secret import Secret

router = APIRouter(tags=["Alerts"])


@router.get("/alert-profiles")
def list_alert_profiles(state: State, caller: Reader) -> ItemList[ProfileOut]:
    """All alert profiles."""
    return ItemList(items=[profile_view(view) for view in alerting.profiles(state)])


@router.post("/alert-profiles", status_code=201)
def create_alert_profile(state: State, caller: Operator, body: ProfileIn) -> ProfileOut:
    """Who is told of what: a Slack webhook and a threshold."""
    return profile_view(alerting.create_profile(state, _form(body), caller.actor))


@router.get("/alert-profiles/{profile_id}")
def read_alert_profile(state: State, caller: Reader, profile_id: str) -> ProfileOut:
    """One alert profile."""
    return profile_view(alerting.profile(state, profile_id))


@router.put("/alert-profiles/{profile_id}")
def save_alert_profile(
    state: State, caller: Operator, profile_id: str, body: ProfileChange
) -> ProfileOut:
    """Change an alert profile."""
    return profile_view(alerting.update_profile(state, profile_id, _form(body), caller.actor))


@router.delete("/alert-profiles/{profile_id}", status_code=204)
def delete_alert_profile(state: State, caller: Operator, profile_id: str) -> Response:
    """Remove an alert profile; what it sent stays listed."""
    alerting.delete_profile(state, profile_id, caller.actor)
    return Response(status_code=204)


@router.post("/alert-profiles/{profile_id}/test")
async def test_alert_profile(state: State, caller: Operator, profile_id: str) -> SentOut:
    """Send a test message now."""
    answer = await alerting.send_test(state, profile_id, caller.actor)
    steps = [StepOut(**step) for step in answer["trace"]]
    return SentOut(ok=answer["ok"], error=failure(answer["error"]), trace=steps)


@router.get("/deliveries")
def list_deliveries(state: State, caller: Reader, page: Wanted) -> ItemList[DeliveryOut]:
    """Messages: sent, waiting, given up. Newest first."""
    return item_list(alerting.deliveries(state, page.limit, page.cursor), delivery_view)


@router.get("/deliveries/{delivery_id}")
def read_delivery(state: State, caller: Reader, delivery_id: str) -> DeliveryDetailOut:
    """One message with every attempt."""
    row = alerting.delivery(state, delivery_id)
    tries = [attempt_view(each) for each in alerting.attempts(state, delivery_id)]
    return DeliveryDetailOut(**delivery_view(row).model_dump(), tries=tries)


@router.post("/deliveries/{delivery_id}/retry")
def retry_delivery(state: State, caller: Operator, delivery_id: str) -> DeliveryOut:
    """Try to send a message again now."""
    return delivery_view(alerting.retry_delivery(state, delivery_id, caller.actor))


def profile_view(row: AlertProfileRow) -> ProfileOut:
    """A profile as the API shows it."""
    return ProfileOut(
        id=row.id,
        name=row.name,
        kind="slack",
        threshold=row.threshold.label,  # type: ignore[arg-type]
        enabled=row.enabled,
        webhook_host=alerting.shown_host(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def delivery_view(row: DeliveryRow) -> DeliveryOut:
    """A delivery as the API shows it."""
    return DeliveryOut(
        id=row.id,
        profile=row.profile_name,
        profile_id=row.profile_id,
        image=row.image_digest,
        reference=row.reference,
        findings=row.findings,
        state=row.state,
        attempts=row.attempts,
        created_at=row.created_at,
        next_at=row.next_at if row.state == "queued" else None,
        sent_at=row.sent_at,
        error=failure(row.error),
    )


def attempt_view(row: AttemptRow) -> AttemptOut:
    """One attempt of a delivery, with its trace."""
    steps = [StepOut(**step) for step in row.trace or []]
    return AttemptOut(n=row.n, at=row.at, ok=row.ok, error=failure(row.error), trace=steps)


def _form(body: ProfileIn | ProfileChange) -> alerting.ProfileForm:
    return alerting.ProfileForm(
        name=body.name,
        threshold=Severity.parse(body.threshold),
        webhook=Secret(body.webhook) if body.webhook is not None else None,
        enabled=body.enabled,
        kind=body.kind,
    )
