"""An answer that is not the page asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from garrison.console import security
from garrison.console.pages import shell as shells
from garrison.console.pages import text, view
from garrison.console.pages.visit import Form, Visit, theme_of
from garrison.console.state import state_of

if TYPE_CHECKING:
    from garrison.console.accounts import Session
    from garrison.console.problems import Problem

_HEADS = {
    400: "This request cannot be answered",
    403: "This is not yours to see or do",
    404: "There is nothing here",
    405: "This address does not take that",
    409: "It changed meanwhile",
    413: "That is too large",
    422: "This cannot work",
    429: "Too many attempts",
    500: "The Console failed",
    503: "The Console is not ready",
}


@dataclass(frozen=True, slots=True)
class ProblemPage:
    """What happened, what to do, and the way back."""

    status: int
    code: str
    head: str
    detail: str
    hint: str
    back: str = "/images"
    back_name: str = "Go to Images"


def problem_page(problem: Problem) -> ProblemPage:
    """The page of a problem: its sentences, with a heading for people."""
    return ProblemPage(
        status=problem.status,
        code=problem.code,
        head=_HEADS.get(problem.status) or HTTPStatus(problem.status).phrase,
        detail=text.sentence(problem.detail),
        hint=text.sentence(problem.hint),
    )


def render_problem(request: Request, problem: Problem) -> Response:
    """A problem as a page: inside the shell for somebody who is signed in."""
    context = problem_page(problem)
    session: Session | None = getattr(request.state, "session", None)
    if session is None and problem.status < 500:
        # Beyond that nothing is read: the problem may be that the database does not answer.
        session = security.optional_user(request)
    if session is None:
        body = view.bare("problem-bare.html", context, title=context.head, theme=theme_of(request))
    else:
        now = datetime.now(UTC)
        visit = Visit(request, state_of(request), session, Form(), now)
        shell = shells.small(visit) if problem.status >= 500 else shells.build(visit, "")
        body = view.html("problem.html", context, shell=shell, title=context.head)
    headers = {**problem.headers, "Cache-Control": "no-store"}
    return HTMLResponse(body, status_code=problem.status, headers=headers)
