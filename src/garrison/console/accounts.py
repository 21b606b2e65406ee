"""Users, sessions, API tokens and the one-time set-up link."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from garrison.console.problems import RequestError
from garrison.console.state import AppState
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.database.accounts import ApiTokenRow, UserRow
    from garrison.database.audit import AuditRow
    from garrison.database.page import Page

Role: TypeAlias = Literal["admin", "operator", "auditor", "ci"]
ALL_ROLES: Final[tuple[Role, ...]] = ("admin", "operator", "auditor", "ci")
READERS: Final[tuple[Role, ...]] = ("admin", "operator", "auditor")
OPERATORS: Final[tuple[Role, ...]] = ("admin", "operator")
ADMINS: Final[tuple[Role, ...]] = ("admin",)
SESSION_SECONDS: Final = 12 * 3600.0
MIN_PASSWORD: Final = 12
MAX_PASSWORD: Final = 256


class SignInError(RequestError):
    """Wrong name or password; which of them is not said."""

    code = "access.sign_in"
    status = 401


class SetupLinkError(RequestError):
    """The set-up link is not valid (any more)."""

    code = "access.setup_link"
    status = 403
    default_hint = "Restart the Console: it prints a new link until it is set up."


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in. csrf: for forms (`csrf_token`) and htmx (`X-CSRF-Token`)."""

    id: int
    user: str
    role: Role
    csrf: str
    expires_at: datetime

    def may(self, *roles: Role) -> bool:
        """Whether the user has one of `roles`."""
        return self.role in roles


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session, and the value of its cookie: for `security.set_session_cookie`."""

    session: Session
    cookie: str


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


def is_set_up(state: AppState) -> bool:
    """Whether an administrator exists. While not, pages other than /setup say where the link is."""
    raise NotImplementedError


def new_setup_link(state: AppState, now: datetime) -> str | None:
    """A fresh one-time link (earlier ones stop working), or None when already set up."""
    raise NotImplementedError


def setup_link_valid(state: AppState, token: str, now: datetime) -> bool:
    """Whether `token` of /setup?token=… would be accepted."""
    raise NotImplementedError


async def complete_setup(
    state: AppState, token: str, name: str, password: Secret, *, now: datetime
) -> SignedIn:
    """Create the administrator, spend the link, sign in.

    Raises: SetupLinkError; InvalidFieldsError with fields `name` and `password`.
    """
    raise NotImplementedError


async def sign_in(
    state: AppState, name: str, password: Secret, *, address: str, now: datetime
) -> SignedIn:
    """A session for the user. address: the peer's, for the throttle.

    Raises: SignInError; TooManyAttemptsError.
    """
    raise NotImplementedError


def sign_out(state: AppState, session: Session) -> None:
    """End the session."""
    raise NotImplementedError


def session(state: AppState, cookie: str, now: datetime) -> Session | None:
    """The session of a cookie's value, or None when there is none or it ended."""
    raise NotImplementedError


def users(state: AppState) -> list[UserRow]:
    """Everybody who can sign in."""
    raise NotImplementedError


async def reset_password(
    state: AppState, name: str, password: Secret, *, actor: str, now: datetime
) -> None:
    """A new password; every session of the user ends."""
    raise NotImplementedError


def tokens(state: AppState) -> list[ApiTokenRow]:
    """All API tokens, newest first; without their secrets."""
    raise NotImplementedError


def create_token(
    state: AppState,
    name: str,
    role: Role,
    *,
    expires_at: datetime | None,
    actor: str,
    now: datetime,
) -> CreatedToken:
    """A new API token."""
    raise NotImplementedError


def revoke_token(state: AppState, token_id: str, *, actor: str, now: datetime) -> None:
    """Make a token invalid at once. Raises NotFoundError."""
    raise NotImplementedError


def authenticate_token(state: AppState, token: str, now: datetime) -> Caller | None:
    """Who sent `token`, or None when it is unknown, revoked or expired."""
    raise NotImplementedError


def audit(state: AppState, limit: int, cursor: str | None) -> Page[AuditRow]:
    """Who changed what, newest first."""
    raise NotImplementedError
