"""`/defenders` and `/join-tokens`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Response

from garrison.console import fleet
from garrison.console.api.common import Operator, Reader, State, Wanted, item_list
from garrison.console.api.models import (
    DefenderOut,
    ItemList,
    JoinTokenIn,
    JoinTokenOut,
    NewJoinTokenOut,
)
from garrison.database.defenders import JoinTokenRow

router = APIRouter(tags=["Fleet"])


@router.get("/defenders")
def list_defenders(state: State, caller: Reader, page: Wanted) -> ItemList[DefenderOut]:
    """The fleet, by name."""
    return item_list(fleet.defenders(state, page.limit, page.cursor), defender_view)


@router.get("/defenders/{defender}")
def read_defender(state: State, caller: Reader, defender: str) -> DefenderOut:
    """One Defender, by its id or name."""
    return defender_view(fleet.defender(state, defender))


@router.delete("/defenders/{defender}", status_code=204)
def remove_defender(state: State, caller: Operator, defender: str) -> Response:
    """Forget a Defender; its certificate is not accepted any more."""
    fleet.remove_defender(state, fleet.defender(state, defender).row.id, caller.actor)
    return Response(status_code=204)


@router.get("/join-tokens")
def list_join_tokens(state: State, caller: Reader) -> ItemList[JoinTokenOut]:
    """Join tokens, without their secrets."""
    return ItemList(items=[token_view(row) for row in fleet.join_tokens(state)])


@router.post("/join-tokens", status_code=201)
def create_join_token(state: State, caller: Operator, body: JoinTokenIn) -> NewJoinTokenOut:
    """A token with which Defenders enrol; shown this once."""
    end = timedelta(seconds=body.expires_in) if body.expires_in else None
    created = fleet.create_join_token(
        state,
        group=body.group,
        expires_at=datetime.now(UTC) + end if end else None,
        uses=body.uses,
        actor=caller.actor,
    )
    return NewJoinTokenOut(**token_view(created.row).model_dump(), token=created.text.reveal())


@router.delete("/join-tokens/{token_id}", status_code=204)
def revoke_join_token(state: State, caller: Operator, token_id: str) -> Response:
    """Nobody enrols with it any more; enrolled Defenders stay."""
    fleet.revoke_join_token(state, token_id, caller.actor)
    return Response(status_code=204)


def defender_view(view: fleet.DefenderView) -> DefenderOut:
    """A Defender as the API shows it."""
    row = view.row
    return DefenderOut(
        id=row.id,
        name=row.name,
        group=row.group,
        connected=view.connected,
        version=row.version,
        platform=row.platform,
        settings_revision=row.settings_revision,
        outdated=view.outdated,
        proxy=row.proxy,
        route=row.route,
        enrolled_at=row.enrolled_at,
        connected_at=row.connected_at,
        last_seen=row.last_seen,
        certificate_not_after=row.not_after,
    )


def token_view(row: JoinTokenRow) -> JoinTokenOut:
    """A join token as the API shows it."""
    return JoinTokenOut(
        id=row.id,
        group=row.group,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        uses_left=row.uses_left,
        revoked_at=row.revoked_at,
    )
