"""The web application: API, pages, probes, and how errors are answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from garrison import __version__
from garrison.console import accounts, api, contacts, middleware
from garrison.console.metrics import CONTENT_TYPE, Metrics
from garrison.console.probes import gauges, readiness
from garrison.console.problems import (
    FieldProblem,
    NotSignedInError,
    Problem,
    problem,
    problem_of,
)
from garrison.console.security import clear_session_cookie
from garrison.console.state import state_of
from garrison.errors import GarrisonError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from garrison.console.state import AppState

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_log = structlog.get_logger(__name__)


def create_app(state: AppState) -> FastAPI:
    """The application over `state`.

    Pages are added by `garrison.console.pages.install(app, state)`; errors of paths outside
    `/api` are rendered by `garrison.console.pages.render_problem(request, problem) -> Response`
    (`problem`: console.problems.Problem). A NotSignedInError on a page is answered here: 303 to
    `/sign-in?next=PATH`, or `HX-Redirect` to it for an htmx request. While nobody is set up, the
    redirect goes to `/setup`.
    """
    metrics = Metrics(
        lambda: gauges(state, datetime.now(UTC)),
        state.meter,
        lambda: contacts.families(state, datetime.now(UTC)),
    )
    app = FastAPI(
        title="Garrison Console",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(state, metrics),
    )
    app.state.garrison = state
    render = _install_pages(app, state)
    _add_handlers(app, render)
    _add_probes(app, state, metrics)
    api.install(app)
    return app


Render = Callable[[Request, Problem], Response]


def _middleware(state: AppState, metrics: Metrics) -> list[Middleware]:
    """Outermost first."""
    return [
        Middleware(middleware.SecurityHeaders, secure=lambda: state.settings.secure),
        Middleware(_Guard),
        Middleware(middleware.Measured, metrics=metrics),
        Middleware(middleware.KnownHost, hosts=lambda: known_hosts(state)),
        Middleware(middleware.BodyLimit),
        Middleware(middleware.ApiToken, state=state),
    ]


def known_hosts(state: AppState) -> frozenset[str] | None:
    """Names this Console answers to; None for any, where the certificate protects already."""
    settings = state.settings
    if not settings.listen.is_loopback:
        return None
    public = urlsplit(settings.console_url).hostname or ""
    return _LOOPBACK | {public.lower(), settings.listen.host.lower()}


class _Guard:
    """A bug is answered with a problem and logged; its text is never sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Any) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            _log.exception("request failed", method=scope.get("method"), path=scope.get("path"))
            if started or scope["type"] != "http":
                raise
            await middleware.send_problem(send, _internal())


def _install_pages(app: FastAPI, state: AppState) -> Render:
    from garrison.console import pages

    pages.install(app, state)
    return pages.render_problem


def _add_handlers(app: FastAPI, render: Render) -> None:
    def answer(request: Request, what: Problem) -> Response:
        if is_api(request):
            return problem_response(what)
        return render(request, what)

    async def on_garrison(request: Request, error: Exception) -> Response:
        assert isinstance(error, GarrisonError)
        if isinstance(error, NotSignedInError) and not is_api(request):
            return await _to_sign_in(request)
        what = problem_of(error)
        if what.status >= 500:
            _log.error("request failed", path=request.url.path, code=error.code)
        return await run_in_threadpool(answer, request, what)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await run_in_threadpool(answer, request, validation_problem(error.errors()))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = http_problem(error.status_code, error.headers, request)
        return await run_in_threadpool(answer, request, what)

    app.add_exception_handler(GarrisonError, on_garrison)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)


def is_api(request: Request) -> bool:
    """Whether the caller is a program: errors are then problems in JSON."""
    return request.url.path.startswith("/api/") or request.url.path in {
        "/healthz",
        "/readyz",
        "/metrics",
    }


def problem_response(what: Problem) -> Response:
    """`what` as application/problem+json."""
    return JSONResponse(
        what.as_dict(),
        status_code=what.status,
        headers=dict(what.headers),
        media_type="application/problem+json",
    )


def validation_problem(errors: Sequence[Any]) -> Problem:
    """Every wrong field of a request, in one answer."""
    fields = tuple(_field_problem(error) for error in errors)
    if any(error.get("type") == "json_invalid" for error in errors):
        return problem(400, "request.json", "the body is not JSON", "Send one JSON document.")
    named = ", ".join(dict.fromkeys(f.field for f in fields if f.field)) or "the body"
    return problem(422, "request.fields", f"these fields cannot be used: {named}", errors=fields)


def _field_problem(error: Mapping[str, Any]) -> FieldProblem:
    # Where it is (body, query, path) does not matter to who reads it; the name does.
    place = [str(part) for part in error.get("loc", ()) if part not in {"body", "query", "path"}]
    kind = str(error.get("type", "invalid"))
    hints = {
        "missing": "Add it.",
        "extra_forbidden": "Remove it, or correct its spelling.",
    }
    # Pydantic's own text never holds the input, which may be a password.
    return FieldProblem(
        ".".join(place), f"request.{kind}", str(error.get("msg", "invalid")), hints.get(kind, "")
    )


def http_problem(status: int, headers: Mapping[str, str] | None, request: Request) -> Problem:
    """The problem for an error of the framework itself."""
    texts = {
        404: ("request.not_found", f"there is nothing at {request.url.path}", ""),
        405: (
            "request.method",
            f"{request.method} is not possible at {request.url.path}",
            "The documentation is at /api/docs." if is_api(request) else "",
        ),
        413: ("request.too_large", "the request is too large", "Send less at once."),
    }
    default = (f"request.http_{status}", HTTPStatus(status).phrase.lower(), "")
    code, detail, hint = texts.get(status, default)
    return problem(status, code, detail, hint, headers=headers)


async def _to_sign_in(request: Request) -> Response:
    state = state_of(request)
    if not await run_in_threadpool(accounts.is_set_up, state):
        target = "/setup"
    else:
        here = request.url.path if request.method == "GET" else "/"
        if request.method == "GET" and request.url.query:
            here += "?" + request.url.query
        target = f"/sign-in?next={quote(here, safe='/')}" if here != "/" else "/sign-in"
    if request.headers.get("hx-request"):
        response: Response = Response(status_code=401, headers={"HX-Redirect": target})
    else:
        response = RedirectResponse(target, status_code=303)
    clear_session_cookie(response, request)
    return response


def _add_probes(app: FastAPI, state: AppState, metrics: Metrics) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        """Whether this process answers at all."""
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        """Whether it can do its work."""
        ready, document = readiness(state)
        return JSONResponse(document, status_code=200 if ready else 503)

    @app.get("/metrics", include_in_schema=False)
    def prometheus() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)


def _internal() -> Problem:
    return problem(
        500,
        "internal",
        "the Console failed to answer; its log says more",
        "Try again; if it stays, report it with the log line.",
    )
