"""What is known of a CVE beside the advisories: how bad, how likely exploited, exploited already.

Readers of the three public sources, pure over bytes: EPSS (FIRST), the catalogue of known
exploited vulnerabilities (CISA KEV), and records of CVEs (CVE List 5, NVD 2.0) for their CVSS.

Sources: first.org/epss/data_stats; the catalogue's published JSON schema; CVEProject/cve-schema
5.x; nvd.nist.gov/developers/vulnerabilities.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from garrison.advisories.advisory import Rating
from garrison.advisories.errors import BadFeedError

MAX_SCORES = 4_000_000
"""Rows of EPSS; 360,000 in 2026."""
MAX_SKIPPED = 1000
"""Unreadable lines or entries of one file named one by one."""
_CVE = re.compile(r"CVE-\d{4}-\d{4,19}")
_VECTOR = re.compile(r"(?:CVSS:\d\.\d/)?[A-Za-z:/]{8,400}")
_MAX_TEXT = 500


class Epss(NamedTuple):
    """How likely exploitation in the next 30 days is, 0 to 1, and the share of CVEs below it."""

    score: float
    percentile: float


class Kev(NamedTuple):
    """An entry of the catalogue. added, due: dates; ransomware: known to be used for it."""

    added: str
    due: str
    ransomware: bool
    name: str
    action: str


@dataclass(frozen=True, slots=True)
class CveFacts:
    """What is loaded about one CVE. source: whose the ratings are (`NVD`, `CVE List`)."""

    id: str
    epss: Epss | None = None
    kev: Kev | None = None
    ratings: tuple[Rating, ...] = ()
    source: str = ""


class Catalogue(NamedTuple):
    version: str
    entries: dict[str, Kev]
    skipped: list[tuple[str, str]]


class CveRecord(NamedTuple):
    """ratings: CVSS vectors, none for a rejected CVE. modified: RFC 3339 or empty."""

    id: str
    modified: str
    source: str
    ratings: tuple[Rating, ...]


class Scores:
    """EPSS as its daily CSV has it: a comment with model and day, a header, then rows.

    Iterate once; `version` (`v2026.06.15, 2026-08-15`) and `skipped` are complete after it.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.version = ""
        self.skipped: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[tuple[str, float, float]]:
        """CVE, score, percentile. Raises BadFeedError: not such a file."""
        header, rows = False, 0
        for number, text in enumerate(self._lines, 1):
            line = text.strip()
            if line.startswith("#"):
                self.version = self.version or _version(line)
                continue
            if not header:
                if [name.strip() for name in line.split(",")][:3] != ["cve", "epss", "percentile"]:
                    raise BadFeedError("these are no EPSS scores: cve, epss, percentile is missing")
                header = True
                continue
            row = _score(line)
            if row is None:
                if line and len(self.skipped) < MAX_SKIPPED:
                    self.skipped.append((f"line {number}", f"no score: {line[:60]!r}"))
                continue
            rows += 1
            if rows > MAX_SCORES:
                raise BadFeedError(f"more than {MAX_SCORES} scores")
            yield row
        if not rows:
            raise BadFeedError("these are no EPSS scores: not one row")


def _score(line: str) -> tuple[str, float, float] | None:
    parts = line.split(",")
    try:
        cve, score, percentile = parts[0], float(parts[1]), float(parts[2])
    except (ValueError, IndexError):
        return None
    fine = _CVE.fullmatch(cve) and 0 <= score <= 1 and 0 <= percentile <= 1
    return (cve, score, percentile) if fine else None


def _version(comment: str) -> str:
    """`#model_version:v2026.06.15,score_date:2026-08-15T00:00:00+0000` in short."""
    fields = dict(
        part.partition(":")[::2] for part in comment.lstrip("#").split(",") if ":" in part
    )
    model, day = fields.get("model_version", ""), fields.get("score_date", "")[:10]
    return ", ".join(part[:40] for part in (model, day) if part)


class _KevEntry(msgspec.Struct):
    cveID: str
    dateAdded: str = ""
    dueDate: str = ""
    knownRansomwareCampaignUse: str = ""
    vulnerabilityName: str = ""
    requiredAction: str = ""


class _KevFile(msgspec.Struct):
    vulnerabilities: list[msgspec.Raw]
    catalogVersion: str = ""


def read_catalogue(data: bytes) -> Catalogue:
    """CISA's catalogue. Raises BadFeedError: not such a file."""
    try:
        file = msgspec.json.decode(data, type=_KevFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFeedError(f"this is no catalogue of exploited vulnerabilities: {error}") from None
    entries: dict[str, Kev] = {}
    skipped = []
    for number, raw in enumerate(file.vulnerabilities, 1):
        try:
            item = msgspec.json.decode(raw, type=_KevEntry)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            skipped.append((f"entry {number}", str(error)[:_MAX_TEXT]))
            continue
        if not _CVE.fullmatch(item.cveID):
            skipped.append((f"entry {number}", "no CVE"))
            continue
        entries[item.cveID] = Kev(
            item.dateAdded[:10],
            item.dueDate[:10],
            item.knownRansomwareCampaignUse == "Known",
            item.vulnerabilityName[:_MAX_TEXT],
            item.requiredAction[:_MAX_TEXT],
        )
    if not entries:
        raise BadFeedError("this is no catalogue of exploited vulnerabilities: it has no entry")
    return Catalogue(file.catalogVersion[:40], entries, skipped)


# --- records of CVEs --------------------------------------------------------------------------


class _Cvss(msgspec.Struct):
    vectorString: str = ""


class _ListMetric(msgspec.Struct):
    cvssV4_0: _Cvss | None = None
    cvssV3_1: _Cvss | None = None
    cvssV3_0: _Cvss | None = None
    cvssV2_0: _Cvss | None = None


class _Container(msgspec.Struct):
    metrics: list[_ListMetric] | None = None


class _Containers(msgspec.Struct):
    cna: _Container
    adp: list[_Container] | None = None


class _ListMetadata(msgspec.Struct):
    cveId: str
    state: str = ""
    dateUpdated: str = ""


class _ListRecord(msgspec.Struct):
    cveMetadata: _ListMetadata
    containers: _Containers


class _NvdMetric(msgspec.Struct):
    cvssData: _Cvss
    type: str = ""


class _NvdMetrics(msgspec.Struct):
    cvssMetricV40: list[_NvdMetric] | None = None
    cvssMetricV31: list[_NvdMetric] | None = None
    cvssMetricV30: list[_NvdMetric] | None = None
    cvssMetricV2: list[_NvdMetric] | None = None


class _NvdCve(msgspec.Struct):
    id: str
    lastModified: str = ""
    vulnStatus: str = ""
    metrics: _NvdMetrics | None = None


class _NvdItem(msgspec.Struct):
    cve: _NvdCve


class _NvdFile(msgspec.Struct):
    vulnerabilities: list[msgspec.Raw]


_LIST = msgspec.json.Decoder(_ListRecord)
_NVD_FILE = msgspec.json.Decoder(_NvdFile)
_NVD_ITEM = msgspec.json.Decoder(_NvdItem)
_KINDS = {"3": "CVSS_V3", "4": "CVSS_V4"}


def read_cves(data: Any) -> Iterator[CveRecord | tuple[str, str]]:
    """The records in a JSON file: one of the CVE List, or a file or answer of NVD 2.0.

    data: bytes or a memory map. What cannot be read is given as (id or place, reason).

    Raises BadFeedError: neither of the two.
    """
    try:
        file = _NVD_FILE.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        yield _listed(data)
        return
    for number, raw in enumerate(file.vulnerabilities, 1):
        try:
            item = _NVD_ITEM.decode(raw).cve
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            yield f"entry {number}", str(error)[:_MAX_TEXT]
            continue
        yield _nvd(item)


def _listed(data: Any) -> CveRecord:
    try:
        record = _LIST.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFeedError(f"neither a record of the CVE List nor of NVD 2.0: {error}") from None
    meta = record.cveMetadata
    if not _CVE.fullmatch(meta.cveId):
        raise BadFeedError("a record without the id of a CVE")
    vectors = []
    if meta.state != "REJECTED":
        # The one who assigned it comes first; CISA and others add what that one left out.
        for container in (record.containers.cna, *(record.containers.adp or ())):
            for metric in container.metrics or ():
                vectors += [metric.cvssV4_0, metric.cvssV3_1, metric.cvssV3_0, metric.cvssV2_0]
            if any(vectors):
                break
    return CveRecord(meta.cveId, meta.dateUpdated[:40], "CVE List", _ratings(vectors))


def _nvd(item: _NvdCve) -> CveRecord | tuple[str, str]:
    if not _CVE.fullmatch(item.id):
        return item.id[:40], "no CVE"
    metrics = item.metrics or _NvdMetrics()
    vectors: list[_Cvss | None] = []
    if item.vulnStatus != "Rejected":
        for found in (
            metrics.cvssMetricV40,
            metrics.cvssMetricV31,
            metrics.cvssMetricV30,
            metrics.cvssMetricV2,
        ):
            # NVD's own analysis is `Primary`; without one, what the assigner said.
            primary = [metric for metric in found or () if metric.type == "Primary"]
            vectors += [metric.cvssData for metric in primary or found or ()]
    return CveRecord(item.id, item.lastModified[:40], "NVD", _ratings(vectors))


def _ratings(vectors: Iterable[_Cvss | None]) -> tuple[Rating, ...]:
    texts = dict.fromkeys(item.vectorString for item in vectors if item is not None)
    return tuple(
        Rating(_KINDS.get(text[5:6], "CVSS_V2") if text.startswith("CVSS:") else "CVSS_V2", text)
        for text in texts
        if _VECTOR.fullmatch(text)
    )
