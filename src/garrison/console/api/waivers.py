"""`/waivers`: findings that somebody accepts for a reason until a day."""

from __future__ import annotations

from fastapi import APIRouter, Response

from garrison.console import waivers
from garrison.console.api.common import Operator, Reader, State, Wanted, item_list
from garrison.console.api.models import (
    ItemList,
    WaiverChange,
    WaiverIn,
    WaiverOut,
    WaiverStateName,
)
from garrison.console.waivers import WaiverForm
from garrison.database.waivers import WaiverRow

router = APIRouter(tags=["Waivers"], prefix="/waivers")


@router.get("")
def list_waivers(
    state: State, caller: Reader, page: Wanted, only: WaiverStateName | None = None
) -> ItemList[WaiverOut]:
    """The newest first. only: those in this state."""
    return item_list(waivers.page(state, page.limit, page.cursor, only=only), waiver_view)


@router.post("", status_code=201)
def create_waiver(state: State, caller: Operator, body: WaiverIn) -> WaiverOut:
    """Accept findings until a day; they count no longer when this answers."""
    form = WaiverForm(body.advisory, body.package, body.image, body.reason, body.expires_at)
    return waiver_view(waivers.create(state, form, caller.actor))


@router.get("/{waiver_id}")
def read_waiver(state: State, caller: Reader, waiver_id: str) -> WaiverOut:
    """One waiver."""
    return waiver_view(waivers.waiver(state, waiver_id))


@router.put("/{waiver_id}")
def save_waiver(state: State, caller: Operator, waiver_id: str, body: WaiverChange) -> WaiverOut:
    """Another reason or day; what it covers stays."""
    form = WaiverForm(reason=body.reason, expires=body.expires_at)
    return waiver_view(waivers.change(state, waiver_id, form, caller.actor))


@router.delete("/{waiver_id}", status_code=204)
def end_waiver(state: State, caller: Operator, waiver_id: str) -> Response:
    """End it now: what it covered counts again. It stays listed."""
    waivers.end(state, waiver_id, caller.actor)
    return Response(status_code=204)


def waiver_view(row: WaiverRow) -> WaiverOut:
    """A waiver as the API shows it."""
    return WaiverOut.model_validate(row)
