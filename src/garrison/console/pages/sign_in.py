"""/sign-in, /sign-out, /theme."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from garrison.console import accounts, security
from garrison.console.accounts import ALL_ROLES, SignInError
from garrison.console.pages import text, view
from garrison.console.pages.visit import THEME_COOKIE, Form, Visit, page, theme_of
from garrison.console.problems import TooManyAttemptsError
from garrison.console.state import state_of
from garrison.secret import Secret

HOME = "/overview"
_YEAR = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class SignInPage:
    """host: the Console's own name, so that one sees where one types. next: where to go then."""

    host: str
    next: str = HOME
    name: str = ""
    error: str = ""
    notice: str = ""


def routes() -> list[Route]:
    return [
        Route("/sign-in", show, methods=["GET"]),
        Route("/sign-in", sign_in, methods=["POST"]),
        page("/sign-out", sign_out, methods=("POST",), roles=ALL_ROLES),
        page("/theme", switch_theme, methods=("POST",), roles=ALL_ROLES),
    ]


def local_path(address: str) -> str:
    """`address` where it is a path of this Console, else the first page.

    Browsers read `//host` and `/\\host` as another host.
    """
    if not address.startswith("/") or address[1:2] in {"/", "\\"}:
        return HOME
    if any(ord(character) < 0x20 or character == "\\" for character in address):
        return HOME
    return address


async def show(request: Request) -> Response:
    """The form; somebody who is signed in goes on."""
    state = state_of(request)
    target = local_path(request.query_params.get("next", ""))
    if await run_in_threadpool(security.optional_user, request) is not None:
        return RedirectResponse(target, status_code=303)
    if not await run_in_threadpool(accounts.is_set_up, state):
        return RedirectResponse("/setup", status_code=303)
    return _answer(request, SignInPage(_host(request), target))


async def sign_in(request: Request) -> Response:
    """Check name and password; an error stands beside the field, the name stays typed."""
    await security.check_csrf(request)
    form = Form(await request.form(max_files=0, max_fields=20))
    name, target = form.text("name"), local_path(form.text("next"))
    try:
        signed_in = await accounts.sign_in(
            state_of(request),
            name,
            Secret(form.raw("password")),
            address=security.client_address(request),
            now=datetime.now(UTC),
        )
    except (SignInError, TooManyAttemptsError) as error:
        context = SignInPage(_host(request), target, name, text.sentence(error.message))
        return _answer(request, context, status=error.status, headers=dict(error.headers))
    response = RedirectResponse(target, status_code=303)
    security.set_session_cookie(response, request, signed_in.cookie)
    return response


def sign_out(visit: Visit) -> Response:
    """End the session, here and in the database."""
    accounts.sign_out(visit.state, visit.session)
    response = RedirectResponse("/sign-in", status_code=303)
    security.clear_session_cookie(response, visit.request)
    return response


def switch_theme(visit: Visit) -> Response:
    """The theme button without script: the other of the two."""
    chosen = "light" if theme_of(visit.request) == "dark" else "dark"
    response = RedirectResponse(local_path(visit.form.raw("back")), status_code=303)
    response.set_cookie(THEME_COOKIE, chosen, max_age=_YEAR, path="/", samesite="lax")
    return response


def _host(request: Request) -> str:
    return request.url.netloc


def _answer(
    request: Request,
    context: SignInPage,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    body = view.bare("sign-in.html", context, title="Sign in", theme=theme_of(request))
    return HTMLResponse(
        body, status_code=status, headers={**(headers or {}), "Cache-Control": "no-store"}
    )
