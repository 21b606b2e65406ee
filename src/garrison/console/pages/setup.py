"""/setup: the administrator's password, chosen through the one-time link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from garrison.console import accounts, security
from garrison.console.accounts import MIN_PASSWORD, SetupLinkError
from garrison.console.pages import view
from garrison.console.pages.visit import Form, field_errors, theme_of
from garrison.console.problems import InvalidFieldsError
from garrison.console.state import state_of
from garrison.secret import Secret

AFTER = "/manage/system/proxy"
"""Where a new Console goes on: nothing works before it can get out."""


@dataclass(frozen=True, slots=True)
class SetupPage:
    """open: the link is good, the form is shown; else `head` and `body` say what is the matter."""

    open: bool
    token: str = ""
    name: str = "admin"
    errors: Mapping[str, str] = field(default_factory=dict)
    shortest: int = MIN_PASSWORD
    head: str = ""
    body: str = ""
    link: str = ""
    link_name: str = ""


DONE = SetupPage(
    open=False,
    head="This Console is set up",
    body="The set-up link has been used.",
    link="/sign-in",
    link_name="Sign in",
)
WITHOUT_LINK = SetupPage(
    open=False,
    head="Set up this Console",
    body=(
        "It is new and has no administrator yet. Open the set-up link that it printed when it "
        "started; it begins with `Set-up:`. A restart prints a new one."
    ),
)
BAD_LINK = SetupPage(
    open=False,
    head="This set-up link is not valid",
    body=(
        "Only the link printed last works, and only once. Restart the Console: it prints a new "
        "one, on the line that begins with `Set-up:`."
    ),
)


def routes() -> list[Route]:
    return [
        Route("/setup", show, methods=["GET"]),
        Route("/setup", complete, methods=["POST"]),
    ]


async def show(request: Request) -> Response:
    """The form, if the link is good."""
    state, token = state_of(request), request.query_params.get("token", "")
    if await run_in_threadpool(accounts.is_set_up, state):
        return _answer(request, DONE)
    if not token:
        return _answer(request, WITHOUT_LINK)
    if not await run_in_threadpool(accounts.setup_link_valid, state, token, datetime.now(UTC)):
        return _answer(request, BAD_LINK, status=403)
    return _answer(request, SetupPage(open=True, token=token))


async def complete(request: Request) -> Response:
    """Make the administrator, and sign in."""
    await security.check_csrf(request)
    form = Form(await request.form(max_files=0, max_fields=20))
    token, name, password = form.raw("token"), form.text("name"), form.raw("password")
    if password != form.raw("again"):
        wrong = {"again": "The two passwords differ."}
        return _answer(request, SetupPage(True, token, name, wrong), status=422)
    try:
        signed_in = await accounts.complete_setup(
            state_of(request), token, name, Secret(password), now=datetime.now(UTC)
        )
    except SetupLinkError:
        set_up = await run_in_threadpool(accounts.is_set_up, state_of(request))
        return _answer(request, DONE if set_up else BAD_LINK, status=403)
    except InvalidFieldsError as error:
        context = SetupPage(True, token, name, field_errors(error.problems))
        return _answer(request, context, status=422)
    response = RedirectResponse(AFTER, status_code=303)
    security.set_session_cookie(response, request, signed_in.cookie)
    return response


def _answer(request: Request, context: SetupPage, *, status: int = 200) -> Response:
    body = view.bare("setup.html", context, title="Set-up", theme=theme_of(request))
    # The address holds the one-time token: it must not leave in a Referer.
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(body, status_code=status, headers=headers)
