"""Whether the Console can work, and the numbers it tells about itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from garrison.database import alerts, defenders, images, scans
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
    revision = state.egress.settings.revision
    with state.db.read() as c:
        known, queued, waiting = images.count(c), scans.queued(c), alerts.waiting(c)
        fleet = defenders.counts(c, revision, state.local_defender())
    store = state.intel.store()
    age = (now - datetime.fromisoformat(store.updated_at)).total_seconds() if store else -1.0
    connected = len(state.gateway.connected()) if state.gateway else fleet.connected
    yield "garrison_defenders", fleet.total
    yield "garrison_defenders_connected", connected
    yield "garrison_defenders_outdated", fleet.out_of_date
    yield "garrison_images", known
    yield "garrison_scans_queued", queued
    yield "garrison_deliveries_waiting", waiting
    yield "garrison_intel_age_seconds", age
    yield "garrison_proxy_settings_revision", revision
