"""Who may do what: dependencies for pages (session cookie, CSRF) and the API (bearer token).

Pages use `require_user` or `require_role(...)` to get the Session, and `check_csrf` on every
route that changes something. The API uses `require_token(...)`.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from garrison.console import accounts
from garrison.console.accounts import (
    ADMINS,
    ALL_ROLES,
    OPERATORS,
    READERS,
    SCANNERS,
    Caller,
    Role,
    Session,
)
from garrison.console.problems import CsrfError, ForbiddenError, NotSignedInError, TokenError
from garrison.console.state import state_of

__all__ = [
    "ADMINS",
    "ALL_ROLES",
    "CSP",
    "OPERATORS",
    "READERS",
    "SCANNERS",
    "SESSION_COOKIE",
    "Caller",
    "Session",
    "check_csrf",
    "clear_session_cookie",
    "client_address",
    "optional_user",
    "require_role",
    "require_token",
    "require_user",
    "set_session_cookie",
]

SESSION_COOKIE = "garrison_session"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def optional_user(request: Request) -> Session | None:
    """The session of this request, or None."""
    known: Session | None = getattr(request.state, "session", None)
    if known is None and (cookie := request.cookies.get(SESSION_COOKIE)):
        known = accounts.session(state_of(request), cookie, datetime.now(UTC))
        request.state.session = known
    return known


def require_user(request: Request) -> Session:
    """The session of this request. Raises NotSignedInError: the app answers with sign-in."""
    session = optional_user(request)
    if session is None:
        raise NotSignedInError
    return session


def require_role(*roles: Role) -> Callable[[Request], Session]:
    """A dependency: the session, if its user has one of `roles`. Raises ForbiddenError."""

    def dependency(request: Request) -> Session:
        session = require_user(request)
        _demand(session.role, roles)
        return session

    return dependency


async def check_csrf(request: Request) -> None:
    """A dependency of every page route that changes something.

    The browser must say that the request came from our own pages (`Sec-Fetch-Site`), and the
    session's token must be in the form (`csrf_token`) or in the header `X-CSRF-Token`. Before
    sign-in there is no session; then the origin alone decides.
    """
    if not _same_origin(request):
        raise CsrfError
    session = await run_in_threadpool(optional_user, request)
    if session is None:
        return
    given = request.headers.get("x-csrf-token", "")
    if not given:
        form = await request.form(max_files=0, max_fields=200)
        value = form.get("csrf_token", "")
        given = value if isinstance(value, str) else ""
    if not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise CsrfError


def set_session_cookie(response: Response, request: Request, value: str) -> None:
    """Give the browser its session; `value` is `SignedIn.cookie`."""
    response.set_cookie(
        SESSION_COOKIE,
        value,
        max_age=int(accounts.SESSION_SECONDS),
        httponly=True,
        samesite="lax",
        secure=state_of(request).settings.secure,
        path="/",
    )


def clear_session_cookie(response: Response, request: Request) -> None:
    """Make the browser forget its session."""
    response.delete_cookie(
        SESSION_COOKIE,
        httponly=True,
        samesite="lax",
        secure=state_of(request).settings.secure,
        path="/",
    )


def require_token(*roles: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency of the API: the caller, if its token has one of `roles`.

    `middleware.ApiToken` has checked the token already. Raises ForbiddenError.
    """

    async def dependency(request: Request) -> Caller:
        caller: Caller | None = getattr(request.state, "caller", None)
        if caller is None:
            raise TokenError
        _demand(caller.role, roles)
        return caller

    return dependency


def client_address(request: Request) -> str:
    """The peer's IP address, for the sign-in throttle; never taken from a header."""
    return request.client.host if request.client else ""


def _demand(role: Role, roles: tuple[Role, ...]) -> None:
    if role not in roles:
        raise ForbiddenError(
            f"the role {role} may not do this", f"It needs one of: {', '.join(roles)}."
        )


def _same_origin(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    # Browsers without Fetch Metadata send Origin with every POST.
    origin = request.headers.get("origin")
    if origin is None:
        return True
    return origin.partition("://")[2] == request.headers.get("host", "")
