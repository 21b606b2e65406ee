"""What every resource of the API needs: the state, the caller by role, and paging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Query, Request

from garrison.console.api.models import EvidenceOut, Failure, ItemList
from garrison.console.security import (
    ADMINS,
    ALL_ROLES,
    OPERATORS,
    READERS,
    SCANNERS,
    Caller,
    require_token,
)
from garrison.console.state import AppState, state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from garrison.database.page import Page

T = TypeVar("T")
U = TypeVar("U")


async def _state(request: Request) -> AppState:
    return state_of(request)


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list is wanted."""

    limit: int
    cursor: str | None


async def _paging(
    limit: Annotated[int, Query(ge=1, le=1000, description="Items at most")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=4096, description="`next_cursor` of the page before")
    ] = None,
) -> Paging:
    return Paging(limit, cursor)


State = Annotated[AppState, Depends(_state)]
Wanted = Annotated[Paging, Depends(_paging)]
Anyone = Annotated[Caller, Depends(require_token(*ALL_ROLES))]
Reader = Annotated[Caller, Depends(require_token(*READERS))]
Scanner = Annotated[Caller, Depends(require_token(*SCANNERS))]
Operator = Annotated[Caller, Depends(require_token(*OPERATORS))]
Admin = Annotated[Caller, Depends(require_token(*ADMINS))]


def item_list(page: Page[T], make: Callable[[T], U]) -> ItemList[U]:
    """A page of the database as the API gives it."""
    return ItemList(items=[make(item) for item in page.items], next_cursor=page.next_cursor)


def failure(error: Mapping[str, Any] | None, *, evidence: bool = False) -> Failure | None:
    """A stored error; parts that are not there are empty. evidence: with its trace."""
    if not error:
        return None
    return Failure(
        code=str(error.get("code", "internal")),
        message=str(error.get("message", "")),
        hint=str(error.get("hint") or ""),
        who=error.get("who") or "",
        hop=str(error.get("hop") or ""),
        evidence=EvidenceOut(**error["evidence"]) if evidence and error.get("evidence") else None,
    )
