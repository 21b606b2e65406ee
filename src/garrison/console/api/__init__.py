"""REST, version 1: one module per resource, over the operations that the pages use too."""

from __future__ import annotations

from fastapi import FastAPI

__all__ = ["install"]


def install(app: FastAPI) -> None:
    """Add the API and its description to `app`."""
    from garrison.console.api import (
        access,
        alerts,
        connections,
        docs,
        egress,
        fleet,
        images,
        intel,
        registries,
        reports,
        scans,
        settings,
        waivers,
    )

    for module in (
        settings,
        egress,
        connections,
        intel,
        registries,
        scans,
        reports,
        images,
        waivers,
        fleet,
        alerts,
        access,
    ):
        app.include_router(module.router, prefix="/api/v1")
    docs.install(app)
