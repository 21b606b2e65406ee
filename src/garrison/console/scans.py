"""Scans: asked for here, done by a Defender, and taken in again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from garrison.console.state import AppState
from garrison.packages import Inventory

if TYPE_CHECKING:
    from garrison.database.page import Page
    from garrison.database.scans import ScanRow


def request_scan(
    state: AppState,
    reference: str,
    *,
    platform: str = "",
    defender_id: str | None = None,
    actor: str,
    now: datetime | None = None,
) -> ScanRow:
    """Queue a scan; a connected Defender takes it within a second.

    Raises: InvalidSettingError (field `reference` or `platform`); NotFoundError (Defender).
    """
    raise NotImplementedError


def scan(state: AppState, scan_id: str) -> ScanRow:
    """One scan. Raises NotFoundError."""
    raise NotImplementedError


def scans(state: AppState, limit: int = 50, cursor: str | None = None) -> Page[ScanRow]:
    """All scans, newest first."""
    raise NotImplementedError


def ingest(state: AppState, defender_id: str, scan_id: str, inventory: Inventory) -> None:
    """Take in what a Defender found: image, matches, counters and alerts in one transaction.

    Safe to repeat: a scan that is done already changes nothing. Call it in a worker thread.
    """
    raise NotImplementedError


def fail(state: AppState, defender_id: str, scan_id: str, error: dict[str, Any]) -> None:
    """A Defender could not do the scan; `error` has code, message, hint, who and hop."""
    raise NotImplementedError
