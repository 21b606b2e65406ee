"""`/scans`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from garrison.console import scans
from garrison.console.api.common import Anyone, Scanner, State, Wanted, failure, item_list
from garrison.console.api.models import ItemList, ProgressOut, ScanIn, ScanOut
from garrison.database.scans import ScanRow, ScanState

router = APIRouter(tags=["Scans"], prefix="/scans")


@router.post("", status_code=202)
def request_scan(state: State, caller: Scanner, body: ScanIn, response: Response) -> ScanOut:
    """Have an image scanned by a Defender."""
    row = scans.request_scan(
        state,
        body.reference,
        platform=body.platform,
        defender_id=body.defender,
        actor=caller.actor,
    )
    response.headers["Location"] = f"/api/v1/scans/{row.id}"
    return scan_view(row)


@router.get("")
def list_scans(
    caller: Anyone,
    state: State,
    page: Wanted,
    only: Annotated[ScanState | None, Query(alias="state")] = None,
) -> ItemList[ScanOut]:
    """Scans, newest first."""
    return item_list(scans.scans(state, page.limit, page.cursor, only=only), scan_view)


@router.get("/{scan_id}")
def read_scan(state: State, caller: Anyone, scan_id: str) -> ScanOut:
    """One scan, with its progress."""
    return scan_view(scans.scan(state, scan_id), evidence=True)


def scan_view(row: ScanRow, *, evidence: bool = False) -> ScanOut:
    """A scan as the API shows it. evidence: with the trace of a connection that failed."""
    running = row.state == "running"
    return ScanOut(
        id=row.id,
        state=row.state,
        reference=row.reference,
        platform=row.platform,
        defender=row.claimed_by or row.defender_id,
        defender_name=row.claimed_by_name,
        requested_by=row.requested_by,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempts=row.attempts,
        progress=ProgressOut(done=row.done, total=row.total, step=row.step) if running else None,
        digest=row.image_digest,
        error=failure(row.error, evidence=evidence),
        origin=row.origin,
        labels=dict(row.labels),
    )
