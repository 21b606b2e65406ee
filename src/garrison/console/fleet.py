"""Defenders and join tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from garrison.console.state import AppState
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.database.defenders import DefenderRow, JoinTokenRow
    from garrison.database.page import Page


@dataclass(frozen=True, slots=True)
class DefenderView:
    """A Defender as the page shows it.

    connected: has a session with this Console now. outdated: runs older proxy settings than the
    Console's and has to be deployed again; `settings_revision` is the one it runs.
    """

    row: DefenderRow
    connected: bool
    outdated: bool


@dataclass(frozen=True, slots=True)
class CreatedJoinToken:
    """A new join token; `text` (`gjt1_…`) is shown once and never again."""

    row: JoinTokenRow
    text: Secret


def defenders(state: AppState, limit: int = 100, cursor: str | None = None) -> Page[DefenderView]:
    """The fleet."""
    raise NotImplementedError


def defender(state: AppState, id_or_name: str) -> DefenderView:
    """One Defender. Raises NotFoundError; ConflictError when several have that name."""
    raise NotImplementedError


def remove_defender(state: AppState, defender_id: str, actor: str) -> None:
    """Forget a Defender: its certificate is not accepted any more. Raises NotFoundError."""
    raise NotImplementedError


def join_tokens(state: AppState) -> list[JoinTokenRow]:
    """Join tokens, newest first; without their secrets."""
    raise NotImplementedError


def create_join_token(
    state: AppState,
    *,
    group: str = "",
    expires_at: datetime | None = None,
    uses: int | None = None,
    actor: str,
) -> CreatedJoinToken:
    """A token with which Defenders enrol. uses: how many may; None for any number."""
    raise NotImplementedError


def revoke_join_token(state: AppState, token_id: str, actor: str) -> None:
    """Nobody enrols with it any more; enrolled Defenders stay. Raises NotFoundError."""
    raise NotImplementedError
