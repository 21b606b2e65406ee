"""Reading the local advisories: one SQLite file that never changes, only gets replaced."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from garrison.advisories.advisory import Advisory, Affected, AffectedRow, Rating, Reference
from garrison.advisories.errors import SnapshotError
from garrison.advisories.facts import CveFacts, Epss, Kev
from garrison.advisories.state import UpdateState, read_state
from garrison.packages.releases import serving

SCHEMA = 2
"""Raised when the tables or what is read from a record changes: then everything is loaded anew."""

PACKED_ABOVE = 512
"""Bytes of an entry's JSON above which it is stored deflated; JSON begins with `{`, zlib never."""

_HEAD = msgspec.json.Decoder(Advisory)
_AFFECTED = msgspec.json.Decoder(Affected)
_KEV = msgspec.json.Decoder(Kev)
_RATINGS = msgspec.json.Decoder(tuple[Rating, ...])
_DETAIL = msgspec.json.Decoder(tuple[str, tuple[Reference, ...]])


@dataclass(frozen=True, slots=True)
class EcosystemState:
    """One feed.

    records: all that were read, withdrawn ones included, skipped ones not.
    skipped: records that could not be read. notes: remarks about parts that cannot be used.
    updated_at: RFC 3339; when the feed's content was last known to be current.
    """

    name: str
    records: int
    withdrawn: int
    skipped: int
    notes: int
    updated_at: str


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record that could not be read, or (in notes) a part of one that cannot be used."""

    ecosystem: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceState:
    """What is loaded beside advisories. kind: `EPSS`, `KEV` or `CVE` (ratings).

    version: the publisher's own word for what it is (`v2026.06.15, 2026-08-15`), or empty.
    """

    kind: str
    records: int
    skipped: int
    version: str
    updated_at: str


def snapshot_path(data: Path) -> Path:
    """The file that holds the advisories of a data directory."""
    return data / "intel" / "advisories.db"


class AdvisoryStore:
    """One snapshot: everything it answers belongs to the same revision, as long as it is open.

    Usable from several threads. Ask `reopened()` to follow updates.
    """

    def __init__(self, path: Path) -> None:
        """Open the snapshot at `path`.

        Raises:
            FileNotFoundError: there is none.
            SnapshotError: it cannot be read, or another version of Garrison wrote it.
        """
        self.path = path
        self._identity = _identity(path)
        # `immutable` is true to the letter: an update never writes into this file.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            self._db = sqlite3.connect(uri, uri=True, check_same_thread=False)
            meta = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise SnapshotError(
                f"the local advisories cannot be read: {error}",
                "Run: garrison intel update",
            ) from error
        if version != SCHEMA:
            self._db.close()
            raise SnapshotError(
                "the local advisories were written by another version of Garrison",
                "Run: garrison intel update",
            )
        self.revision: str = meta["revision"]
        self.exploitation: str = meta.get("exploitation", "")
        """Changes with EPSS and KEV, which the revision does not."""
        self._updated_at: str = meta["updated_at"]
        self._releases: tuple[str, ...] | None = None
        self._serving: dict[str, tuple[str, ...]] = {}

    @classmethod
    def open(cls, data: Path) -> AdvisoryStore | None:
        """The snapshot of a data directory; None when nothing was ever loaded."""
        try:
            return cls(snapshot_path(data))
        except FileNotFoundError:
            return None

    def reopened(self) -> AdvisoryStore:
        """This store, or a new one when the file was replaced since."""
        try:
            current = _identity(self.path)
        except FileNotFoundError:
            return self
        return self if current == self._identity else AdvisoryStore(self.path)

    def close(self) -> None:
        """Let go of the file. Needed by nobody but tests: it is only read."""
        self._db.close()

    @property
    def state(self) -> UpdateState:
        """What the last update left beside the snapshot."""
        return read_state(self.path.parent)

    @property
    def updated_at(self) -> str:
        """RFC 3339: when an update last confirmed or changed anything here."""
        return max([self._updated_at, *(feed.updated_at for feed in self.ecosystems())])

    def ecosystems(self) -> list[EcosystemState]:
        """The loaded feeds by name."""
        confirmed = self.state.confirmed
        rows = self._db.execute(
            "SELECT name, records, withdrawn, skipped, notes, updated_at FROM feed ORDER BY name"
        )
        states = [EcosystemState(*row) for row in rows]
        return [
            replace(feed, updated_at=max(feed.updated_at, confirmed.get(feed.name, "")))
            for feed in states
        ]

    def skipped(self) -> list[SkippedRecord]:
        """Records that could not be read."""
        return self._problems("skipped")

    def notes(self) -> list[SkippedRecord]:
        """Parts of records that cannot be used: entries without versions, bounds that are none."""
        return self._problems("note")

    def covers(self, ecosystem: str) -> bool:
        """Whether anything is known about this ecosystem and release (`Debian:12`).

        A feed that says nothing about a release does not make its packages sound.
        """
        return bool(self._places(ecosystem))

    def lookup(self, ecosystem: str, names: Iterable[str]) -> Mapping[str, tuple[AffectedRow, ...]]:
        """What is published about packages of these normalised names; withdrawn records are not.

        One query for all names and all parts of the release (`releases.serving`). A record that
        several feeds carry counts once, in the copy that was modified last.
        """
        rows = self._db.execute(
            "SELECT a.name, r.head, a.data, r.id, r.modified, a.record"
            " FROM json_each(?) AS place CROSS JOIN json_each(?) AS wanted"
            " CROSS JOIN affected AS a ON a.ecosystem = place.value AND a.name = wanted.value"
            " JOIN record AS r ON r.key = a.record AND r.withdrawn = 0"
            " ORDER BY a.name, r.id, r.modified DESC, a.record, a.entry",
            (_list(self._places(ecosystem)), _list(sorted(set(names)))),
        )
        found: dict[str, list[AffectedRow]] = {}
        heads: dict[int, Advisory] = {}
        winner: tuple[str, str, int] | None = None
        for name, head, data, id, _modified, record in rows:
            if winner is None or winner[:2] != (name, id):
                winner = (name, id, record)
            elif winner[2] != record:
                continue
            if record not in heads:
                heads[record] = _HEAD.decode(head)
            found.setdefault(name, []).append(AffectedRow(heads[record], _entry(data)))
        return {name: tuple(entries) for name, entries in found.items()}

    def related(self, identifiers: Iterable[str]) -> Mapping[str, tuple[Advisory, ...]]:
        """Per identifier, the records that carry it as id, alias or upstream; not withdrawn ones.

        Details and affected packages are left out.
        """
        rows = self._db.execute(
            "SELECT i.identifier, r.head FROM json_each(?) AS wanted"
            " JOIN identifier AS i ON i.identifier = wanted.value"
            " JOIN record AS r ON r.key = i.record AND r.withdrawn = 0"
            " ORDER BY i.identifier, r.id, r.modified",
            (_list(sorted(set(identifiers))),),
        )
        found: dict[str, list[Advisory]] = {}
        for identifier, head in rows:
            found.setdefault(identifier, []).append(_HEAD.decode(head))
        return {identifier: tuple(records) for identifier, records in found.items()}

    def facts(self, cves: Iterable[str]) -> Mapping[str, CveFacts]:
        """What is known of these CVEs beside advisories; nothing of those that nobody mentions."""
        wanted = _list(sorted(set(cves)))
        found: dict[str, CveFacts] = {}
        rows = self._db.execute(
            "SELECT wanted.value, e.score, e.percentile, k.data FROM json_each(?) AS wanted"
            " LEFT JOIN epss AS e ON e.cve = wanted.value"
            " LEFT JOIN kev AS k ON k.cve = wanted.value"
            " WHERE e.cve IS NOT NULL OR k.cve IS NOT NULL",
            (wanted,),
        )
        for cve, score, percentile, kev in rows:
            epss = None if score is None else Epss(score, percentile)
            found[cve] = CveFacts(cve, epss, None if kev is None else _KEV.decode(kev))
        # Of several files about one CVE the one that was modified last.
        rated = self._db.execute(
            "SELECT c.cve, c.source, c.ratings FROM json_each(?) AS wanted"
            " JOIN cve AS c ON c.cve = wanted.value ORDER BY c.cve, c.modified, c.part",
            (wanted,),
        )
        for cve, source, ratings in rated:
            known = found.get(cve) or CveFacts(cve)
            found[cve] = replace(known, ratings=_RATINGS.decode(ratings), source=source)
        return found

    @property
    def knows_exploited(self) -> bool:
        """Whether a catalogue of exploited vulnerabilities is loaded at all."""
        return any(source.kind == "KEV" for source in self.sources())

    def sources(self) -> list[SourceState]:
        """What is loaded beside advisories, by kind."""
        confirmed = self.state.confirmed
        rows = self._db.execute(
            "SELECT kind, total(records), total(skipped), max(version), max(updated_at)"
            " FROM source GROUP BY kind ORDER BY kind"
        )
        return [
            SourceState(
                kind, int(records), int(skipped), version, max(updated, confirmed.get(kind, ""))
            )
            for kind, records, skipped, version, updated in rows
        ]

    def advisory(self, id: str) -> Advisory | None:
        """The whole record of that id, withdrawn or not; of several copies the latest."""
        row = self._db.execute(
            "SELECT key, head, detail FROM record WHERE id = ? ORDER BY modified DESC LIMIT 1",
            (id,),
        ).fetchone()
        if row is None:
            return None
        key, head, detail = row
        details, references = _DETAIL.decode(zlib.decompress(detail))
        entries = self._db.execute(
            "SELECT data FROM affected WHERE record = ? ORDER BY ecosystem, name, entry", (key,)
        )
        return replace(
            _HEAD.decode(head),
            details=details,
            references=references,
            affected=tuple(_entry(data) for (data,) in entries),
        )

    def records_of(self, identifier: str) -> list[str]:
        """Ids of the records that carry this identifier (a CVE, say), withdrawn ones included."""
        rows: Iterable[Any] = self._db.execute(
            "SELECT DISTINCT r.id FROM identifier AS i JOIN record AS r ON r.key = i.record"
            " WHERE i.identifier = ? ORDER BY r.id",
            (identifier,),
        )
        return [id for (id,) in rows]

    def _places(self, ecosystem: str) -> tuple[str, ...]:
        """The loaded ecosystems that are about packages of this one."""
        if self._releases is None:
            rows = self._db.execute(
                "SELECT DISTINCT release.ecosystem FROM release"
                " JOIN feed ON feed.name IN (release.ecosystem, release.base)"
            )
            self._releases = tuple(name for (name,) in rows)
        places = self._serving.get(ecosystem)
        if places is None:
            places = self._serving[ecosystem] = serving(ecosystem, self._releases)
        return places

    def _problems(self, kind: str) -> list[SkippedRecord]:
        rows = self._db.execute(
            "SELECT feed, id, reason FROM problem WHERE kind = ? ORDER BY feed, id, reason", (kind,)
        )
        return [SkippedRecord(*row) for row in rows]


def _list(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()


def _entry(data: bytes) -> Affected:
    return _AFFECTED.decode(data if data[:1] == b"{" else zlib.decompress(data))


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_mtime_ns)
