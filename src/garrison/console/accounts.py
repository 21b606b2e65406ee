"""Users, sessions, API tokens and the one-time set-up link."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, cast

import argon2
from starlette.concurrency import run_in_threadpool

from garrison.console.problems import (
    InvalidFieldsError,
    NotFoundError,
    RequestError,
    TooManyAttemptsError,
)
from garrison.console.state import AppState
from garrison.database import DatabaseError
from garrison.database import accounts as rows
from garrison.database import audit as audit_rows
from garrison.database.accounts import ApiTokenRow, SessionRow, UserRow
from garrison.database.audit import AuditRow
from garrison.database.keys import token_hash
from garrison.database.page import MAX_LIMIT, Page
from garrison.errors import InvalidSettingError
from garrison.secret import Secret

Role: TypeAlias = Literal["admin", "operator", "auditor", "ci"]
ALL_ROLES: Final[tuple[Role, ...]] = ("admin", "operator", "auditor", "ci")
READERS: Final[tuple[Role, ...]] = ("admin", "operator", "auditor")
OPERATORS: Final[tuple[Role, ...]] = ("admin", "operator")
SCANNERS: Final[tuple[Role, ...]] = ("admin", "operator", "ci")
ADMINS: Final[tuple[Role, ...]] = ("admin",)
SESSION_SECONDS: Final = 12 * 3600.0
MIN_PASSWORD: Final = 12
MAX_PASSWORD: Final = 256
TOKEN_PREFIX: Final = "grt_"  # noqa: S105 - how a token starts, not one
_TOUCH = timedelta(minutes=1)

# Argon2id with the parameters of RFC 9106 section 4 (second choice): 64 MiB a hash, so only two
# at once. A request more waits; the throttle keeps them few.
_HASHER = argon2.PasswordHasher(time_cost=3, memory_cost=64 << 10, parallelism=4)
_HASHING = asyncio.Semaphore(2)


class SignInError(RequestError):
    """Wrong name or password; which of them is not said."""

    code = "access.sign_in"
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "the name or the password is wrong", "`garrison users reset NAME` sets a new password."
        )


class SetupLinkError(RequestError):
    """The set-up link is not valid (any more)."""

    code = "access.setup_link"
    status = 403
    default_hint = "Restart the Console: it prints a new link until it is set up."

    def __init__(self) -> None:
        super().__init__("this set-up link is not valid")


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in. csrf: for forms (`csrf_token`) and htmx (`X-CSRF-Token`)."""

    id: int
    user: str
    role: Role
    csrf: str = field(repr=False)
    expires_at: datetime
    token_hash: bytes = field(repr=False)

    def may(self, *roles: Role) -> bool:
        """Whether the user has one of `roles`."""
        return self.role in roles


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session, and the value of its cookie: for `security.set_session_cookie`."""

    session: Session
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls the API: the owner of a token."""

    name: str
    role: Role

    @property
    def actor(self) -> str:
        """As it stands in the audit table."""
        return f"token:{self.name}"


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A new API token; `secret` is shown once and never again."""

    row: ApiTokenRow
    secret: Secret


# --- set-up ---------------------------------------------------------------------------------


def is_set_up(state: AppState) -> bool:
    """Whether an administrator exists. While not, pages other than /setup say where the link is."""
    with state.db.read() as c:
        return rows.count_users(c) > 0


def new_setup_link(state: AppState, now: datetime) -> str | None:
    """A fresh one-time link (earlier ones stop working), or None when already set up."""
    token = secrets.token_urlsafe(24)
    with state.db.write() as c:
        if rows.count_users(c):
            return None
        rows.set_setup_token(c, token_hash(token), now)
    return f"{state.settings.console_url}/setup?token={token}"


def setup_link_valid(state: AppState, token: str, now: datetime) -> bool:
    """Whether `token` of /setup?token=… would be accepted."""
    with state.db.read() as c:
        return rows.count_users(c) == 0 and rows.setup_token_valid(c, token_hash(token))


async def complete_setup(
    state: AppState, token: str, name: str, password: Secret, *, now: datetime
) -> SignedIn:
    """Create the administrator, spend the link, sign in.

    Raises: SetupLinkError; InvalidFieldsError with fields `name` and `password`.
    """
    if not await run_in_threadpool(setup_link_valid, state, token, now):
        raise SetupLinkError
    name = name.strip()
    _check_account(name, password)
    hashed = await _hash(password)

    def store() -> SignedIn:
        with state.db.write() as c:
            if rows.count_users(c) or not rows.consume_setup_token(c, token_hash(token)):
                raise SetupLinkError
            user = rows.create_user(
                c, name=name, password_hash=hashed, role="admin", actor="set-up", now=now
            )
        return _open_session(state, user, now)

    return await run_in_threadpool(store)


def ensure_admin(state: AppState, password: Secret, now: datetime) -> bool:
    """Create the user `admin` where nobody exists yet: a set-up without a browser.

    Raises: InvalidFieldsError.
    """
    if is_set_up(state):
        return False
    _check_account("admin", password)
    hashed = _HASHER.hash(password.reveal())
    with state.db.write() as c:
        if rows.count_users(c):
            return False
        rows.create_user(
            c, name="admin", password_hash=hashed, role="admin", actor="set-up", now=now
        )
    return True


# --- sessions -------------------------------------------------------------------------------


async def sign_in(
    state: AppState, name: str, password: Secret, *, address: str, now: datetime
) -> SignedIn:
    """A session for the user. address: the peer's, for the throttle.

    Raises: SignInError; TooManyAttemptsError.
    """
    key = f"{name.casefold()[:200]}\0{_network(address)}"
    if wait := state.throttle.wait(key, now):
        raise TooManyAttemptsError(max(1, round(wait)))
    # Counted before the slow part, or many attempts at once would all count as the first.
    state.throttle.failed(key, now)
    user = await run_in_threadpool(_user, state, name)
    right = await _verify(user.password_hash if user else None, password)
    if user is None or not right or user.disabled_at is not None:
        raise SignInError
    state.throttle.succeeded(key)
    return await run_in_threadpool(_open_session, state, user, now)


def sign_out(state: AppState, session: Session) -> None:
    """End the session."""
    with state.db.write() as c:
        rows.delete_session(c, session.token_hash)


def session(state: AppState, cookie: str, now: datetime) -> Session | None:
    """The session of a cookie's value, or None when there is none or it ended."""
    hashed = token_hash(cookie)
    with state.db.read() as c:
        row = rows.session_by_hash(c, hashed, now)
    if row is None:
        return None
    if now - row.last_seen > _TOUCH:
        # A busy database is no reason to turn somebody away.
        with contextlib.suppress(DatabaseError), state.db.write() as c:
            end = now + timedelta(seconds=SESSION_SECONDS)
            rows.touch_session(c, row.id, expires_at=end, now=now)
    return _session(row, hashed)


def forget_old_sessions(state: AppState, now: datetime) -> int:
    """Delete sessions that ended; how many."""
    with state.db.write() as c:
        return rows.delete_expired_sessions(c, now)


# --- users ----------------------------------------------------------------------------------


def users(state: AppState) -> list[UserRow]:
    """Everybody who can sign in."""
    with state.db.read() as c:
        return list(rows.users(c, MAX_LIMIT).items)


async def reset_password(
    state: AppState, name: str, password: Secret, *, actor: str, now: datetime
) -> None:
    """A new password; every session of the user ends.

    Raises: NotFoundError; InvalidFieldsError (field `password`).
    """
    user = await run_in_threadpool(_user, state, name)
    if user is None:
        raise NotFoundError(f"there is no user {name}")
    _check_account(user.name, password)
    hashed = await _hash(password)

    def store() -> None:
        with state.db.write() as c:
            rows.set_password(c, user.id, hashed, actor=actor, now=now)

    await run_in_threadpool(store)


# --- API tokens -----------------------------------------------------------------------------


def tokens(state: AppState) -> list[ApiTokenRow]:
    """All API tokens, newest first; without their secrets."""
    with state.db.read() as c:
        return list(rows.api_tokens(c, MAX_LIMIT).items)


def create_token(
    state: AppState,
    name: str,
    role: Role,
    *,
    expires_at: datetime | None,
    actor: str,
    now: datetime,
) -> CreatedToken:
    """A new API token. Raises InvalidFieldsError (fields `name`, `role`, `expires_at`)."""
    problems = []
    if not _printable(name, 100):
        problems.append(InvalidSettingError("name", "the name must be 1 to 100 characters"))
    if role not in ALL_ROLES:
        roles = ", ".join(ALL_ROLES)
        problems.append(InvalidSettingError("role", f"there is no role {role}", f"Use {roles}."))
    if expires_at is not None and expires_at <= now:
        problems.append(InvalidSettingError("expires_at", "this moment has passed"))
    if problems:
        raise InvalidFieldsError(problems)
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    with state.db.write() as c:
        row = rows.create_api_token(
            c,
            name=name,
            token_hash=token_hash(secret),
            role=role,
            expires_at=expires_at,
            actor=actor,
            now=now,
        )
    return CreatedToken(row, Secret(secret))


def revoke_token(state: AppState, token_id: str, *, actor: str, now: datetime) -> None:
    """Make a token invalid at once. Raises NotFoundError."""
    with state.db.write() as c:
        revoked = rows.revoke_api_token(c, token_id, actor=actor, now=now)
    if not revoked:
        raise NotFoundError(f"there is no API token {token_id} that could be revoked")


def authenticate_token(state: AppState, token: str, now: datetime) -> Caller | None:
    """Who sent `token`, or None when it is unknown, revoked or expired."""
    if not token.startswith(TOKEN_PREFIX) or len(token) > 200:
        return None
    with state.db.read() as c:
        row = rows.api_token_by_hash(c, token_hash(token), now)
    if row is None or row.role not in ALL_ROLES:
        return None
    if row.last_used_at is None or now - row.last_used_at > _TOUCH:
        with contextlib.suppress(DatabaseError), state.db.write() as c:
            rows.touch_api_token(c, row.id, now)
    return Caller(row.name, row.role)


def audit(state: AppState, limit: int, cursor: str | None, *, action: str = "") -> Page[AuditRow]:
    """Who changed what, newest first."""
    with state.db.read() as c:
        return audit_rows.page(c, limit, cursor, action=action)


# --- inside ---------------------------------------------------------------------------------


def _user(state: AppState, name: str) -> UserRow | None:
    with state.db.read() as c:
        return rows.user_by_name(c, name.strip())


def _open_session(state: AppState, user: UserRow, now: datetime) -> SignedIn:
    cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    hashed, end = token_hash(cookie), now + timedelta(seconds=SESSION_SECONDS)
    with state.db.write() as c:
        number = rows.create_session(
            c, token_hash=hashed, user_id=user.id, csrf=csrf, expires_at=end, now=now
        )
    return SignedIn(Session(number, user.name, cast(Role, user.role), csrf, end, hashed), cookie)


def _session(row: SessionRow, hashed: bytes) -> Session:
    role = cast(Role, row.user.role)
    return Session(row.id, row.user.name, role, row.csrf, row.expires_at, hashed)


async def _hash(password: Secret) -> str:
    async with _HASHING:
        return await run_in_threadpool(_HASHER.hash, password.reveal())


async def _verify(hashed: str | None, password: Secret) -> bool:
    """Whether the password is right; takes as long for a user who does not exist."""
    if len(password.reveal()) > MAX_PASSWORD:
        return False
    async with _HASHING:
        return await run_in_threadpool(_matches, hashed or _nobody(), password) and bool(hashed)


def _matches(hashed: str, password: Secret) -> bool:
    try:
        return _HASHER.verify(hashed, password.reveal())
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


_NOBODY: list[str] = []


def _nobody() -> str:
    if not _NOBODY:
        _NOBODY.append(_HASHER.hash(secrets.token_urlsafe(16)))
    return _NOBODY[0]


def _check_account(name: str, password: Secret) -> None:
    problems = []
    if not _printable(name, 64) or "/" in name:
        problems.append(
            InvalidSettingError(
                "name", "the name must be 1 to 64 characters without a slash", "Use your own name."
            )
        )
    text = password.reveal()
    if len(text) < MIN_PASSWORD:
        problems.append(
            InvalidSettingError(
                "password",
                f"the password has {len(text)} characters; it needs {MIN_PASSWORD}",
                "Four words in a row make a good one.",
            )
        )
    elif len(text) > MAX_PASSWORD:
        problems.append(
            InvalidSettingError("password", f"the password is longer than {MAX_PASSWORD}")
        )
    elif name and text.casefold() == name.casefold() * (len(text) // len(name)):
        problems.append(InvalidSettingError("password", "the password is the name"))
    if problems:
        raise InvalidFieldsError(problems)


def _printable(text: str, limit: int) -> bool:
    return 0 < len(text) <= limit and text.isprintable() and bool(text.strip())


def _network(address: str) -> str:
    """What one attacker holds at once: an IPv4 address, or a whole IPv6 /64."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if ip.version == 4:
        return str(ip)
    return str(ipaddress.ip_network((ip, 64), strict=False))
