"""Which findings count: thresholds, and waivers with a reason and an expiry. Pure.

The file of waivers is described in docs/reference/waivers.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from garrison.errors import InvalidSettingError
from garrison.findings.finding import Decision, Finding, ScanReport, Severity
from garrison.findings.match import full_name

MAX_FILE = 4 << 20
"""Bytes of a file of waivers."""
MAX_TEXT = 1000
"""Characters of a reason or a pattern."""
_FIELDS = frozenset({"id", "package", "image", "reason", "expires"})
_PLAIN = re.compile(r"(?P<id>[^\s#]+)(?:\s+exp:(?P<expires>\S+))?\s*(?:#\s*(?P<reason>.*))?")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-:._][A-Za-z0-9]+)+")


@dataclass(frozen=True, slots=True)
class Waiver:
    """Findings that somebody accepts until a day.

    id: an advisory by id, alias or record; package: pattern of a name or package URL; image:
    pattern of a reference. Empty ones fit all, but id and package are not both empty.
    expires: the moment from which it no longer holds; None: never, which only plain files can say.
    source: where it is written down, for people.
    """

    id: str = ""
    package: str = ""
    image: str = ""
    reason: str = ""
    expires: datetime | None = None
    source: str = ""

    def expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires <= now

    def covers(self, finding: Finding, reference: str) -> bool:
        """Whether it is about this finding in the image of that reference."""
        return (
            (not self.id or self.id.lower() in _identifiers(finding))
            and (not self.package or any(fits(self.package, n) for n in _names(finding)))
            and (not self.image or any(fits(self.image, n) for n in _references(reference)))
        )

    def __str__(self) -> str:
        scope = [self.id or "every advisory"]
        scope += [f"in {self.package}"] if self.package else []
        scope += [f"in images {self.image}"] if self.image else []
        return " ".join(scope)


def fits(pattern: str, text: str) -> bool:
    """Whether `text` is as `pattern` says: `*` is any text, `?` one character; case is ignored.

    In time of the product of their lengths at most, whatever the pattern.
    """
    pattern, text = pattern.lower(), text.lower()
    at = place = 0
    star, resume = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, resume = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            place, at = place + 1, at + 1
        elif star >= 0:
            resume += 1
            place, at = star + 1, resume
        else:
            return False
    return not pattern[place:].strip("*")


def parse_waivers(text: str, source: str) -> tuple[Waiver, ...]:
    """The waivers in a file: tables in TOML, or plain lines of ids as `.trivyignore` has them.

    Raises:
        InvalidSettingError: something in it cannot be meant; the message names the place.
    """
    if re.search(r"^\s*\[\[?\s*waiver", text, re.MULTILINE):
        return _tables(text, source)
    return tuple(_lines(text, source))


def apply_waivers(report: ScanReport, waivers: Sequence[Waiver], now: datetime) -> ScanReport:
    """The report with what is waived moved to `suppressed`; waivers past their day are said."""
    reference = report.inventory.reference
    kept: list[Finding] = []
    waived: list[Finding] = []
    expired: dict[Waiver, int] = {w: 0 for w in waivers if w.expired(now)}
    for finding in report.findings:
        covering = [waiver for waiver in waivers if waiver.covers(finding, reference)]
        active = next((waiver for waiver in covering if not waiver.expired(now)), None)
        if active is not None:
            waived.append(replace(finding, decision=decision_of(active)))
            continue
        for waiver in covering:
            expired[waiver] += 1
        kept.append(finding)
    return replace(
        report,
        findings=tuple(kept),
        suppressed=(*report.suppressed, *waived),
        warnings=(*report.warnings, *_said(expired)),
    )


def decision_of(waiver: Waiver) -> Decision:
    """A waiver as what was decided about a finding."""
    expires = waiver.expires.strftime("%Y-%m-%dT%H:%M:%SZ") if waiver.expires else ""
    return Decision("waiver", "accepted", "", waiver.reason, waiver.source, expires)


def exceeds(report: ScanReport, threshold: Severity) -> bool:
    """Whether a finding that counts is at or above the threshold."""
    return any(finding.match.severity >= threshold for finding in report.findings)


def end_of(day: str | date | datetime) -> datetime:
    """The moment after which a waiver no longer holds; a date is its whole day, UTC.

    Raises ValueError.
    """
    if isinstance(day, str):
        text = day.strip()
        day = date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    if isinstance(day, datetime):
        return day.replace(tzinfo=UTC) if day.tzinfo is None else day.astimezone(UTC)
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _said(expired: dict[Waiver, int]) -> list[str]:
    said = []
    others = 0
    for waiver, count in expired.items():
        if not count:
            others += 1
            continue
        findings = "1 finding counts" if count == 1 else f"{count} findings count"
        said.append(
            f"the waiver for {waiver} expired on {_last_day(waiver)}: {findings} again"
            f" ({waiver.source})"
        )
    if others:
        waivers = "1 waiver" if others == 1 else f"{others} waivers"
        said.append(f"{waivers} for nothing in this image expired: remove or renew them")
    return said


def _last_day(waiver: Waiver) -> str:
    assert waiver.expires is not None
    return (waiver.expires - timedelta(microseconds=1)).date().isoformat()


def _tables(text: str, source: str) -> tuple[Waiver, ...]:
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(source, str(error)) from error
    tables = document.pop("waiver", [])
    if document or not isinstance(tables, list):
        raise _wrong(source, "only tables called [[waiver]] belong there")
    return tuple(_table(item, f"{source}, waiver {n}") for n, item in enumerate(tables, 1))


def _table(item: Any, source: str) -> Waiver:
    if not isinstance(item, dict):
        raise _wrong(source, "not a table")
    if unknown := sorted(item.keys() - _FIELDS):
        raise _wrong(source, f"there is no field {unknown[0]!r}")
    texts = {name: item.get(name, "") for name in ("id", "package", "image", "reason")}
    for name, value in texts.items():
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise _wrong(source, f"{name} must be text of at most {MAX_TEXT} characters")
        texts[name] = value.strip()
    if not texts["id"] and not texts["package"]:
        raise _wrong(source, "it names neither id nor package, so it would waive everything")
    if not texts["reason"]:
        raise _wrong(source, "the reason is missing")
    if "expires" not in item:
        raise _wrong(source, "expires is missing")
    return Waiver(**texts, expires=_expiry(item["expires"], source), source=source)


def _lines(text: str, source: str) -> Iterable[Waiver]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        place = f"{source}, line {number}"
        found = _PLAIN.fullmatch(line)
        if found is None or not _IDENTIFIER.fullmatch(found["id"]):
            raise _wrong(place, f"not an advisory's id: {line[:80]!r}")
        expires = _expiry(found["expires"], place) if found["expires"] else None
        yield Waiver(
            found["id"], reason=(found["reason"] or "")[:MAX_TEXT], expires=expires, source=place
        )


def _expiry(value: object, source: str) -> datetime:
    try:
        if isinstance(value, str | date):
            return end_of(value)
    except (ValueError, OverflowError):
        pass
    raise _wrong(source, f"expires is no date: {str(value)[:40]!r}")


def _wrong(source: str, reason: str) -> InvalidSettingError:
    return InvalidSettingError(
        "ignore_file",
        f"{source}: {reason}",
        "Give id or package, reason and expires = 2026-12-31: docs/reference/waivers.md.",
    )


def _identifiers(finding: Finding) -> set[str]:
    match = finding.match
    return {id.lower() for id in (match.id, *match.aliases, *match.records)}


def _names(finding: Finding) -> tuple[str, ...]:
    package = finding.package
    plain = package.purl.partition("?")[0]
    names = (package.name, full_name(package), package.source, package.purl, plain)
    return tuple(dict.fromkeys(name for name in names if name))


def _references(reference: str) -> tuple[str, ...]:
    """The reference as it is, and as people shorten it."""
    short = reference.removeprefix("docker.io/").removeprefix("library/")
    return (reference, short) if short != reference else (reference,)
