"""Whether the Console can work, and the numbers it tells about itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from garrison.errors import GarrisonError

if TYPE_CHECKING:
    from garrison.console.state import AppState


def readiness(state: AppState) -> tuple[bool, dict[str, Any]]:
    """Whether the database answers; what else is missing does not stop the Console."""
    try:
        with state.db.read() as c:
            c.execute(text("SELECT 1"))
    except GarrisonError as error:
        return False, {"ready": False, "code": error.code, "message": error.message}
    return True, {"ready": True}


def gauges(state: AppState, now: datetime) -> Iterator[tuple[str, float]]:
    """The values of `metrics.GAUGES`, read now."""
    raise NotImplementedError
