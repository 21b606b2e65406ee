"""`/intel`: the advisories that are loaded, and their updates."""

from __future__ import annotations

from fastapi import APIRouter

from garrison.console.api.common import Anyone, Operator, State
from garrison.console.api.models import IntelOut, UpdateOut

router = APIRouter(tags=["Intelligence Stream"], prefix="/intel")


@router.get("")
def read_intel(state: State, caller: Anyone) -> IntelOut:
    """What is loaded, when it was fetched, and how the last update went."""
    return IntelOut.model_validate(state.intel.status())


@router.post("/update", status_code=202)
def update_intel(state: State, caller: Operator) -> UpdateOut:
    """Start an update now."""
    return UpdateOut(started=state.intel.request_update(caller.actor))
