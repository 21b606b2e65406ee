"""`/reports`: what a build found in an image."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from garrison.console import scans
from garrison.console.accounts import Caller
from garrison.console.api.common import Scanner, State
from garrison.console.api.models import ReportIn, ReportOut
from garrison.console.problems import InvalidFieldsError
from garrison.console.state import AppState
from garrison.errors import GarrisonError, InvalidSettingError
from garrison.packages import Inventory
from garrison.reports import as_document

router = APIRouter(tags=["Scans"], prefix="/reports")


class _ReportJson(msgspec.Struct, forbid_unknown_fields=True):
    """The body: one of the two descriptions of what is in the image."""

    inventory: msgspec.Raw = msgspec.Raw(b"")
    sbom: msgspec.Raw = msgspec.Raw(b"")
    labels: dict[str, str] = {}


@router.post(
    "",
    status_code=201,
    response_model=ReportOut,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ReportIn.model_json_schema()}},
        }
    },
)
async def take_report(state: State, caller: Scanner, request: Request) -> Response:
    """Take in what a build found in an image, and answer what the Console's advisories say of it.

    The body may have 64 MiB.
    """
    body = await request.body()
    return await run_in_threadpool(_take, state, caller, body)


def _take(state: AppState, caller: Caller, body: bytes) -> Response:
    from datetime import UTC, datetime

    inventory, labels = _read(body)
    now = datetime.now(UTC)
    taken = scans.take_report(state, inventory, labels, actor=caller.actor, now=now)
    document: dict[str, Any] = {
        "id": taken.scan.id,
        "page": f"{state.settings.console_url}/images/{inventory.digest}",
        **as_document(taken.report, now=now),
    }
    # The caller has the packages.
    del document["packages"]
    return Response(
        msgspec.json.encode(document),
        status_code=201,
        media_type="application/json",
        headers={"Location": f"/api/v1/scans/{taken.scan.id}"},
    )


def _read(body: bytes) -> tuple[Inventory, dict[str, str]]:
    from garrison.packages.sbom import read_sbom
    from garrison.packages.wire import decode

    try:
        sent = msgspec.json.decode(body, type=_ReportJson)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refused("body", f"not a report: {error}") from None
    found, sbom = bytes(sent.inventory), bytes(sent.sbom)
    if bool(found) == bool(sbom):
        raise _refused("inventory", "exactly one of inventory and sbom is needed")
    field = "inventory" if found else "sbom"
    try:
        if found:
            return decode(found), sent.labels
        return read_sbom(sbom, "the sbom"), sent.labels
    except GarrisonError as error:
        raise _refused(field, error.message, error.hint) from None


def _refused(field: str, message: str, hint: str = "") -> InvalidFieldsError:
    return InvalidFieldsError([InvalidSettingError(field, message, hint)])
