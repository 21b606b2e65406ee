"""The web application: API, pages, probes, and how errors are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from garrison.console.state import AppState


def create_app(state: AppState) -> FastAPI:
    """The application over `state`.

    Pages are added by `garrison.console.pages.install(app, state)`; errors of paths outside
    `/api` are rendered by `garrison.console.pages.render_problem(request, problem) -> Response`
    (`problem`: console.problems.Problem). A NotSignedInError on a page is answered here: 303 to
    `/sign-in?next=PATH`, or `HX-Redirect` to it for an htmx request. While nobody is set up, the
    redirect goes to `/setup`.
    """
    raise NotImplementedError
