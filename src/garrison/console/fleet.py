"""Defenders and join tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from garrison.console.problems import ConflictError, InvalidFieldsError, NotFoundError
from garrison.console.state import AppState
from garrison.database import defenders as rows
from garrison.database.defenders import DefenderCounts, DefenderRow, JoinTokenRow
from garrison.database.page import MAX_LIMIT, Page
from garrison.errors import InvalidSettingError
from garrison.fleet.identity import JoinToken
from garrison.secret import Secret


@dataclass(frozen=True, slots=True)
class DefenderView:
    """A Defender as the page shows it.

    connected: has a session with this Console now. outdated: runs older proxy settings than the
    Console's and has to be deployed again; `row.settings_revision` is the one it runs.
    """

    row: DefenderRow
    connected: bool
    outdated: bool


@dataclass(frozen=True, slots=True)
class CreatedJoinToken:
    """A new join token; `text` (`gjt1_…`) is shown once and never again."""

    row: JoinTokenRow
    text: Secret


def defenders(
    state: AppState, limit: int = 100, cursor: str | None = None, *, search: str = ""
) -> Page[DefenderView]:
    """The fleet by name. search: part of name or group."""
    with state.db.read() as c:
        page = rows.page(c, limit, cursor, search=search)
    return Page(tuple(_view(state, row) for row in page.items), page.next_cursor)


def counts(state: AppState) -> DefenderCounts:
    """How many there are, are connected, and run older proxy settings."""
    with state.db.read() as c:
        return rows.counts(c, state.egress.settings.revision, state.local_defender())


def defender(state: AppState, id_or_name: str) -> DefenderView:
    """One Defender. Raises NotFoundError; ConflictError when several have that name."""
    with state.db.read() as c:
        found = rows.by_id(c, id_or_name)
        named = () if found else _named(rows.page(c, MAX_LIMIT, search=id_or_name), id_or_name)
    if found is not None and found.removed_at is None:
        return _view(state, found)
    if len(named) > 1:
        raise ConflictError(
            f"{len(named)} Defenders are named {id_or_name}", "Use its id instead of its name."
        )
    if not named:
        raise NotFoundError(f"there is no Defender {id_or_name}")
    return _view(state, named[0])


def remove_defender(state: AppState, defender_id: str, actor: str) -> None:
    """Forget a Defender: its certificate is not accepted any more. Raises NotFoundError."""
    with state.db.write() as c:
        removed = rows.remove(c, defender_id, actor=actor, now=datetime.now(UTC))
    if not removed:
        raise NotFoundError(f"there is no Defender {defender_id}")
    if state.gateway is not None:
        state.gateway.disconnect(defender_id)


def join_tokens(state: AppState) -> list[JoinTokenRow]:
    """Join tokens, newest first; without their secrets."""
    with state.db.read() as c:
        return list(rows.join_tokens(c, MAX_LIMIT).items)


def create_join_token(
    state: AppState,
    *,
    group: str = "",
    expires_at: datetime | None = None,
    uses: int | None = None,
    actor: str,
) -> CreatedJoinToken:
    """A token with which Defenders enrol. uses: how many may; None for any number.

    Raises: InvalidFieldsError (fields `group`, `expires_at`, `uses`).
    """
    now = datetime.now(UTC)
    _check_token(group, expires_at, uses, now)
    token = JoinToken.create(state.authority)
    with state.db.write() as c:
        row = rows.create_join_token(
            c,
            token_hash=token.secret_hash,
            group=group,
            expires_at=expires_at,
            uses=uses,
            actor=actor,
            now=now,
        )
    return CreatedJoinToken(row, Secret(token.reveal()))


def revoke_join_token(state: AppState, token_id: str, actor: str) -> None:
    """Nobody enrols with it any more; enrolled Defenders stay. Raises NotFoundError."""
    with state.db.write() as c:
        revoked = rows.revoke_join_token(c, token_id, actor=actor, now=datetime.now(UTC))
    if not revoked:
        raise NotFoundError(f"there is no join token {token_id} that could be revoked")


def _view(state: AppState, row: DefenderRow) -> DefenderView:
    if state.gateway is None:
        connected = row.state == "connected"
    else:
        connected = row.id in state.gateway.connected()
    older = row.settings_revision != state.egress.settings.revision
    return DefenderView(row, connected, older and row.id != state.local_defender())


def _named(page: Page[DefenderRow], name: str) -> tuple[DefenderRow, ...]:
    return tuple(row for row in page.items if row.name == name)


def _check_token(group: str, expires_at: datetime | None, uses: int | None, now: datetime) -> None:
    problems = []
    if len(group) > 100 or not group.isprintable():
        problems.append(InvalidSettingError("group", "the group's name cannot be used"))
    if expires_at is not None and expires_at <= now:
        problems.append(InvalidSettingError("expires_at", "this moment has passed"))
    if uses is not None and uses < 1:
        problems.append(InvalidSettingError("uses", "it must be good for at least one use"))
    if problems:
        raise InvalidFieldsError(problems)
