"""One request of a person: who it is, what they sent, and how it is answered."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, cast
from urllib.parse import quote, unquote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from garrison.console import security
from garrison.console.accounts import READERS, Role, Session
from garrison.console.pages import shell as shells
from garrison.console.pages import text, view
from garrison.console.state import AppState, state_of
from garrison.errors import InvalidSettingError

THEME_COOKIE = "garrison_theme"
FLASH_COOKIE = "garrison_flash"
_FLASH_SECONDS = 60
_FLASH_LENGTH = 300


class Form:
    """What a form sent. Every value is text; a missing one is empty."""

    def __init__(self, data: FormData | Mapping[str, str] | None = None) -> None:
        self._data = data if data is not None else {}

    def text(self, name: str) -> str:
        """The value with spaces around it removed."""
        return self.raw(name).strip()

    def raw(self, name: str) -> str:
        """The value as typed: for passwords and texts of several lines."""
        value = self._data.get(name, "")
        return value if isinstance(value, str) else ""

    def checked(self, name: str) -> bool:
        return bool(self.raw(name))

    def all(self, name: str) -> list[str]:
        """Every value of that name, in order."""
        if not isinstance(self._data, FormData):
            return [self._data[name]] if name in self._data else []
        return [value for value in self._data.getlist(name) if isinstance(value, str)]


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a signed-in person."""

    request: Request
    state: AppState
    session: Session
    form: Form
    now: datetime

    @property
    def actor(self) -> str:
        """As it stands in the audit table."""
        return self.session.user

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def partial(self) -> bool:
        """Whether htmx asks, and only a part of the page is wanted."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def address(self) -> str:
        """Where the person is, as a path; empty where a form was answered with a page."""
        url = self.request.url
        if self.request.method != "GET":
            return ""
        return f"{url.path}?{url.query}" if url.query else url.path

    def path(self, name: str) -> str:
        """A parameter of the route."""
        return str(self.request.path_params[name])

    def may(self, *roles: Role) -> bool:
        return self.session.may(*roles)

    def page(
        self, template: str, context: object, *, title: str, here: str, status: int = 200
    ) -> Response:
        """The whole page."""
        shell = shells.build(self, here, flash=self._flash())
        response = HTMLResponse(
            view.html(template, context, shell=shell, title=title), status_code=status
        )
        if shell.flash:
            response.delete_cookie(FLASH_COOKIE, path="/", httponly=True, samesite="lax")
        return _never_stored(response)

    def part(self, template: str, *, status: int = 200, **context: object) -> Response:
        """A part of a page. Its shell holds no counts."""
        shell = shells.small(self)
        return _never_stored(
            HTMLResponse(view.fragment(template, shell=shell, **context), status_code=status)
        )

    def _flash(self) -> view.Flash | None:
        said = unquote(self.request.cookies.get(FLASH_COOKIE, ""))[:_FLASH_LENGTH]
        return view.Flash(said) if said else None


def field_errors(problems: Iterable[InvalidSettingError]) -> dict[str, str]:
    """By field, what is wrong and what to write instead."""
    wrong: dict[str, str] = {}
    for problem in problems:
        said = f"{text.sentence(problem.message)} {text.sentence(problem.hint)}".strip()
        wrong[problem.field] = f"{wrong[problem.field]} {said}" if problem.field in wrong else said
    return wrong


def theme_of(request: Request) -> str:
    """`light`, `dark`, or empty: then the system decides."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in {"light", "dark"} else ""


def go(url: str, *, say: str = "") -> Response:
    """After a form: look at `url`; `say` is what was done, in a toast there."""
    response = RedirectResponse(url, status_code=303)
    if say:
        response.set_cookie(
            FLASH_COOKIE,
            quote(say[:_FLASH_LENGTH]),
            max_age=_FLASH_SECONDS,
            path="/",
            httponly=True,
            samesite="lax",
        )
    return response


def htmx_go(url: str) -> Response:
    """Tell htmx to leave for `url`."""
    return Response(status_code=200, headers={"HX-Redirect": url})


Answer: TypeAlias = Response | Awaitable[Response]
Handler: TypeAlias = Callable[[Visit], Answer]


def page(
    path: str,
    handler: Handler,
    *,
    methods: Sequence[str] = ("GET",),
    roles: Sequence[Role] = READERS,
) -> Route:
    """A route that only signed-in people with one of `roles` reach.

    What changes something also needs the page's CSRF token. Plain handlers run in a worker
    thread, since they read the database; coroutine functions run on the loop.
    """
    changes = any(method not in {"GET", "HEAD"} for method in methods)
    demand = security.require_role(*roles)
    on_loop = inspect.iscoroutinefunction(handler)

    async def endpoint(request: Request) -> Response:
        session = await run_in_threadpool(demand, request)
        if changes:
            await security.check_csrf(request)
        form = Form(await request.form(max_files=0, max_fields=200)) if changes else Form()
        visit = Visit(request, state_of(request), session, form, datetime.now(UTC))
        if on_loop:
            return await cast("Awaitable[Response]", handler(visit))
        return cast("Response", await run_in_threadpool(handler, visit))

    return Route(path, endpoint, methods=list(methods), name=handler.__qualname__)


def _never_stored(response: Response) -> Response:
    # What is shown belongs to one person and one moment.
    response.headers["Cache-Control"] = "no-store"
    return response
