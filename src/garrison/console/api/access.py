"""`/users`, `/tokens` and `/audit`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Response

from garrison.console import accounts
from garrison.console.api.common import Admin, Reader, State, Wanted, item_list
from garrison.console.api.models import (
    AuditOut,
    ItemList,
    NewTokenOut,
    TokenIn,
    TokenOut,
    UserOut,
)
from garrison.database.accounts import ApiTokenRow
from garrison.database.audit import AuditRow

router = APIRouter(tags=["Access"])


@router.get("/users")
def list_users(state: State, caller: Admin) -> ItemList[UserOut]:
    """Everybody who can sign in."""
    return ItemList(items=[UserOut.model_validate(row) for row in accounts.users(state)])


@router.get("/tokens")
def list_tokens(state: State, caller: Admin) -> ItemList[TokenOut]:
    """API tokens, without their secrets."""
    return ItemList(items=[token_view(row) for row in accounts.tokens(state)])


@router.post("/tokens", status_code=201)
def create_token(state: State, caller: Admin, body: TokenIn) -> NewTokenOut:
    """A new API token; shown this once."""
    now = datetime.now(UTC)
    created = accounts.create_token(
        state,
        body.name,
        body.role,
        expires_at=now + timedelta(seconds=body.expires_in) if body.expires_in else None,
        actor=caller.actor,
        now=now,
    )
    return NewTokenOut(**token_view(created.row).model_dump(), token=created.secret.reveal())


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(state: State, caller: Admin, token_id: str) -> Response:
    """Make a token invalid at once."""
    accounts.revoke_token(state, token_id, actor=caller.actor, now=datetime.now(UTC))
    return Response(status_code=204)


@router.get("/audit")
def list_audit(state: State, caller: Reader, page: Wanted) -> ItemList[AuditOut]:
    """Who changed what, newest first."""
    return item_list(accounts.audit(state, page.limit, page.cursor), audit_view)


def token_view(row: ApiTokenRow) -> TokenOut:
    """A token as the API shows it."""
    return TokenOut.model_validate(row)


def audit_view(row: AuditRow) -> AuditOut:
    """An audit row as the API shows it."""
    return AuditOut.model_validate(row)
