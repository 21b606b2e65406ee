"""`/alert-profiles` and `/deliveries`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from garrison.alerts.webhook import webhook_host
from garrison.console import alerting
from garrison.console.api.common import Operator, Reader, State, Wanted, failure, item_list
from garrison.console.api.models import (
    DeliveryOut,
    ItemList,
    ProfileChange,
    ProfileIn,
    ProfileOut,
    SentOut,
)
from garrison.database.alerts import DeliveryRow
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
    return SentOut(ok=answer["ok"], error=failure(answer["error"]))


@router.get("/deliveries")
def list_deliveries(state: State, caller: Reader, page: Wanted) -> ItemList[DeliveryOut]:
    """Messages: sent, waiting, given up. Newest first."""
    return item_list(alerting.deliveries(state, page.limit, page.cursor), delivery_view)


@router.post("/deliveries/{delivery_id}/retry")
def retry_delivery(state: State, caller: Operator, delivery_id: str) -> DeliveryOut:
    """Try to send a message again now."""
    return delivery_view(alerting.retry_delivery(state, delivery_id, caller.actor))


def _form(body: ProfileIn) -> alerting.ProfileForm:
    return alerting.ProfileForm(
        name=body.name,
        threshold=Severity.parse(body.threshold),
        webhook=Secret(body.webhook) if body.webhook is not None else None,
        enabled=body.enabled,
        kind=body.kind,
    )
