"""OSV records → advisories. Pure.

Source: the OSV schema (ossf.github.io/osv-schema) and what feeds really contain: null where a
list belongs, unknown fields, several ecosystems in one record, GIT ranges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from garrison.advisories.advisory import (
    Advisory,
    Affected,
    Event,
    EventKind,
    Range,
    Rating,
    Reference,
    normalize_name,
)
from garrison.advisories.ranges import unusable_bound
from garrison.packages.versions import scheme_for

MAX_RECORD = 16 << 20
"""Bytes of one record at most; the largest real ones stay below 1 MiB."""
_MAX_DETAILS = 32 << 10
_MAX_REFERENCES = 64
_MAX_ID = 128

_EVENT_KINDS: tuple[EventKind, ...] = ("introduced", "fixed", "last_affected", "limit")
# Errata of these distributions: their CVEs stand under `related` in older records, and their own
# rating is a word at the head of the summary.
_ERRATA = frozenset({"AlmaLinux", "Red Hat", "Rocky Linux", "SUSE", "openSUSE"})
_RATED_SUMMARY = re.compile(r"(Critical|Important|Moderate|Low): ")
_SCORE_FIELDS = ("cvss_v4", "cvss_v3", "cvss_v2")
# Go writes Go's zero time where nothing is known.
_NO_TIME = "0001-01-01"


class UnreadableRecordError(ValueError):
    """The record is not kept; `id` as far as it is known."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(reason)
        self.id = id


@dataclass(frozen=True, slots=True)
class Record:
    """notes: what of the record cannot be used, and why."""

    advisory: Advisory
    notes: tuple[str, ...] = ()


class _Event(msgspec.Struct):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class _Range(msgspec.Struct):
    type: str = ""
    events: list[_Event] | None = None


class _Severity(msgspec.Struct):
    type: str = ""
    score: str = ""


class _Package(msgspec.Struct):
    ecosystem: str
    name: str


class _EntrySpecific(msgspec.Struct):
    urgency: Any = None
    severity: Any = None


class _Affected(msgspec.Struct):
    # Old records of projects without a package have ranges alone.
    package: _Package | None = None
    ranges: list[_Range] | None = None
    versions: list[str] | None = None
    severity: list[_Severity] | None = None
    ecosystem_specific: _EntrySpecific | None = None
    database_specific: _EntrySpecific | None = None


class _Specific(msgspec.Struct):
    severity: Any = None
    cvss_v2: Any = None
    cvss_v3: Any = None
    cvss_v4: Any = None


class _Reference(msgspec.Struct):
    type: str = ""
    url: str = ""


class _Record(msgspec.Struct):
    id: str
    modified: str | None = None
    published: str | None = None
    withdrawn: str | None = None
    aliases: list[str] | None = None
    upstream: list[str] | None = None
    related: list[str] | None = None
    summary: str | None = None
    details: str | None = None
    severity: list[_Severity] | None = None
    affected: list[_Affected] | None = None
    references: list[_Reference] | None = None
    database_specific: _Specific | None = None


_decoder = msgspec.json.Decoder(_Record)


def read_record(raw: bytes, name: str = "") -> Record:
    """Read one record. name: what to call it if its id cannot be read.

    Raises:
        UnreadableRecordError: not JSON, a wrong type somewhere, no usable id or date.
    """
    if len(raw) > MAX_RECORD:
        raise UnreadableRecordError(name, f"{len(raw)} bytes, more than {MAX_RECORD}")
    try:
        record = _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableRecordError(name, str(error)) from None
    if not record.id or len(record.id) > _MAX_ID or not record.id.isprintable():
        raise UnreadableRecordError(name, "no usable id")
    if record.modified and not _is_time(record.modified):
        raise UnreadableRecordError(record.id, f"modified is no time: {record.modified[:40]!r}")
    return _advisory(record)


def _advisory(record: _Record) -> Record:
    notes: list[str] = []
    affected = tuple(_entries(record, notes))
    references = tuple(
        Reference(item.type, item.url)
        for item in (record.references or [])[:_MAX_REFERENCES]
        if item.url.startswith(("https://", "http://"))
    )
    details = (record.details or "")[:_MAX_DETAILS]
    errata = any(entry.ecosystem.partition(":")[0] in _ERRATA for entry in affected)
    advisory = Advisory(
        id=record.id,
        modified=record.modified or "",
        published=_time(record.published),
        withdrawn=record.withdrawn or "",
        aliases=_ids(record.aliases),
        upstream=_upstream(record, errata=errata),
        related=_ids(record.related),
        ratings=(*_vectors(record.severity), *_stated(record.database_specific)),
        summary=(record.summary or "").strip() or _first_line(details),
        url=_page(record.id, references),
        details=details,
        references=references,
        affected=affected,
    )
    # What a withdrawn record lacks matters to nobody.
    return Record(advisory, () if advisory.withdrawn else tuple(notes))


def _entries(record: _Record, notes: list[str]) -> list[Affected]:
    entries = []
    for item in record.affected or []:
        package = item.package
        if package is None or not package.ecosystem or not package.name:
            notes.append("an affected entry names no package")
            continue
        ranges = tuple(
            _range(span) for span in item.ranges or [] if span.type in {"ECOSYSTEM", "SEMVER"}
        )
        entry = Affected(
            ecosystem=package.ecosystem,
            name=normalize_name(package.ecosystem, package.name),
            ranges=ranges,
            versions=tuple(item.versions or ()),
            ratings=_entry_ratings(item, record),
        )
        notes.extend(_entry_notes(entry, item))
        entries.append(entry)
    if not entries:
        notes.append("no affected package")
    return entries


def _range(span: _Range) -> Range:
    events = []
    for event in span.events or []:
        for kind in _EVENT_KINDS:
            version = getattr(event, kind)
            if version is not None:
                events.append(Event(kind, version.strip()))
    return Range(span.type, tuple(events))


def _entry_notes(entry: Affected, item: _Affected) -> list[str]:
    label = f"{entry.ecosystem} {entry.name}"
    if not entry.ranges and not entry.versions:
        kind = "only GIT ranges" if item.ranges else "neither ranges nor versions"
        return [f"{label}: {kind}, never matched"]
    if entry.ranges and not any(
        event.kind == "introduced" for span in entry.ranges for event in span.events
    ):
        return [f"{label}: no range has a beginning"]
    scheme = scheme_for(entry.ecosystem)
    if scheme is None:
        return []
    instead = "the version list decides" if entry.versions else "the range is not used"
    return [
        f"{label}: bound {bound[:80]!r} is no {scheme.name} version, {instead}"
        for span in entry.ranges
        if (bound := unusable_bound(span, scheme))
    ]


def _vectors(severities: list[_Severity] | None) -> tuple[Rating, ...]:
    return tuple(Rating(item.type, item.score) for item in severities or () if item.score)


def _entry_ratings(item: _Affected, record: _Record) -> tuple[Rating, ...]:
    ratings = list(_vectors(item.severity))
    distribution = item.package.ecosystem.partition(":")[0] if item.package else ""
    if distribution in _ERRATA and (word := _RATED_SUMMARY.match(record.summary or "")):
        ratings.append(Rating(distribution, word[1]))
    # Ubuntu states its priority beside the vectors of the whole record.
    ratings += [
        Rating(rating.type, rating.score)
        for rating in record.severity or ()
        if rating.type == distribution and rating.score
    ]
    for specific in (item.ecosystem_specific, item.database_specific):
        if specific is None:
            continue
        if isinstance(specific.urgency, str):
            ratings.append(Rating("urgency", specific.urgency))
        if isinstance(specific.severity, str):
            ratings.append(Rating("severity", specific.severity))
    return tuple(ratings)


def _stated(specific: _Specific | None) -> tuple[Rating, ...]:
    """Words and bare scores that a database adds where it has no vector."""
    if specific is None:
        return ()
    ratings = []
    if isinstance(specific.severity, str):
        ratings.append(Rating("severity", specific.severity))
    for field in _SCORE_FIELDS:
        value = getattr(specific, field)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            ratings.append(Rating(field, str(value)))
    return tuple(ratings)


def _upstream(record: _Record, *, errata: bool) -> tuple[str, ...]:
    """What the record is about; of an erratum that names nothing else, the CVEs it relates to."""
    named = _ids(record.upstream)
    if errata and not named and not record.aliases:
        return tuple(id for id in _ids(record.related) if id.startswith("CVE-"))
    return named


def _ids(ids: list[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(id for id in ids or () if id and len(id) <= _MAX_ID))


def _page(id: str, references: tuple[Reference, ...]) -> str:
    for reference in references:
        if reference.type == "ADVISORY":
            return reference.url
    return references[0].url if references else f"https://osv.dev/vulnerability/{id}"


def _first_line(details: str) -> str:
    line = next((line for line in details.splitlines() if line.strip()), "").strip("# ").strip()
    return line if len(line) <= 200 else line[:199] + "…"


def _time(text: str | None) -> str:
    return "" if text is None or text.startswith(_NO_TIME) else text


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
