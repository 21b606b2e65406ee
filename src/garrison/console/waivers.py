"""Waivers: made and taken back by people, ended by the clock when their day is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from garrison.console import alerting
from garrison.console.problems import InvalidFieldsError, NotFoundError
from garrison.console.state import AppState
from garrison.database import matches
from garrison.database import waivers as rows
from garrison.database.errors import NotFoundError as RowNotFoundError
from garrison.database.waivers import ACTOR, WaiverRow, WaiverState
from garrison.errors import InvalidSettingError
from garrison.findings.policy import MAX_TEXT, end_of

if TYPE_CHECKING:
    from garrison.database.page import Page

_log = structlog.get_logger(__name__)
_TOLD = 100
"""Images whose alerts are raised in one transaction."""


@dataclass(frozen=True, slots=True)
class WaiverForm:
    """What a person typed. expires: a date, whose whole day it holds, or a moment."""

    advisory: str = ""
    package: str = ""
    image: str = ""
    reason: str = ""
    expires: str = ""


def page(
    state: AppState, limit: int = 50, cursor: str | None = None, *, only: WaiverState | None = None
) -> Page[WaiverRow]:
    """Waivers, the newest first."""
    with state.db.read() as c:
        return rows.page(c, limit, cursor, state=only)


def waiver(state: AppState, waiver_id: str) -> WaiverRow:
    """One of them. Raises NotFoundError."""
    with state.db.read() as c:
        row = rows.get(c, waiver_id)
    if row is None:
        raise NotFoundError(f"there is no waiver {waiver_id}")
    return row


def create(state: AppState, form: WaiverForm, actor: str) -> WaiverRow:
    """A new waiver; what it covers counts no longer when this returns.

    Raises InvalidFieldsError (fields `advisory`, `package`, `image`, `reason`, `expires_at`).
    """
    now = datetime.now(UTC)
    form, expires = _checked(form, now, scope=True)
    with state.db.write() as c:
        made = rows.create(
            c,
            advisory=form.advisory,
            package=form.package,
            image=form.image,
            reason=form.reason,
            expires_at=expires,
            actor=actor,
            now=now,
        )
        matches.recount(c, rows.concerns(c, made.id))
        found = rows.get(c, made.id)
    assert found is not None
    return found


def change(state: AppState, waiver_id: str, form: WaiverForm, actor: str) -> WaiverRow:
    """Another reason or day for one in force; its scope stays.

    Raises InvalidFieldsError (fields `reason`, `expires_at`), NotFoundError.
    """
    now = datetime.now(UTC)
    form, expires = _checked(form, now, scope=False)
    try:
        with state.db.write() as c:
            return rows.change(
                c, waiver_id, reason=form.reason, expires_at=expires, actor=actor, now=now
            )
    except RowNotFoundError:
        raise NotFoundError(f"there is no waiver {waiver_id} in force") from None


def end(state: AppState, waiver_id: str, actor: str) -> None:
    """Take one back; what it covered counts again, and is told again. Raises NotFoundError."""
    try:
        _end(state, waiver_id, actor)
    except RowNotFoundError:
        raise NotFoundError(f"there is no waiver {waiver_id} in force") from None


def expire(state: AppState, now: datetime) -> int:
    """End those whose day is over; how many."""
    with state.db.read() as c:
        due = rows.due(c, now)
    for waiver_id in due:
        try:
            _end(state, waiver_id, ACTOR)
        except RowNotFoundError:
            continue  # another process was quicker
        _log.info("waiver expired", waiver=waiver_id)
    return len(due)


def _end(state: AppState, waiver_id: str, actor: str) -> None:
    with state.db.write() as c:
        concerned = rows.end(c, waiver_id, actor=actor, now=datetime.now(UTC))
        matches.recount(c, concerned)
    _tell(state, concerned)


def _tell(state: AppState, images: Iterable[int]) -> None:
    """Raise the alerts of findings that count again."""
    store = state.intel.store()
    alerted = 0
    ids = sorted(images)
    for start in range(0, len(ids), _TOLD):
        with state.db.write() as c:
            for image_id in ids[start : start + _TOLD]:
                alerted += alerting.raise_alerts(
                    c, state.settings.console_url, image_id, datetime.now(UTC), store
                )
    if alerted:
        state.deliveries.wake()


def _checked(form: WaiverForm, now: datetime, *, scope: bool) -> tuple[WaiverForm, datetime]:
    problems = []
    form = WaiverForm(*(getattr(form, name).strip() for name in WaiverForm.__slots__))
    if scope and not form.advisory and not form.package:
        problems.append(
            InvalidSettingError(
                "advisory",
                "it names neither advisory nor package",
                "Else it would waive everything.",
            )
        )
    for name in ("advisory", "package", "image"):
        text = getattr(form, name)
        if scope and (len(text) > 300 or not text.isprintable()):
            problems.append(InvalidSettingError(name, "at most 300 printable characters"))
    if not form.reason or len(form.reason) > MAX_TEXT:
        problems.append(
            InvalidSettingError(
                "reason",
                "the reason is missing" if not form.reason else f"at most {MAX_TEXT} characters",
                "Say why it can wait: whoever reads it in a year should understand.",
            )
        )
    expires = now
    try:
        expires = end_of(form.expires)
        wrong = "that is past" if expires <= now else ""
    except (ValueError, OverflowError):
        wrong = "the last day is missing" if not form.expires else "this is no date"
    if wrong:
        problems.append(InvalidSettingError("expires_at", wrong, "Write it like 2026-12-31."))
    if problems:
        raise InvalidFieldsError(problems)
    return form, expires
