"""Waivers: findings that somebody accepts for a reason until a day.

Which findings they cover is found in the database, whenever an image is counted (`apply`): a
finding that is waived stands in `waived` then, and every query that counts leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)

from garrison.database import audit
from garrison.database.dialect import insert_or_ignore
from garrison.database.errors import NotFoundError
from garrison.database.ids import new_id
from garrison.database.page import Keyset, Page
from garrison.database.tables import (
    advisory_match,
    alerted,
    exploitation,
    image,
    image_layer,
    image_ref,
    image_stat,
    match_alias,
    package,
    set_package,
    waived,
    waiver,
)
from garrison.database.types import clean
from garrison.findings.finding import Severity

WaiverState: TypeAlias = Literal["active", "expired", "ended"]

ACTOR = "console"
"""Who ends a waiver whose day is over."""


@dataclass(frozen=True, slots=True)
class WaiverRow:
    """advisory: id or alias; package, image: patterns; empty: all. ended_by: empty while it holds.

    findings: how many it covers now.
    """

    id: str
    advisory: str
    package: str
    image: str
    reason: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    in_force: bool
    ended_at: datetime | None
    ended_by: str
    findings: int

    @property
    def state(self) -> WaiverState:
        if self.in_force:
            return "active"
        return "expired" if self.ended_by == ACTOR else "ended"


def create(
    c: Connection,
    *,
    advisory: str,
    package: str,
    image: str,
    reason: str,
    expires_at: datetime,
    actor: str,
    now: datetime,
) -> WaiverRow:
    """A new waiver, in force. Audited. Count the images it `concerns` in this transaction.

    Raises ValueError: neither advisory nor package, or no reason.
    """
    if not (advisory or package) or not reason:
        raise ValueError("a waiver names an advisory or a package, and a reason")
    values = {
        "id": new_id(now),
        "advisory": clean(advisory),
        "package": clean(package),
        "package_like": like(clean(package)),
        "image": clean(image),
        "image_like": like(clean(image)),
        "reason": clean(reason),
        "created_by": clean(actor),
        "created_at": now,
        "expires_at": expires_at,
        "in_force": True,
        "ended_by": "",
    }
    c.execute(insert(waiver), values)
    made = get(c, str(values["id"]))
    assert made is not None
    _audit(c, "create", made, actor, now)
    return made


def change(
    c: Connection, waiver_id: str, *, reason: str, expires_at: datetime, actor: str, now: datetime
) -> WaiverRow:
    """Give one that is in force another reason or day. Audited. Raises NotFoundError."""
    changed = c.execute(
        update(waiver)
        .where(waiver.c.id == waiver_id, waiver.c.in_force)
        .values(reason=clean(reason), expires_at=expires_at)
    )
    row = get(c, waiver_id)
    if not changed.rowcount or row is None:
        raise NotFoundError("waiver in force", waiver_id)
    _audit(c, "update", row, actor, now)
    return row


def end(c: Connection, waiver_id: str, *, actor: str, now: datetime) -> frozenset[int]:
    """Take it back: what it covers counts again, and is told again. Audited.

    Returns the images to count in this transaction. Raises NotFoundError: none in force.
    """
    ended = c.execute(
        update(waiver)
        .where(waiver.c.id == waiver_id, waiver.c.in_force)
        .values(in_force=False, ended_at=now, ended_by=clean(actor))
    )
    row = get(c, waiver_id)
    if not ended.rowcount or row is None:
        raise NotFoundError("waiver in force", waiver_id)
    _audit(c, "end", row, actor, now)
    concerned = frozenset(
        c.execute(
            select(waived.c.image_id).distinct().where(waived.c.waiver_id == waiver_id)
        ).scalars()
    )
    again = exists().where(
        waived.c.waiver_id == waiver_id,
        waived.c.image_id == alerted.c.image_id,
        waived.c.package_id == alerted.c.package_id,
        waived.c.advisory == alerted.c.advisory,
    )
    c.execute(delete(alerted).where(again))
    return concerned


def due(c: Connection, now: datetime) -> list[str]:
    """Waivers whose day is over and that are in force still."""
    statement = select(waiver.c.id).where(waiver.c.in_force, waiver.c.expires_at <= now)
    return list(c.execute(statement.order_by(waiver.c.id)).scalars())


def get(c: Connection, waiver_id: str) -> WaiverRow | None:
    row = c.execute(_select().where(waiver.c.id == waiver_id)).one_or_none()
    return None if row is None else _row(row)


def page(
    c: Connection,
    limit: int = 50,
    cursor: str | None = None,
    *,
    state: WaiverState | None = None,
) -> Page[WaiverRow]:
    """Waivers, the newest first. state: only these."""
    statement = _select()
    if state == "active":
        statement = statement.where(waiver.c.in_force)
    elif state is not None:
        by_clock = waiver.c.ended_by == ACTOR
        statement = statement.where(
            ~waiver.c.in_force, by_clock if state == "expired" else ~by_clock
        )
    order = Keyset("waivers", [waiver.c.id], [str], descending=True)
    return order.fetch(c, statement, limit=limit, cursor=cursor, make=_row)


def count(c: Connection) -> int:
    """How many are in force."""
    return int(
        c.execute(select(func.count()).select_from(waiver).where(waiver.c.in_force)).scalar_one()
    )


def ended(c: Connection) -> int:
    """How many are no longer in force."""
    return int(
        c.execute(select(func.count()).select_from(waiver).where(~waiver.c.in_force)).scalar_one()
    )


def concerns(c: Connection, waiver_id: str) -> frozenset[int]:
    """The images in which it covers a finding."""
    found: set[int] = set()
    for part in _covering(waiver.c.id == waiver_id):
        found.update(c.execute(part.with_only_columns(image_layer.c.image_id).distinct()).scalars())
    return frozenset(found)


def apply(c: Connection, image_ids: Sequence[int] | None) -> None:
    """Note what the waivers in force cover in these images, and take it out of their counters.

    image_ids: few enough for one query; None: all. `matches.recount` calls this: the counters
    are those without waivers before.
    """
    if not any(c.execute(_ANYTHING).one()):
        return
    mine = true() if image_ids is None else waived.c.image_id.in_(image_ids)
    c.execute(delete(waived).where(mine))
    inside = true() if image_ids is None else image_layer.c.image_id.in_(image_ids)
    columns = ("image_id", "package_id", "advisory", "waiver_id")
    for part in _covering(waiver.c.in_force, inside):
        c.execute(insert_or_ignore(c, waived).from_select(columns, part))
    sums = _sums(mine).subquery()
    changes: dict[str, Any] = {
        column.name: image_stat.c[column.name] - column
        for column in sums.c
        if column.name != "image_id"
    }
    changes["waived"] = image_stat.c.waived + sums.c.waived
    c.execute(update(image_stat).where(image_stat.c.image_id == sums.c.image_id).values(changes))


_ANYTHING = select(exists().where(waiver.c.in_force), select(waived).exists())
"""Whether there is anything to do: nearly always the answer is no."""


def like(pattern: str) -> str:
    """A pattern of ours (`*`, `?`) as LIKE reads it, escaped by a backslash; lower case."""
    for plain in ("\\", "%", "_"):
        pattern = pattern.replace(plain, f"\\{plain}")
    return pattern.replace("*", "%").replace("?", "_").lower()


def _covering(*conditions: ColumnElement[bool]) -> Iterator[Select[Any]]:
    """Findings that waivers cover, by what the waiver begins with: few rows each."""
    direct = advisory_match.c.advisory == waiver.c.advisory
    named = waiver.c.advisory != ""
    yield _findings(direct).where(named, *conditions)
    by_alias = and_(
        match_alias.c.package_id == advisory_match.c.package_id,
        match_alias.c.advisory == advisory_match.c.advisory,
    )
    aliased = select(
        image_layer.c.image_id, advisory_match.c.package_id, advisory_match.c.advisory, waiver.c.id
    ).select_from(
        _joined(
            waiver.join(match_alias, match_alias.c.alias == waiver.c.advisory).join(
                advisory_match, by_alias
            )
        )
    )
    yield aliased.where(named, *_scope(), *conditions)
    yield _findings(true()).where(~named, *conditions)


def _findings(on: ColumnElement[bool]) -> Select[Any]:
    begun = waiver.join(advisory_match, on)
    columns = (
        image_layer.c.image_id,
        advisory_match.c.package_id,
        advisory_match.c.advisory,
        waiver.c.id,
    )
    return select(*columns).select_from(_joined(begun)).where(*_scope())


def _joined(begun: Any) -> Any:
    return (
        begun.join(package, package.c.id == advisory_match.c.package_id)
        .join(set_package, set_package.c.package_id == package.c.id)
        .join(image_layer, image_layer.c.set_id == set_package.c.set_id)
        .join(image, image.c.id == image_layer.c.image_id)
    )


def _scope() -> Iterator[ColumnElement[bool]]:
    yield set_package.c.counted
    joint = case((package.c.type == "maven", ":"), else_="/")
    full = package.c.namespace + joint + package.c.name
    pattern = waiver.c.package_like
    names = [
        func.lower(text).like(pattern, escape="\\")
        for text in (package.c.name, package.c.source, full, package.c.purl)
    ]
    # A package URL without its qualifiers, as people write it.
    names.append(func.lower(package.c.purl).like(pattern + literal("?%"), escape="\\"))
    yield or_(pattern == "", *names)
    referred = exists().where(
        image_ref.c.image_id == image.c.id,
        image_ref.c.moved_at.is_(None),
        or_(*_references(image_ref.c.reference)),
    )
    yield or_(waiver.c.image_like == "", referred, *_references(image.c.digest))


def _references(column: ColumnElement[str]) -> Iterator[ColumnElement[bool]]:
    """A reference as it is, and as people shorten it."""
    pattern = waiver.c.image_like
    full = func.lower(column)
    yield full.like(pattern, escape="\\")
    for prefix in ("docker.io/library/", "docker.io/"):
        yield full.like(literal(prefix) + pattern, escape="\\")


def _sums(mine: ColumnElement[bool]) -> Select[Any]:
    """Per image what is waived, by counter."""

    def total(condition: ColumnElement[bool], name: str) -> ColumnElement[int]:
        return func.sum(case((condition, 1), else_=0)).label(name)

    return (
        select(
            waived.c.image_id,
            *(total(advisory_match.c.severity == int(s), s.label) for s in Severity),
            total(advisory_match.c.fixed_in != "", "fixable"),
            total(exploitation.c.kev.is_(true()), "exploited"),
            func.count().label("waived"),
        )
        .join_from(
            waived,
            advisory_match,
            and_(
                advisory_match.c.package_id == waived.c.package_id,
                advisory_match.c.advisory == waived.c.advisory,
            ),
        )
        .join(image_layer, image_layer.c.image_id == waived.c.image_id)
        .join(
            set_package,
            and_(
                set_package.c.set_id == image_layer.c.set_id,
                set_package.c.package_id == waived.c.package_id,
                set_package.c.counted,
            ),
        )
        .outerjoin(exploitation, exploitation.c.advisory == advisory_match.c.advisory)
        .where(mine)
        .group_by(waived.c.image_id)
    )


def _select() -> Select[Any]:
    covered = (
        select(func.count())
        .where(waived.c.waiver_id == waiver.c.id)
        .correlate(waiver)
        .scalar_subquery()
    )
    return select(waiver, covered.label("findings"))


def _row(row: Row[Any]) -> WaiverRow:
    return WaiverRow(
        id=row.id,
        advisory=row.advisory,
        package=row.package,
        image=row.image,
        reason=row.reason,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        in_force=row.in_force,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        findings=row.findings,
    )


def _audit(c: Connection, verb: str, row: WaiverRow, actor: str, now: datetime) -> None:
    detail = {
        "advisory": row.advisory,
        "package": row.package,
        "image": row.image,
        "reason": row.reason,
        "expires_at": row.expires_at.isoformat(),
    }
    audit.record(
        c,
        actor=actor,
        action=f"waiver.{verb}",
        target=f"waivers/{row.id}",
        detail=detail,
        now=now,
    )
