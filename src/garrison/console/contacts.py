"""Which outside hosts were contacted, by whom, why and by which route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from garrison.console.state import AppState

if TYPE_CHECKING:
    from garrison.database.contacts import ContactRow
    from garrison.database.page import Page


def page(state: AppState, limit: int = 100, cursor: str | None = None) -> Page[ContactRow]:
    """One row for each host, port, purpose, route and source; the last contacted first."""
    raise NotImplementedError
