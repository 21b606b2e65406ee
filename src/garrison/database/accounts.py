"""Users, their sessions, API tokens, and the set-up link. Tokens are kept as their SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from garrison.database import audit
from garrison.database.dialect import insert_or_ignore
from garrison.database.errors import NameTakenError, NotFoundError
from garrison.database.ids import new_id
from garrison.database.page import Keyset, Page
from garrison.database.tables import api_token, setup, user_account, user_session


@dataclass(frozen=True, slots=True)
class UserRow:
    """password_hash: in the form of its own hash function. disabled_at: set: may not sign in."""

    id: int
    name: str
    password_hash: str
    role: str
    created_at: datetime
    disabled_at: datetime | None

    def __repr__(self) -> str:
        return f"UserRow(id={self.id}, name={self.name!r}, role={self.role!r})"


@dataclass(frozen=True, slots=True)
class SessionRow:
    id: int
    user: UserRow
    csrf: str
    created_at: datetime
    last_seen: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ApiTokenRow:
    """id: public. created_by: the name of who made it."""

    id: str
    name: str
    role: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


def create_user(
    c: Connection, *, name: str, password_hash: str, role: str, actor: str, now: datetime
) -> UserRow:
    """Add a user. Writes its audit row.

    Raises:
        NameTakenError: there is one of that name, whatever the case of its letters.
    """
    values = {
        "name": name,
        "name_key": name.casefold(),
        "password_hash": password_hash,
        "role": role,
        "created_at": now,
    }
    insertion = insert_or_ignore(c, user_account).values(values).returning(user_account)
    row = c.execute(insertion).one_or_none()
    if row is None:
        raise NameTakenError("user", name)
    audit.record(
        c, actor=actor, action="user.create", target=f"users/{name}", detail={"role": role}, now=now
    )
    return _user(row)


def user_by_name(c: Connection, name: str) -> UserRow | None:
    """The user of that name, whatever the case of its letters."""
    found = c.execute(select(user_account).where(user_account.c.name_key == name.casefold()))
    row = found.one_or_none()
    return None if row is None else _user(row)


def users(c: Connection, limit: int = 50, cursor: str | None = None) -> Page[UserRow]:
    """All users by name."""
    order = Keyset("users", [user_account.c.name_key], [str])
    return order.fetch(c, select(user_account), limit=limit, cursor=cursor, make=_user)


def count_users(c: Connection) -> int:
    """0: nobody has set this Console up yet."""
    return c.execute(select(func.count()).select_from(user_account)).scalar_one()


def set_password(
    c: Connection, user_id: int, password_hash: str, *, actor: str, now: datetime
) -> None:
    """Change a password and end the user's sessions. Writes its audit row.

    Raises:
        NotFoundError
    """
    changed = c.execute(
        update(user_account)
        .where(user_account.c.id == user_id)
        .values(password_hash=password_hash)
        .returning(user_account.c.name)
    ).one_or_none()
    if changed is None:
        raise NotFoundError("user", str(user_id))
    c.execute(delete(user_session).where(user_session.c.user_id == user_id))
    audit.record(
        c, actor=actor, action="user.password", target=f"users/{changed.name}", detail={}, now=now
    )


def create_session(
    c: Connection,
    *,
    token_hash: bytes,
    user_id: int,
    csrf: str,
    expires_at: datetime,
    now: datetime,
) -> int:
    """Remember that this user has signed in; the session's id."""
    values = {
        "token_hash": token_hash,
        "user_id": user_id,
        "csrf": csrf,
        "created_at": now,
        "last_seen": now,
        "expires_at": expires_at,
    }
    row = c.execute(insert(user_session).values(values).returning(user_session.c.id))
    return int(row.scalar_one())


def session_by_hash(c: Connection, token_hash: bytes, now: datetime) -> SessionRow | None:
    """The session of a cookie; None when it is unknown or over, or its user is disabled."""
    statement = (
        select(
            user_account,
            user_session.c.id.label("session_id"),
            user_session.c.csrf,
            user_session.c.created_at.label("session_created_at"),
            user_session.c.last_seen,
            user_session.c.expires_at,
        )
        .join_from(user_session, user_account)
        .where(
            user_session.c.token_hash == token_hash,
            user_session.c.expires_at > now,
            user_account.c.disabled_at.is_(None),
        )
    )
    row = c.execute(statement).one_or_none()
    if row is None:
        return None
    return SessionRow(
        row.session_id,
        _user(row),
        row.csrf,
        row.session_created_at,
        row.last_seen,
        row.expires_at,
    )


def touch_session(c: Connection, session_id: int, *, expires_at: datetime, now: datetime) -> None:
    """Note that the session is used. Call it once a minute, not at every request."""
    c.execute(
        update(user_session)
        .where(user_session.c.id == session_id)
        .values(last_seen=now, expires_at=expires_at)
    )


def delete_session(c: Connection, token_hash: bytes) -> bool:
    """Sign out; whether there was such a session."""
    gone = c.execute(delete(user_session).where(user_session.c.token_hash == token_hash))
    return gone.rowcount > 0


def delete_expired_sessions(c: Connection, now: datetime) -> int:
    """Forget sessions that are over; how many."""
    return c.execute(delete(user_session).where(user_session.c.expires_at <= now)).rowcount


def create_api_token(
    c: Connection,
    *,
    name: str,
    token_hash: bytes,
    role: str,
    expires_at: datetime | None,
    actor: str,
    now: datetime,
) -> ApiTokenRow:
    """Add an API token. Writes its audit row."""
    values = {
        "id": new_id(now),
        "name": name,
        "token_hash": token_hash,
        "role": role,
        "created_by": actor,
        "created_at": now,
        "expires_at": expires_at,
    }
    row = c.execute(insert(api_token).values(values).returning(api_token)).one()
    detail = {"name": name, "role": role, "expires_at": _text(expires_at)}
    audit.record(
        c, actor=actor, action="token.create", target=f"tokens/{row.id}", detail=detail, now=now
    )
    return _token(row)


def api_token_by_hash(c: Connection, token_hash: bytes, now: datetime) -> ApiTokenRow | None:
    """The API token; None when it is unknown, expired or revoked."""
    statement = select(api_token).where(
        api_token.c.token_hash == token_hash,
        api_token.c.revoked_at.is_(None),
        or_(api_token.c.expires_at.is_(None), api_token.c.expires_at > now),
    )
    row = c.execute(statement).one_or_none()
    return None if row is None else _token(row)


def touch_api_token(c: Connection, token_id: str, now: datetime) -> None:
    """Note that the token is used. Call it once a minute, not at every request."""
    c.execute(update(api_token).where(api_token.c.id == token_id).values(last_used_at=now))


def api_tokens(c: Connection, limit: int = 50, cursor: str | None = None) -> Page[ApiTokenRow]:
    """All API tokens, revoked ones too, the newest first."""
    order = Keyset("tokens", [api_token.c.id], [str], descending=True)
    return order.fetch(c, select(api_token), limit=limit, cursor=cursor, make=_token)


def revoke_api_token(c: Connection, token_id: str, *, actor: str, now: datetime) -> bool:
    """End a token at once; False when there is none, or it is revoked already. Audited."""
    statement = update(api_token).where(
        api_token.c.id == token_id, api_token.c.revoked_at.is_(None)
    )
    if not c.execute(statement.values(revoked_at=now)).rowcount:
        return False
    audit.record(
        c, actor=actor, action="token.revoke", target=f"tokens/{token_id}", detail={}, now=now
    )
    return True


def set_setup_token(c: Connection, token_hash: bytes, now: datetime) -> None:
    """Make this the one set-up link; the one before stops working."""
    c.execute(delete(setup))
    c.execute(insert(setup), {"id": 1, "token_hash": token_hash, "created_at": now})


def setup_token_valid(c: Connection, token_hash: bytes) -> bool:
    """Whether the set-up page may be shown; uses nothing up."""
    found = select(setup.c.id).where(setup.c.id == 1, setup.c.token_hash == token_hash)
    return c.execute(found).one_or_none() is not None


def consume_setup_token(c: Connection, token_hash: bytes) -> bool:
    """Use the set-up link up, in the transaction that creates the administrator."""
    gone = c.execute(delete(setup).where(setup.c.token_hash == token_hash))
    return gone.rowcount > 0


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _user(row: Row[Any]) -> UserRow:
    return UserRow(row.id, row.name, row.password_hash, row.role, row.created_at, row.disabled_at)


def _token(row: Row[Any]) -> ApiTokenRow:
    return ApiTokenRow(
        row.id,
        row.name,
        row.role,
        row.created_by,
        row.created_at,
        row.expires_at,
        row.last_used_at,
        row.revoked_at,
    )
