"""Which advisories apply to which package; findings are this joined with what images hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from garrison.advisories.facts import Epss, Kev
from garrison.database import bulk, catalogue, content, waivers
from garrison.database.dialect import dialect_insert, is_postgresql
from garrison.database.images import COUNTERS
from garrison.database.page import Keyset, Page
from garrison.database.tables import (
    advisory_match,
    evaluation,
    exploitation,
    image,
    image_layer,
    image_stat,
    layer,
    match_alias,
    package,
    set_package,
    waived,
    waiver,
)
from garrison.database.types import clean, clean_json
from garrison.findings.finding import Cvss, Decision, Finding, Match, Severity
from garrison.packages.package import Package


@dataclass(frozen=True, slots=True)
class FindingRow:
    """reference: the image's newest one."""

    image_id: int
    image_digest: str
    reference: str
    package_id: int
    finding: Finding


class Exploitation(NamedTuple):
    """What is noted of exploitation. exploited: None while no catalogue is loaded."""

    epss: Epss | None = None
    kev: Kev | None = None
    exploited: bool | None = None


@dataclass(frozen=True, slots=True)
class FindingQuery:
    """image_id: of one image; None: of the whole fleet. severities: only these, empty: all.

    package: exact name, with its scope or without. advisory: id or alias.
    fixable: only those with a fixed version. kev: only those known to be exploited (False: only
    those known not to be). min_epss: only those with such a score at least.
    waived: only those that a waiver covers (True), that none does (False), or all (None).
    ranked: in the order of `findings.ranking`; only for one image, since all are put in order.
    """

    image_id: int | None = None
    min_severity: Severity | None = None
    severities: tuple[Severity, ...] = ()
    package: str = ""
    advisory: str = ""
    fixable: bool = False
    kev: bool | None = None
    min_epss: float | None = None
    waived: bool | None = False
    ranked: bool = False
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class AffectedPackage:
    """images: how many images have it where it counts."""

    package_id: int
    package: Package
    fixed_in: str
    images: int


@dataclass(frozen=True, slots=True)
class AdvisoryRow:
    """What the fleet's matches say of one advisory; id: as in findings.

    severity: the highest of its matches. packages: the first `AFFECTED_LIMIT` by name.
    images: how many images have a finding of it.
    """

    id: str
    aliases: tuple[str, ...]
    severity: Severity
    severity_source: str
    cvss: tuple[Cvss, ...]
    summary: str
    url: str
    published: str
    records: tuple[str, ...]
    packages: tuple[AffectedPackage, ...]
    images: int


AFFECTED_LIMIT = 200


class _Detail(msgspec.Struct, frozen=True):
    """What of a Match is in no column of its own."""

    aliases: tuple[str, ...]
    severity_source: str
    cvss: tuple[Cvss, ...]
    evidence: str
    records: tuple[str, ...]
    summary: str
    url: str
    published: str


def unmatched(
    c: Connection, revision: str, limit: int = 500, *, after: int = 0
) -> list[tuple[int, Package]]:
    """Packages that were not matched with the advisories of this revision, by id.

    after: the last id of the batch before. The packages have no path, position or layer: those
    belong to an image.
    """
    statement = (
        select(*content.IDENTITY)
        .outerjoin(evaluation, evaluation.c.package_id == package.c.id)
        .where(
            package.c.id > after,
            or_(evaluation.c.revision.is_(None), evaluation.c.revision != revision),
        )
        .order_by(package.c.id)
        .limit(limit)
    )
    return [(row.package_id, content.identified(row)) for row in c.execute(statement)]


def behind(c: Connection, revision: str) -> int:
    """How many packages were not matched with the advisories of this revision yet."""
    every = c.execute(select(func.count()).select_from(package)).scalar_one()
    done = c.execute(
        select(func.count()).select_from(evaluation).where(evaluation.c.revision == revision)
    ).scalar_one()
    return max(0, every - done)


def put(c: Connection, revision: str, matches: Mapping[int, Sequence[Match]]) -> frozenset[int]:
    """Replace the matches of these packages and note that they are of this revision.

    A package without matches is an entry with an empty sequence. Of two matches of a package with
    one id the first counts.

    Returns the packages whose matches differ from before: recount the images that have them
    (`images.with_packages`), in this transaction or after it. In a transaction that stores an
    image, put the packages it says are new, and no others.
    """
    encoded = {package_id: _encode(package_id, matches[package_id]) for package_id in matches}
    digests = {package_id: _digest(rows) for package_id, rows in encoded.items()}
    catalogue.matching(c)
    before: dict[int, bytes] = {}
    for chunk in bulk.chunks(sorted(matches)):
        before.update(_lock(c, chunk))
    changed = [i for i in sorted(matches) if before.get(i) != digests[i]]
    rewritten = [i for i in changed if before.get(i, _NOTHING) != digests[i]]
    for chunk in bulk.chunks([i for i in rewritten if before.get(i, _NOTHING) != _NOTHING]):
        c.execute(delete(match_alias).where(match_alias.c.package_id.in_(chunk)))
        c.execute(delete(advisory_match).where(advisory_match.c.package_id.in_(chunk)))
    rows = [row for i in rewritten for row in encoded[i]]
    bulk.insert_rows(c, advisory_match, _Encoded._fields[:5], [row[:5] for row in rows])
    aliases = [(alias, row.package_id, row.advisory) for row in rows for alias in row.names]
    bulk.insert_rows(c, match_alias, ("alias", "package_id", "advisory"), aliases)
    write_exploitation(
        c,
        {
            clean(match.id): Exploitation(match.epss, match.kev, match.exploited)
            for i in sorted(matches)
            for match in matches[i]
        },
    )
    bulk.insert_rows(
        c,
        evaluation,
        ("package_id", "revision", "digest"),
        [(i, revision, digests[i]) for i in sorted(matches)],
        conflict="(package_id) DO UPDATE SET revision = excluded.revision, "
        "digest = excluded.digest",
    )
    return frozenset(changed)


def write_exploitation(c: Connection, known: Mapping[str, Exploitation]) -> None:
    """Keep what is known of exploitation, by the id of matches."""
    rows = []
    for name in sorted(known):
        epss, kev, exploited = known[name]
        score, percentile = epss or (None, None)
        added, due, ransomware = (kev.added, kev.due, kev.ransomware) if kev else ("", "", False)
        rows.append((name, score, percentile, exploited, clean(added), clean(due), ransomware))
    columns = tuple(column.name for column in exploitation.c)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
    bulk.insert_rows(c, exploitation, columns, rows, conflict=f"(advisory) DO UPDATE SET {changes}")


def exploitable(c: Connection) -> dict[str, tuple[tuple[str, ...], Exploitation]]:
    """Per id of a match: the CVEs it is about, and what is noted of their exploitation."""
    names: dict[str, set[str]] = {}
    aliases = select(match_alias.c.advisory, match_alias.c.alias).distinct()
    for row in c.execute(aliases.where(match_alias.c.alias.startswith("CVE-"))):
        names.setdefault(row.advisory, set()).add(row.alias)
    found = {}
    for row in c.execute(select(exploitation)):
        mine = names.get(row.advisory, set())
        cves = mine | {row.advisory} if row.advisory.startswith("CVE-") else mine
        found[row.advisory] = (tuple(sorted(cves)), _exploitation(row))
    return found


def with_advisories(c: Connection, advisories: Iterable[str]) -> frozenset[int]:
    """Ids of the packages that match any of these."""
    found: set[int] = set()
    for chunk in bulk.chunks(sorted(set(advisories))):
        statement = select(advisory_match.c.package_id).where(advisory_match.c.advisory.in_(chunk))
        found.update(c.execute(statement).scalars())
    return frozenset(found)


def recount(c: Connection, image_ids: Iterable[int] | None = None) -> None:
    """Bring the counters of these images up to date; None: of all."""
    statement = _recount(is_postgresql(c), everything=image_ids is None)
    if image_ids is None:
        _hold(c, true())
        c.execute(statement)
        waivers.apply(c, None)
        return
    for chunk in bulk.chunks(sorted(set(image_ids))):
        _hold(c, image_stat.c.image_id.in_(chunk))
        c.execute(statement, {"image_ids": chunk})
        waivers.apply(c, chunk)


def _hold(c: Connection, condition: ColumnElement[bool]) -> None:
    """Wait for those who count the same images: what they have committed is counted too then."""
    if is_postgresql(c):
        held = select(image_stat.c.image_id).where(condition).order_by(image_stat.c.image_id)
        c.execute(held.with_for_update())


def findings(c: Connection, query: FindingQuery) -> Page[FindingRow]:
    """Findings, the most severe first, then the newest advisory.

    One for each advisory, package URL and path of an image.
    """
    statement = derived().where(*_conditions(query))
    if query.ranked:
        if query.image_id is None:
            raise ValueError("only the findings of one image are put in order")
        return _RANKED.fetch(c, statement, limit=query.limit, cursor=query.cursor, make=finding_row)
    if query.cursor is not None:
        # Implied by the cursor; stated over one table, so that its index is entered there.
        severity, name, *_ = _ORDER.values(query.cursor)
        statement = statement.where(
            tuple_(advisory_match.c.severity, advisory_match.c.advisory)
            <= tuple_(literal(severity), literal(name, advisory_match.c.advisory.type))
        )
    return _ORDER.fetch(c, statement, limit=query.limit, cursor=query.cursor, make=finding_row)


def advisory(c: Connection, name: str) -> AdvisoryRow | None:
    """What is known of an advisory, by its id, an alias or a record's id.

    None: no package of the fleet matches it. The images: `images.page` with ImageQuery.advisory.
    """
    named = c.execute(
        select(advisory_match.c.advisory)
        .where(content.advisory_named(name))
        .order_by((advisory_match.c.advisory == name).desc(), advisory_match.c.advisory)
        .limit(1)
    ).scalar_one_or_none()
    if named is None:
        return None
    rows = c.execute(
        select(advisory_match)
        .where(advisory_match.c.advisory == named)
        .order_by(advisory_match.c.severity.desc(), advisory_match.c.package_id)
    ).all()
    found = [_match(row) for row in rows]
    worst = found[0]
    return AdvisoryRow(
        id=worst.id,
        aliases=_union(match.aliases for match in found),
        severity=worst.severity,
        severity_source=worst.severity_source,
        cvss=worst.cvss,
        summary=worst.summary,
        url=worst.url,
        published=worst.published,
        records=_union(match.records for match in found),
        packages=_affected(c, named),
        images=_affected_images(c, named),
    )


def derived() -> Select[Any]:
    """All findings: what images hold, joined with the matches. `finding_row` makes the items."""
    return (
        select(
            image.c.id.label("image_id"),
            image.c.digest.label("image_digest"),
            image.c.reference,
            *content.LOCATED,
            advisory_match.c.advisory,
            advisory_match.c.severity,
            advisory_match.c.fixed_in,
            advisory_match.c.detail,
            exploitation.c.epss,
            exploitation.c.percentile,
            exploitation.c.kev,
            exploitation.c.kev_added,
            exploitation.c.kev_due,
            exploitation.c.ransomware,
            waiver.c.id.label("waiver_id"),
            waiver.c.reason.label("waiver_reason"),
            waiver.c.expires_at.label("waiver_expires_at"),
        )
        .select_from(advisory_match)
        .join(package, package.c.id == advisory_match.c.package_id)
        .join(set_package, set_package.c.package_id == advisory_match.c.package_id)
        .join(image_layer, image_layer.c.set_id == set_package.c.set_id)
        .join(image, image.c.id == image_layer.c.image_id)
        .outerjoin(layer, layer.c.id == image_layer.c.layer_id)
        .outerjoin(exploitation, exploitation.c.advisory == advisory_match.c.advisory)
        .outerjoin(
            waived,
            and_(
                waived.c.image_id == image_layer.c.image_id,
                waived.c.package_id == advisory_match.c.package_id,
                waived.c.advisory == advisory_match.c.advisory,
            ),
        )
        .outerjoin(waiver, waiver.c.id == waived.c.waiver_id)
        .where(set_package.c.counted)
    )


def counts() -> ColumnElement[bool]:
    """Of `derived`: findings that no waiver covers."""
    return waived.c.waiver_id.is_(None)


def finding_row(row: Row[Any]) -> FindingRow:
    return FindingRow(
        row.image_id,
        row.image_digest,
        row.reference,
        row.package_id,
        Finding(
            content.located(row),
            replace(_match(row), **_exploitation(row)._asdict()),
            _decision(row),
        ),
    )


def _exploitation(row: Any) -> Exploitation:
    return Exploitation(
        None if row.epss is None else Epss(row.epss, row.percentile),
        Kev(row.kev_added, row.kev_due, row.ransomware, "", "") if row.kev else None,
        row.kev,
    )


def _decision(row: Row[Any]) -> Decision | None:
    if row.waiver_id is None:
        return None
    return Decision(
        "waiver",
        "accepted",
        reason=row.waiver_reason,
        source=row.waiver_id,
        expires=row.waiver_expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


# As findings.ranking has it; scores as whole numbers, which a cursor keeps exactly.
_RANKED = Keyset(
    "findings.ranked",
    [
        advisory_match.c.severity,
        case((exploitation.c.kev.is_(true()), 1), else_=0),
        func.coalesce(cast(func.round(exploitation.c.epss * 100000), Integer), -1),
        case((advisory_match.c.fixed_in != "", 1), else_=0),
        advisory_match.c.advisory,
        advisory_match.c.package_id,
        image_layer.c.position,
        set_package.c.n,
    ],
    [int, int, int, int, str, int, int, int],
    descending=True,
)

_ORDER = Keyset(
    "findings",
    [
        advisory_match.c.severity,
        advisory_match.c.advisory,
        advisory_match.c.package_id,
        image_layer.c.image_id,
        image_layer.c.position,
        set_package.c.n,
    ],
    [int, str, int, int, int, int],
    descending=True,
)


def _conditions(query: FindingQuery) -> Iterator[ColumnElement[bool]]:
    if query.image_id is not None:
        yield image_layer.c.image_id == query.image_id
    if query.min_severity is not None:
        yield advisory_match.c.severity >= int(query.min_severity)
    if query.severities:
        yield advisory_match.c.severity.in_([int(s) for s in query.severities])
    if query.package:
        yield content.package_named(query.package)
    if query.advisory:
        yield content.advisory_named(query.advisory)
    if query.fixable:
        yield advisory_match.c.fixed_in != ""
    if query.kev is not None:
        yield exploitation.c.kev.is_(true() if query.kev else false())
    if query.min_epss is not None:
        yield exploitation.c.epss >= query.min_epss
    if query.waived is not None:
        yield waived.c.waiver_id.is_not(None) if query.waived else counts()


class _Encoded(NamedTuple):
    """A row of advisory_match, and the other names it has."""

    package_id: int
    advisory: str
    severity: int
    fixed_in: str
    detail: str
    names: tuple[str, ...]


def _encode(package_id: int, matches: Sequence[Match]) -> list[_Encoded]:
    rows: dict[str, _Encoded] = {}
    for match in matches:
        name = clean(match.id)
        names = {clean(n) for n in (*match.aliases, *match.records)} - {name}
        row = _Encoded(
            package_id,
            name,
            int(match.severity),
            clean(match.fixed_in),
            _detail(match),
            tuple(sorted(names)),
        )
        rows.setdefault(name, row)
    return [rows[name] for name in sorted(rows)]


def _detail(match: Match) -> str:
    detail = _Detail(
        match.aliases,
        match.severity_source,
        match.cvss,
        match.evidence,
        match.records,
        match.summary,
        match.url,
        match.published,
    )
    try:
        text = msgspec.json.encode(detail).decode()
    except UnicodeEncodeError:
        text = ""
    if not text or "\\u0000" in text:
        text = msgspec.json.encode(clean_json(msgspec.to_builtins(detail))).decode()
    return text


def _digest(rows: Sequence[_Encoded]) -> bytes:
    """Of a package's matches: two equal ones need no rewriting."""
    return hashlib.sha256(msgspec.json.encode([row[1:] for row in rows])).digest()


_NOTHING = _digest(())


def _lock(c: Connection, package_ids: Sequence[int]) -> dict[int, bytes]:
    """The digests of the packages' matches, which no other transaction changes now."""
    if is_postgresql(c):
        # A statement of its own: joined, the digests would be of before the wait for the lock.
        mine = select(package.c.id).where(package.c.id.in_(package_ids)).order_by(package.c.id)
        c.execute(mine.with_for_update(key_share=True))
    digests = select(evaluation.c.package_id, evaluation.c.digest).where(
        evaluation.c.package_id.in_(package_ids)
    )
    return {row.package_id: row.digest for row in c.execute(digests)}


@lru_cache(maxsize=4)
def _recount(postgresql: bool, *, everything: bool) -> Any:
    """Counts each set once, then adds up the sets of each image.

    Kept, since to put it together takes as long as to run it for one image.
    """
    names = (*COUNTERS, "pending")
    ids: BindParameter[Any] = bindparam("image_ids", expanding=True)
    wanted: ColumnElement[bool] = true()
    inside: ColumnElement[bool] = true()
    if not everything:
        wanted = image.c.id.in_(ids)
        sets = select(image_layer.c.set_id).where(image_layer.c.image_id.in_(ids))
        inside = set_package.c.set_id.in_(sets)
    sums = union_all(
        _matched_in_sets(inside),
        _exploited_in_sets(inside),
        _pending_in_sets(inside, everything),
    ).cte("sums")
    per_image = (
        select(image.c.id, *(func.coalesce(func.sum(sums.c[name]), 0) for name in names))
        .outerjoin(image_layer, image_layer.c.image_id == image.c.id)
        .outerjoin(sums, sums.c.set_id == image_layer.c.set_id)
        .where(wanted)
        .group_by(image.c.id)
        .order_by(image.c.id)
    )
    insert = dialect_insert(postgresql, image_stat)
    return insert.from_select(["image_id", *names], per_image).on_conflict_do_update(
        index_elements=["image_id"], set_={name: insert.excluded[name] for name in names}
    )


def _matched_in_sets(inside: ColumnElement[bool]) -> Select[Any]:
    """Matches per set and severity. An inner join: matches are few, and can be begun with."""

    def count(condition: ColumnElement[bool], name: str) -> ColumnElement[int]:
        return func.sum(case((condition, 1), else_=0)).label(name)

    return (
        select(
            set_package.c.set_id,
            *(count(advisory_match.c.severity == int(s), s.label) for s in _BY_SEVERITY),
            count(advisory_match.c.fixed_in != "", "fixable"),
            literal(0).label("exploited"),
            literal(0).label("waived"),
            literal(0).label("pending"),
        )
        .join_from(
            advisory_match,
            set_package,
            set_package.c.package_id == advisory_match.c.package_id,
        )
        .where(set_package.c.counted, inside)
        .group_by(set_package.c.set_id)
    )


def _exploited_in_sets(inside: ColumnElement[bool]) -> Select[Any]:
    """Matches per set that are known to be exploited: few, so that they are begun with."""
    names = [name for name in (*COUNTERS, "pending") if name != "exploited"]
    zeros = {name: literal(0).label(name) for name in names}
    zeros["exploited"] = func.count().label("exploited")
    listed = and_(exploitation.c.advisory == advisory_match.c.advisory, exploitation.c.kev)
    return (
        select(set_package.c.set_id, *(zeros[name] for name in (*COUNTERS, "pending")))
        .join_from(exploitation, advisory_match, listed)
        .join(set_package, set_package.c.package_id == advisory_match.c.package_id)
        .where(set_package.c.counted, inside)
        .group_by(set_package.c.set_id)
    )


def _pending_in_sets(inside: ColumnElement[bool], everything: bool) -> Select[Any]:
    """Packages per set that were not matched yet: of the fleet's, nearly always none."""
    statement = select(
        set_package.c.set_id,
        *(literal(0).label(name) for name in COUNTERS),
        func.count().label("pending"),
    )
    if everything:
        waiting = (
            select(package.c.id)
            .outerjoin(evaluation, evaluation.c.package_id == package.c.id)
            .where(evaluation.c.package_id.is_(None))
        )
        statement = statement.where(set_package.c.package_id.in_(waiting))
    else:
        matched = exists().where(evaluation.c.package_id == set_package.c.package_id)
        statement = statement.where(~matched)
    return statement.where(set_package.c.counted, inside).group_by(set_package.c.set_id)


_BY_SEVERITY = tuple(Severity[name.upper()] for name in COUNTERS[:5])


def _affected(c: Connection, named: str) -> tuple[AffectedPackage, ...]:
    statement: Select[Any] = (
        select(
            *content.IDENTITY,
            advisory_match.c.fixed_in,
            func.count(image_layer.c.image_id.distinct()).label("images"),
        )
        .select_from(advisory_match)
        .join(package, package.c.id == advisory_match.c.package_id)
        .join(set_package, set_package.c.package_id == package.c.id)
        .join(image_layer, image_layer.c.set_id == set_package.c.set_id)
        .where(advisory_match.c.advisory == named, set_package.c.counted, ~_covered())
        .group_by(*(column for column in package.c), advisory_match.c.fixed_in)
        .order_by(package.c.name, package.c.id)
        .limit(AFFECTED_LIMIT)
    )
    return tuple(
        AffectedPackage(row.package_id, content.identified(row), row.fixed_in, row.images)
        for row in c.execute(statement)
    )


def _affected_images(c: Connection, named: str) -> int:
    statement = (
        select(func.count(image_layer.c.image_id.distinct()))
        .select_from(advisory_match)
        .join(set_package, set_package.c.package_id == advisory_match.c.package_id)
        .join(image_layer, image_layer.c.set_id == set_package.c.set_id)
        .where(advisory_match.c.advisory == named, set_package.c.counted, ~_covered())
    )
    return c.execute(statement).scalar_one()


def _covered() -> ColumnElement[bool]:
    """Whether a waiver covers the match in the image of the statement around it."""
    return exists().where(
        waived.c.image_id == image_layer.c.image_id,
        waived.c.package_id == advisory_match.c.package_id,
        waived.c.advisory == advisory_match.c.advisory,
    )


def _match(row: Row[Any]) -> Match:
    detail = msgspec.convert(row.detail, _Detail)
    return Match(
        id=row.advisory,
        aliases=detail.aliases,
        severity=Severity(row.severity),
        severity_source=detail.severity_source,
        cvss=detail.cvss,
        fixed_in=row.fixed_in,
        evidence=detail.evidence,
        records=detail.records,
        summary=detail.summary,
        url=detail.url,
        published=detail.published,
    )


def _union(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({one for names in lists for one in names}))
