"""Statements over whole tables that belong to no one subject of the database package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from garrison.database.tables import delivery, evaluation, image, image_stat, package, scan


@dataclass(frozen=True, slots=True)
class Totals:
    """images: known. scans_queued: waiting for a Defender. deliveries_waiting: not sent yet."""

    images: int
    scans_queued: int
    deliveries_waiting: int


def totals(c: Connection) -> Totals:
    """What `/metrics` shows."""
    waiting = delivery.c.state.in_(["queued", "sending"])
    return Totals(
        c.execute(select(func.count()).select_from(image)).scalar_one(),
        c.execute(
            select(func.count()).select_from(scan).where(scan.c.state == "queued")
        ).scalar_one(),
        c.execute(select(func.count()).select_from(delivery).where(waiting)).scalar_one(),
    )


def pending_images(c: Connection, image_ids: Iterable[int]) -> frozenset[int]:
    """Those of the images with packages that were never matched."""
    ids = sorted(image_ids)
    found: set[int] = set()
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        statement = select(image_stat.c.image_id).where(
            image_stat.c.image_id.in_(part), image_stat.c.pending > 0
        )
        found.update(c.execute(statement).scalars())
    return frozenset(found)


def packages_behind(c: Connection, revision: str) -> int:
    """How many packages were not matched with the advisories of this revision yet."""
    every = c.execute(select(func.count()).select_from(package)).scalar_one()
    done = c.execute(
        select(func.count()).select_from(evaluation).where(evaluation.c.revision == revision)
    ).scalar_one()
    return max(0, every - done)


def image_ids(c: Connection) -> frozenset[int]:
    """Every image."""
    return frozenset(c.execute(select(image.c.id)).scalars())


def make_due(c: Connection, now: datetime) -> int:
    """Let deliveries that wait after a failure be tried now, without an audit row; how many."""
    waiting = delivery.c.state == "queued"
    statement = update(delivery).where(waiting, delivery.c.attempts > 0, delivery.c.next_at > now)
    return c.execute(statement.values(next_at=now)).rowcount
