"""How bad a finding is, and who says so.

The order: the distribution's own rating; then a CVSS vector of the matched records, version 4
before 3 before 2; then one of any other loaded record that shares an alias or upstream id; then
one that a feed of CVEs has (NVD, CVE List); then words and bare scores that a database states
without a vector. Nothing of these is `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from garrison.advisories import Advisory, AffectedRow, CveFacts, Rating
from garrison.findings.finding import Cvss, Severity

_WORDS = {
    "unimportant": Severity.LOW,
    "negligible": Severity.LOW,
    "low": Severity.LOW,
    "medium": Severity.MEDIUM,
    "moderate": Severity.MEDIUM,
    "high": Severity.HIGH,
    "important": Severity.HIGH,
    "critical": Severity.CRITICAL,
}
_VECTORS = {"CVSS_V4": 4, "CVSS_V3": 3, "CVSS_V2": 2}
_STATED = {"severity": 0, "cvss_v4": 4, "cvss_v3": 3, "cvss_v2": 2}


@dataclass(frozen=True, slots=True)
class Assessment:
    """source: the deciding record and what in it decided, as text; empty when unknown."""

    severity: Severity = Severity.UNKNOWN
    source: str = ""
    cvss: tuple[Cvss, ...] = ()


@dataclass(frozen=True, slots=True)
class _Vector:
    record: str
    version: int
    cvss: Cvss

    @property
    def order(self) -> tuple[int, float, str, str]:
        """Best first: newest CVSS version, then the higher score; then stable."""
        return (-self.version, -self.cvss.score, self.record, self.cvss.vector)


def assess(
    rows: Sequence[AffectedRow],
    related: Iterable[Advisory] = (),
    facts: Iterable[CveFacts] = (),
) -> Assessment:
    """Rate a finding made of `rows`; `related` are records that share an id with them, `facts`
    what feeds of CVEs say of its CVEs.

    A related record about several vulnerabilities says little about one of them, so it counts
    only where no more specific one has a vector.
    """
    others = _others(rows, related)
    own = _sorted(_row_vectors(rows))
    found = own or _related_vectors(others) or _fact_vectors(facts)
    cvss = tuple(dict.fromkeys(vector.cvss for vector in found))
    if word := _distribution_word(rows):
        return Assessment(word[0], word[1], cvss)
    if found:
        best = found[0]
        label = f"{best.record} {_cvss_name(best.cvss.vector, best.version)}"
        return Assessment(severity_of_score(best.cvss.score, best.version), label, cvss)
    return _stated([*_row_ratings(rows), *((item.id, item.ratings) for item in others)])


def severity_of_score(score: float, version: int = 3) -> Severity:
    """The word for a CVSS score. Version 2 knows no `critical`."""
    if score >= 9.0 and version != 2:
        return Severity.CRITICAL
    if score >= 7.0:
        return Severity.HIGH
    return Severity.MEDIUM if score >= 4.0 else Severity.LOW


@lru_cache(maxsize=16384)
def score(vector: str) -> float | None:
    """The base score of a vector of any version; None when it is none."""
    # Imported late: a scan without findings needs none of it.
    from cvss import CVSS2, CVSS3, CVSS4, CVSSError  # type: ignore[import-untyped]

    kind = CVSS4 if vector.startswith("CVSS:4") else CVSS3
    if not vector.startswith("CVSS:"):
        kind = CVSS2
    try:
        return float(kind(vector).base_score)
    except (CVSSError, ValueError, TypeError, KeyError, IndexError):
        return None


def _others(rows: Sequence[AffectedRow], related: Iterable[Advisory]) -> list[Advisory]:
    own = {row.advisory.id for row in rows}
    unique = {advisory.id: advisory for advisory in related if advisory.id not in own}
    return [unique[id] for id in sorted(unique)]


def _row_ratings(rows: Sequence[AffectedRow]) -> list[tuple[str, tuple[Rating, ...]]]:
    """Per record: what it says about this package, and about itself."""
    ratings = [(row.advisory.id, row.affected.ratings) for row in rows]
    return ratings + [(row.advisory.id, row.advisory.ratings) for row in rows]


def _row_vectors(rows: Sequence[AffectedRow]) -> list[_Vector]:
    return [vector for id, ratings in _row_ratings(rows) for vector in _vectors(id, ratings)]


def _related_vectors(others: list[Advisory]) -> list[_Vector]:
    specific = [item for item in others if _subjects(item) <= 1]
    general = [item for item in others if _subjects(item) > 1]
    for items in (specific, general):
        if found := [vector for item in items for vector in _vectors(item.id, item.ratings)]:
            return _sorted(found)
    return []


def _fact_vectors(facts: Iterable[CveFacts]) -> list[_Vector]:
    found = [vector for item in facts for vector in _vectors(f"{item.source} {item.id}",
                                                             item.ratings)]  # fmt: skip
    return _sorted(found)


def _subjects(advisory: Advisory) -> int:
    """How many vulnerabilities the record is about, as far as it tells."""
    return len({id for id in advisory.identifiers if id.startswith("CVE-")})


def _vectors(record: str, ratings: Iterable[Rating]) -> list[_Vector]:
    return [
        _Vector(record, _VECTORS[rating.type], Cvss(rating.value, points))
        for rating in ratings
        if rating.type in _VECTORS and (points := score(rating.value)) is not None
    ]


def _sorted(vectors: list[_Vector]) -> list[_Vector]:
    return sorted(vectors, key=lambda vector: vector.order)


def _distribution_word(rows: Sequence[AffectedRow]) -> tuple[Severity, str] | None:
    """The distribution's rating of its own package: Debian's urgency, Ubuntu's priority, …"""
    words = [
        (severity, f"{row.advisory.id} {rating.type}: {rating.value}")
        for row in rows
        for rating in row.affected.ratings
        if rating.type not in _VECTORS and rating.type not in _STATED
        if (severity := _word(rating.value)) is not None
    ]
    return max(words, default=None)


def _stated(ratings: list[tuple[str, tuple[Rating, ...]]]) -> Assessment:
    for record, items in ratings:
        stated = [item for item in items if item.type in _STATED]
        for item in sorted(stated, key=lambda item: -_STATED[item.type]):
            severity = _stated_severity(item)
            if severity is not None:
                return Assessment(severity, f"{record} {item.type}: {item.value}")
    return Assessment()


def _stated_severity(rating: Rating) -> Severity | None:
    if rating.type == "severity":
        return _word(rating.value)
    try:
        points = float(rating.value)
    except ValueError:
        return None
    return severity_of_score(points, _STATED[rating.type]) if 0.0 <= points <= 10.0 else None


def _word(text: str) -> Severity | None:
    # The Debian tracker marks automatic values with asterisks.
    return _WORDS.get(text.strip().rstrip("*").lower())


def _cvss_name(vector: str, version: int) -> str:
    return vector.partition("/")[0] if vector.startswith("CVSS:") else f"CVSS:{version}.0"
