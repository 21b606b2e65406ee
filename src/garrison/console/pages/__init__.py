"""The Console's pages: HTML made on the server, useful without script, better with it.

For each page one module, one context type and one template. The modules turn operations of the
Console into contexts; templates only print them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from garrison.console.pages.problem import render_problem

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.routing import Route

    from garrison.console.state import AppState

__all__ = ["install", "render_problem"]


def routes() -> list[Route]:
    """Every page, part of a page and form."""
    from garrison.console.pages import (
        access,
        advisory,
        alerts,
        connections,
        defenders,
        egress_map,
        history,
        image,
        images,
        intelligence,
        overview,
        proxy,
        proxy_more,
        registries,
        scans,
        search,
        setup,
        sign_in,
        waivers,
    )

    modules = (
        sign_in,
        setup,
        overview,
        images,
        image,
        advisory,
        scans,
        alerts,
        connections,
        egress_map,
        defenders,
        registries,
        waivers,
        history,
        proxy,
        proxy_more,
        intelligence,
        access,
        search,
    )
    return [route for module in modules for route in module.routes()]


def install(app: FastAPI, state: AppState) -> None:
    """Add the pages and the static files to `app`, which serves `state`."""
    from starlette.responses import RedirectResponse
    from starlette.routing import Route

    from garrison.console.pages.sign_in import HOME
    from garrison.console.pages.view import static_files

    async def home(request: object) -> RedirectResponse:
        return RedirectResponse(HOME, status_code=303)

    app.router.routes.append(Route("/", home, methods=["GET"]))
    app.router.routes.append(
        Route("/static/{revision}/{name:path}", static_files().serve, methods=["GET"])
    )
    app.router.routes.extend(routes())
