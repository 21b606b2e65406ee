"""Alert profiles, what they were told already, and deliveries that are not lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection

from garrison.database.matches import FindingRow
from garrison.database.page import Page
from garrison.findings.finding import Severity

DeliveryState: TypeAlias = Literal["queued", "sending", "sent", "failed"]


@dataclass(frozen=True, slots=True)
class AlertProfileRow:
    """id: public. kind: `slack`. config: what is not secret, as the kind defines it.

    webhook: sealed for keys.SEAL_WEBHOOK. threshold: findings at or above it are told.
    """

    id: str
    name: str
    kind: str
    config: dict[str, Any]
    webhook: bytes
    threshold: Severity
    enabled: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One message on its way. key: idempotency key, the same on every attempt.

    profile_id, image_id: None when deleted meanwhile. findings: how many it tells of.
    attempts: made so far. next_at: when the next is due. error: of the last attempt.
    """

    id: str
    key: str
    profile_id: str | None
    profile_name: str
    image_id: int | None
    image_digest: str | None
    reference: str
    findings: int
    payload: dict[str, Any]
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_at: datetime
    lease_until: datetime | None
    sent_at: datetime | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """n: 1 is the first. trace: the steps of the connection, as in a test."""

    n: int
    at: datetime
    ok: bool
    error: dict[str, Any] | None
    trace: list[dict[str, Any]] | None


def create_profile(
    c: Connection,
    *,
    name: str,
    kind: str,
    config: Mapping[str, Any],
    webhook: bytes,
    threshold: Severity,
    enabled: bool,
    actor: str,
    now: datetime,
) -> AlertProfileRow:
    """Add a profile. Writes its audit row.

    Raises:
        NameTakenError
    """
    raise NotImplementedError


def update_profile(
    c: Connection,
    profile_id: str,
    *,
    name: str,
    config: Mapping[str, Any],
    webhook: bytes | None,
    threshold: Severity,
    enabled: bool,
    actor: str,
    now: datetime,
) -> AlertProfileRow:
    """Change a profile. webhook: None keeps it. Writes its audit row.

    Raises:
        NotFoundError, NameTakenError
    """
    raise NotImplementedError


def delete_profile(c: Connection, profile_id: str, *, actor: str, now: datetime) -> bool:
    """Remove a profile; its deliveries stay to be seen, those not sent fail. Audited.

    False when there is none.
    """
    raise NotImplementedError


def profile(c: Connection, profile_id: str) -> AlertProfileRow | None:
    raise NotImplementedError


def profiles(c: Connection, limit: int = 50, cursor: str | None = None) -> Page[AlertProfileRow]:
    """All profiles by name."""
    raise NotImplementedError


def enabled_profiles(c: Connection) -> tuple[AlertProfileRow, ...]:
    """The profiles to be asked after a scan."""
    raise NotImplementedError


def fresh(c: Connection, profile: AlertProfileRow, image_id: int) -> tuple[FindingRow, ...]:
    """Findings of the image at or above the threshold that the profile was not told yet.

    The most severe first. On PostgreSQL the image's counters are locked until the transaction
    ends, so that two transactions do not both find the same news.
    """
    raise NotImplementedError


def record_alert(
    c: Connection,
    *,
    profile_id: str,
    image_id: int,
    findings: Sequence[FindingRow],
    payload: Mapping[str, Any],
    now: datetime,
) -> DeliveryRow:
    """Queue a delivery and note that the profile was told these findings.

    In the transaction of their cause: either all of it happened, or nothing.
    Raises ValueError without findings; NotFoundError without the profile.
    """
    raise NotImplementedError


def claim(
    c: Connection, *, limit: int, lease_until: datetime, now: datetime
) -> tuple[DeliveryRow, ...]:
    """Deliveries that are due, the longest waiting first; no other worker gets them.

    A delivery whose worker died comes back when its lease is over.
    """
    raise NotImplementedError


def sent(
    c: Connection,
    delivery_id: str,
    *,
    now: datetime,
    trace: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """It arrived."""
    raise NotImplementedError


def retry(
    c: Connection,
    delivery_id: str,
    *,
    error: Mapping[str, Any],
    next_at: datetime,
    now: datetime,
    trace: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """It did not arrive; try again at `next_at`."""
    raise NotImplementedError


def failed(
    c: Connection,
    delivery_id: str,
    *,
    error: Mapping[str, Any],
    now: datetime,
    trace: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """It did not arrive, and nothing will change by itself: give up."""
    raise NotImplementedError


def retry_now(c: Connection, delivery_id: str, *, actor: str, now: datetime) -> bool:
    """Make a queued or failed delivery due at once. Audited.

    False when there is none such, or its profile was deleted.
    """
    raise NotImplementedError


def next_due(c: Connection) -> datetime | None:
    """When the next delivery is due, or a lease is over; None: nothing is waiting."""
    raise NotImplementedError


def deliveries(
    c: Connection,
    limit: int = 50,
    cursor: str | None = None,
    *,
    state: DeliveryState | None = None,
    profile_id: str | None = None,
) -> Page[DeliveryRow]:
    """Deliveries, the newest first."""
    raise NotImplementedError


def delivery(c: Connection, delivery_id: str) -> DeliveryRow | None:
    raise NotImplementedError


def attempts(c: Connection, delivery_id: str) -> tuple[AttemptRow, ...]:
    """Every attempt of a delivery, the first first."""
    raise NotImplementedError
