"""Building the next snapshot of the advisories beside the one in force.

The old file is copied, feeds are replaced in the copy, record by record where something changed,
and the copy takes the old one's place. Until then nothing in force was touched, so a crash at any
point costs the work and nothing else.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from garrison.advisories.advisory import Advisory, Affected
from garrison.advisories.errors import UpdateRunningError
from garrison.advisories.facts import MAX_SKIPPED, Catalogue, CveRecord, Scores
from garrison.advisories.osv import UnreadableRecordError, read_record
from garrison.advisories.state import publish
from garrison.advisories.store import PACKED_ABOVE, SCHEMA, snapshot_path

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE feed (
    name TEXT PRIMARY KEY, records INTEGER NOT NULL, withdrawn INTEGER NOT NULL,
    skipped INTEGER NOT NULL, notes INTEGER NOT NULL, updated_at TEXT NOT NULL,
    etag TEXT NOT NULL, last_modified TEXT NOT NULL, listing TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE settled (
    feed TEXT NOT NULL, id TEXT NOT NULL, stamp TEXT NOT NULL, PRIMARY KEY (feed, id)
) WITHOUT ROWID;
CREATE TABLE epss (
    cve TEXT PRIMARY KEY, score REAL NOT NULL, percentile REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE kev (cve TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE cve (
    cve TEXT NOT NULL, part TEXT NOT NULL, modified TEXT NOT NULL, source TEXT NOT NULL,
    ratings BLOB NOT NULL, PRIMARY KEY (cve, part)
) WITHOUT ROWID;
CREATE TABLE source (
    kind TEXT NOT NULL, part TEXT NOT NULL, records INTEGER NOT NULL, skipped INTEGER NOT NULL,
    version TEXT NOT NULL, updated_at TEXT NOT NULL, etag TEXT NOT NULL,
    last_modified TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (kind, part)
) WITHOUT ROWID;
CREATE TABLE record (
    key INTEGER PRIMARY KEY, feed TEXT NOT NULL, id TEXT NOT NULL, modified TEXT NOT NULL,
    withdrawn INTEGER NOT NULL, hash BLOB NOT NULL, head BLOB NOT NULL, detail BLOB NOT NULL
);
CREATE UNIQUE INDEX record_id ON record (id, feed);
CREATE TABLE affected (
    ecosystem TEXT NOT NULL, name TEXT NOT NULL, record INTEGER NOT NULL, entry INTEGER NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (ecosystem, name, record, entry)
) WITHOUT ROWID;
CREATE INDEX affected_record ON affected (record);
CREATE TABLE identifier (
    identifier TEXT NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (identifier, record)
) WITHOUT ROWID;
CREATE INDEX identifier_record ON identifier (record);
CREATE TABLE problem (feed TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
    reason TEXT NOT NULL);
CREATE TABLE release (ecosystem TEXT PRIMARY KEY, base TEXT NOT NULL) WITHOUT ROWID;
"""
_MAX_CHANGED = 100_000
"""Names reported as changed at most; beyond that everything counts as changed."""

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said to recognise an unchanged file by; empty where it said nothing."""

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A source in force. updated_at: RFC 3339, empty where there is none."""

    validators: Validators = Validators()
    updated_at: str = ""


@dataclass(frozen=True, slots=True)
class _Loaded:
    records: int
    skipped: list[tuple[str, str]]
    version: str


@contextmanager
def next_snapshot(data: Path) -> Iterator[SnapshotWriter]:
    """A writer on a copy of the snapshot in force; publish it with `commit()`.

    One at a time per data directory. What is not committed is thrown away.

    Raises:
        UpdateRunningError: another process is at it.
    """
    folder = snapshot_path(data).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UpdateRunningError(
                "another update of the advisories is running", "Wait until it is done."
            ) from None
        writer = SnapshotWriter(snapshot_path(data))
        try:
            yield writer
        finally:
            writer.discard()


class SnapshotWriter:
    """The next snapshot while it is being made. Not safe for several threads at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = path.with_name(path.name + ".next")
        self._db: sqlite3.Connection | None = None
        self._changed: set[Name] = set()
        self._identifiers: set[str] = set()
        self._was_empty = True

    @property
    def changed(self) -> bool:
        """Whether any feed was replaced so far."""
        return self._db is not None

    def validators(self, feed: str) -> Validators:
        """Of the feed's file in the snapshot in force; empty ones where there is none."""
        found = self._ask("SELECT etag, last_modified FROM feed WHERE name = ?", feed)
        return Validators(*found) if found else Validators()

    def listing(self, feed: str) -> Validators:
        """Of the feed's list of changes that the snapshot in force is as new as."""
        found = self._ask("SELECT listing, '' FROM feed WHERE name = ?", feed)
        parts = (found[0].split("\n") if found else []) + ["", ""]
        return Validators(parts[0], parts[1])

    def stamps(self, feed: str) -> dict[str, str]:
        """When each record of the feed in force was modified; of those that could not be read,
        and those that differ from their list, what the list said."""
        if not _same_schema(self._path):
            return {}
        with _reading(self._path) as db:
            stamps = dict(db.execute("SELECT id, modified FROM record WHERE feed = ?", (feed,)))
            stamps |= dict(db.execute("SELECT id, stamp FROM settled WHERE feed = ?", (feed,)))
        return stamps

    def source(self, kind: str, part: str) -> Source:
        """What is in force of a source that is no feed of advisories."""
        found = self._ask(
            "SELECT etag, last_modified, updated_at FROM source WHERE kind = ? AND part = ?",
            kind, part,
        )  # fmt: skip
        return Source(Validators(found[0], found[1]), found[2]) if found else Source()

    def _ask(self, statement: str, *values: str) -> tuple[str, ...] | None:
        if not _same_schema(self._path):
            return None
        try:
            with _reading(self._path) as db:
                found: tuple[str, ...] | None = db.execute(statement, values).fetchone()
                return found
        except (OSError, sqlite3.Error):
            return None

    def replace_feed(
        self,
        feed: str,
        records: Iterable[tuple[str, bytes]],
        *,
        validators: Validators = Validators(),
        now: str,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Make `feed` hold exactly `records`: pairs of a file name and the record's bytes.

        All or nothing: whatever `records` or `progress` raises leaves the feed as it was.
        """
        with self._whole() as db:
            load = _FeedLoad(db, feed, self._changed, self._identifiers)
            for count, (name, raw) in enumerate(records, 1):
                load.take(name, raw)
                if progress is not None and count % 500 == 0:
                    progress(count)
            load.forget_unseen()
            db.execute("DELETE FROM settled WHERE feed = ?", (feed,))
            load.finish(validators, Validators(), now)

    def change_feed(
        self,
        feed: str,
        records: Iterable[tuple[str, bytes]],
        *,
        removed: Sequence[str] = (),
        stamps: Mapping[str, str],
        listing: Validators,
        now: str,
    ) -> None:
        """Replace single records of a feed, take out `removed`, leave the others.

        stamps: of the records given, when the feed's list says they were modified. listing: of
        that list. All or nothing.
        """
        with self._whole() as db:
            load = _FeedLoad(db, feed, self._changed, self._identifiers)
            for id in removed:
                load.remove(id)
            for name, raw in records:
                load.take(name, raw)
            load.settle(stamps)
            # With other records it is no longer what the archive of these validators holds.
            same = not stamps and not removed
            load.finish(self.validators(feed) if same else Validators(), listing, now)

    def replace_scores(self, scores: Scores, *, validators: Validators, now: str) -> None:
        """Hold exactly these EPSS scores."""
        with self._whole() as db:
            db.execute("DELETE FROM epss")
            db.executemany("INSERT OR REPLACE INTO epss VALUES (?, ?, ?)", scores)
            (count,) = db.execute("SELECT count(*) FROM epss").fetchone()
            found = _Loaded(count, scores.skipped, scores.version)
            self._note(db, "EPSS", "", found, validators, now)

    def replace_catalogue(self, catalogue: Catalogue, *, validators: Validators, now: str) -> None:
        """Hold exactly this catalogue of exploited vulnerabilities."""
        with self._whole() as db:
            db.execute("DELETE FROM kev")
            entries = catalogue.entries.items()
            rows = [(cve, msgspec.json.encode(entry)) for cve, entry in entries]
            db.executemany("INSERT INTO kev VALUES (?, ?)", rows)
            found = _Loaded(len(rows), catalogue.skipped, catalogue.version)
            self._note(db, "KEV", "", found, validators, now)

    def replace_cves(
        self,
        part: str,
        records: Iterable[CveRecord | tuple[str, str]],
        *,
        validators: Validators,
        now: str,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Hold exactly these ratings of CVEs as `part`."""
        with self._whole() as db:
            old: dict[str, bytes] = dict(
                db.execute("SELECT cve, ratings FROM cve WHERE part = ?", (part,))
            )
            db.execute("DELETE FROM cve WHERE part = ?", (part,))
            skipped: list[tuple[str, str]] = []
            for count, record in enumerate(records, 1):
                if not isinstance(record, CveRecord):
                    skipped.append(record)
                    continue
                ratings = msgspec.json.encode(record.ratings)
                if old.pop(record.id, b"[]") != ratings:
                    self._identifiers.add(record.id)
                db.execute(
                    "INSERT OR REPLACE INTO cve VALUES (?, ?, ?, ?, ?)",
                    (record.id, part, record.modified, record.source, ratings),
                )
                if progress is not None and count % 500 == 0:
                    progress(count)
            self._identifiers.update(id for id, ratings in old.items() if ratings != b"[]")
            (held,) = db.execute("SELECT count(*) FROM cve WHERE part = ?", (part,)).fetchone()
            self._note(db, "CVE", part, _Loaded(held, skipped, ""), validators, now)

    def forget_source(self, kind: str, part: str | None = None) -> None:
        """Take out a source that is no longer wanted; part None: all of it."""
        if not self._has_source(kind, part):
            return
        with self._whole() as db:
            table = {"EPSS": "epss", "KEV": "kev", "CVE": "cve"}[kind]
            only, values = (" WHERE part = ?", (part,)) if part is not None else ("", ())
            if kind == "CVE":
                self._identifiers.update(id for (id,) in db.execute(f"SELECT cve FROM cve{only}",
                                                                    values))  # fmt: skip
            db.execute(f"DELETE FROM {table}{only}", values)
            also = " AND part = ?" if part is not None else ""
            db.execute(f"DELETE FROM source WHERE kind = ?{also}", (kind, *values))
            db.execute("DELETE FROM problem WHERE feed = ?", (_label(kind, part or ""),))

    def parts(self, kind: str) -> list[str]:
        """The parts of a source in the snapshot in force."""
        if not _same_schema(self._path):
            return []
        with _reading(self._path) as db:
            return [part for (part,) in db.execute("SELECT part FROM source WHERE kind = ?",
                                                   (kind,))]  # fmt: skip

    def _has_source(self, kind: str, part: str | None) -> bool:
        parts = self.parts(kind)
        return bool(parts) if part is None else part in parts

    def _note(
        self,
        db: sqlite3.Connection,
        kind: str,
        part: str,
        found: _Loaded,
        validators: Validators,
        now: str,
    ) -> None:
        label = _label(kind, part)
        db.execute("DELETE FROM problem WHERE feed = ?", (label,))
        db.executemany(
            "INSERT INTO problem VALUES (?, ?, 'skipped', ?)",
            [(label, place, reason) for place, reason in found.skipped[:MAX_SKIPPED]],
        )
        db.execute(
            "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                kind, part, found.records, len(found.skipped), found.version, now,
                validators.etag, validators.last_modified, _content(db, kind, part),
            ),
        )  # fmt: skip

    @contextmanager
    def _whole(self) -> Iterator[sqlite3.Connection]:
        """All of a change to the copy, or nothing of it."""
        db = self._open()
        db.execute("SAVEPOINT change")
        kept = (set(self._changed), set(self._identifiers))
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK TO change")
            self._changed, self._identifiers = kept
            raise
        finally:
            db.execute("RELEASE change")

    def commit(self, now: str) -> str:
        """Put the new snapshot in force; returns its revision."""
        db = self._open()
        db.execute("DELETE FROM release")
        db.execute(
            "INSERT INTO release SELECT DISTINCT ecosystem,"
            " CASE instr(ecosystem, ':') WHEN 0 THEN ecosystem"
            " ELSE substr(ecosystem, 1, instr(ecosystem, ':') - 1) END FROM affected"
        )
        self._spread()
        revision = _revision(db)
        db.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [("revision", revision), ("updated_at", now), ("exploitation", _exploitation(db))],
        )
        db.execute("COMMIT")
        db.execute("PRAGMA optimize")
        db.close()
        self._db = None
        with self._next.open("rb") as file:
            os.fsync(file.fileno())
        publish(self._next, self._path)
        return revision

    @property
    def changed_names(self) -> frozenset[Name] | None:
        """(ecosystem, name) of packages whose findings may differ; None for all of them."""
        if self._was_empty or len(self._changed) > _MAX_CHANGED:
            return None
        return frozenset(self._changed)

    def discard(self) -> None:
        """Throw away what was not committed."""
        if self._db is not None:
            self._db.close()
            self._db = None
        self._next.unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        """The copy, made when the first feed needs it."""
        if self._db is None:
            self._next.unlink(missing_ok=True)
            self._was_empty = not _same_schema(self._path)
            if not self._was_empty:
                shutil.copyfile(self._path, self._next)
            self._db = sqlite3.connect(
                self._next, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            # Nobody else sees this file before it is finished and synced as a whole.
            self._db.execute("PRAGMA journal_mode = MEMORY")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.execute("PRAGMA cache_size = -65536")
            if self._was_empty:
                self._db.executescript(_TABLES)
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")
            self._db.execute("BEGIN")
        return self._db

    def _spread(self) -> None:
        """A severity may come from a record that shares an id: those packages changed too."""
        if self._was_empty or not self._identifiers:
            return
        rows = self._open().execute(
            "SELECT DISTINCT a.ecosystem, a.name FROM json_each(?) AS wanted"
            " JOIN identifier AS i ON i.identifier = wanted.value"
            " JOIN affected AS a ON a.record = i.record",
            (msgspec.json.encode(sorted(self._identifiers)).decode(),),
        )
        self._changed.update((ecosystem, name) for ecosystem, name in rows)


class _FeedLoad:
    """One feed being replaced: unchanged records are recognised by the hash of their bytes."""

    def __init__(
        self, db: sqlite3.Connection, feed: str, changed: set[Name], identifiers: set[str]
    ) -> None:
        self._db = db
        self._feed = feed
        self._changed = changed
        self._identifiers = identifiers
        self._old: dict[str, tuple[int, bytes]] = {
            id: (key, digest)
            for id, key, digest in db.execute(
                "SELECT id, key, hash FROM record WHERE feed = ?", (feed,)
            )
        }
        self._seen: set[str] = set()
        self._problems: list[tuple[str, str, str, str]] = []

    def take(self, name: str, raw: bytes) -> None:
        """Keep one record, or say why not."""
        digest = hashlib.blake2b(raw, digest_size=12).digest()
        id = name.rpartition("/")[2].removesuffix(".json")
        known = self._old.get(id)
        if known is not None and known[1] == digest and id not in self._seen:
            self._seen.add(id)
            return
        try:
            record = read_record(raw, id)
        except UnreadableRecordError as error:
            self._problems.append((self._feed, error.id or id, "skipped", str(error)))
            return
        advisory = record.advisory
        if advisory.id in self._seen:
            reason = "a second record of the same id"
            self._problems.append((self._feed, advisory.id, "skipped", reason))
            return
        self._seen.add(advisory.id)
        self._store(advisory, record.notes, digest)

    def forget_unseen(self) -> None:
        """Remove what the feed no longer has."""
        for id in self._old.keys() - self._seen:
            self._forget(id)
        self._db.execute("DELETE FROM problem WHERE feed = ? AND kind = 'skipped'", (self._feed,))

    def remove(self, id: str) -> None:
        """Take out one record."""
        self._forget(id)
        self._old.pop(id, None)
        for table in ("problem", "settled"):
            self._db.execute(f"DELETE FROM {table} WHERE feed = ? AND id = ?", (self._feed, id))

    def settle(self, stamps: Mapping[str, str]) -> None:
        """Remember what the feed's list said of records that do not say it themselves: those
        would else be fetched again with every update."""
        for id, stamp in stamps.items():
            self._db.execute(
                "DELETE FROM problem WHERE feed = ? AND id = ? AND kind = 'skipped'",
                (self._feed, id),
            )
            held = self._db.execute(
                "SELECT modified FROM record WHERE feed = ? AND id = ?", (self._feed, id)
            ).fetchone()
            if held is not None and held[0] == stamp:
                self._db.execute("DELETE FROM settled WHERE feed = ? AND id = ?", (self._feed, id))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO settled VALUES (?, ?, ?)", (self._feed, id, stamp)
                )

    def finish(self, validators: Validators, listing: Validators, now: str) -> None:
        """Write down the counts and the problems."""
        self._db.executemany("INSERT INTO problem VALUES (?, ?, ?, ?)", self._problems)
        self._db.execute(
            "INSERT OR REPLACE INTO feed SELECT ?, count(*), total(withdrawn),"
            " (SELECT count(*) FROM problem WHERE feed = ? AND kind = 'skipped'),"
            " (SELECT count(*) FROM problem WHERE feed = ? AND kind = 'note'), ?, ?, ?, ?"
            " FROM record WHERE feed = ?",
            (
                self._feed, self._feed, self._feed, now,
                validators.etag, validators.last_modified,
                f"{listing.etag}\n{listing.last_modified}", self._feed,
            ),
        )  # fmt: skip

    def _store(self, advisory: Advisory, notes: tuple[str, ...], digest: bytes) -> None:
        self._forget(advisory.id)
        head = replace(advisory, details="", references=(), affected=())
        detail = msgspec.json.encode((advisory.details, advisory.references))
        key = self._db.execute(
            "INSERT INTO record (feed, id, modified, withdrawn, hash, head, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self._feed, advisory.id, advisory.modified.removesuffix("Z"),
                int(bool(advisory.withdrawn)), digest, _compact(head), zlib.compress(detail, 1),
            ),
        ).lastrowid  # fmt: skip
        assert key is not None
        self._db.executemany(
            "INSERT INTO affected VALUES (?, ?, ?, ?, ?)",
            [
                (entry.ecosystem, entry.name, key, at, _packed(entry))
                for at, entry in enumerate(advisory.affected)
            ],
        )
        self._db.executemany(
            "INSERT INTO identifier VALUES (?, ?)", [(id, key) for id in advisory.identifiers]
        )
        self._problems.extend((self._feed, advisory.id, "note", note) for note in notes)
        self._changed.update((entry.ecosystem, entry.name) for entry in advisory.affected)
        self._identifiers.update(advisory.identifiers)

    def _forget(self, id: str) -> None:
        """Remove the feed's old copy of a record, and remember whom it was about."""
        if id not in self._old:
            return
        key, _ = self._old[id]
        for table in ("affected", "identifier"):
            column = "ecosystem, name" if table == "affected" else "identifier, ''"
            for first, second in self._db.execute(
                f"SELECT {column} FROM {table} WHERE record = ?", (key,)
            ):
                if table == "affected":
                    self._changed.add((first, second))
                else:
                    self._identifiers.add(first)
            self._db.execute(f"DELETE FROM {table} WHERE record = ?", (key,))
        self._db.execute("DELETE FROM record WHERE key = ?", (key,))
        self._db.execute(
            "DELETE FROM problem WHERE feed = ? AND id = ? AND kind = 'note'", (self._feed, id)
        )


def _compact(value: Advisory | Affected) -> bytes:
    """JSON without the empty fields."""
    fields = {name: found for name in value.__slots__ if (found := getattr(value, name))}
    return msgspec.json.encode(fields)


def _packed(entry: Affected) -> bytes:
    """JSON, deflated where a version list makes it long (it halves the file)."""
    data = _compact(entry)
    return zlib.compress(data, 1) if len(data) > PACKED_ABOVE else data


def _revision(db: sqlite3.Connection) -> str:
    """A short name of the content: equal for equal records, whatever the way they came."""
    digest = hashlib.sha256(f"garrison-advisories-{SCHEMA}\n".encode())
    for feed, id, content in db.execute("SELECT feed, id, hash FROM record ORDER BY id, feed"):
        digest.update(f"{feed}\0{id}\0".encode() + content)
    for part, content in db.execute(
        "SELECT part, digest FROM source WHERE kind = 'CVE' ORDER BY part"
    ):
        digest.update(f"CVE\0{part}\0".encode() + content)
    return digest.hexdigest()[:12]


def _exploitation(db: sqlite3.Connection) -> str:
    """A short name of what is known of exploitation, as `_revision` is of the advisories: scores
    change daily, and match nothing."""
    digest = hashlib.sha256()
    for kind, content in db.execute(
        "SELECT kind, digest FROM source WHERE kind IN ('EPSS', 'KEV') ORDER BY kind"
    ):
        digest.update(f"{kind}\0".encode() + content)
    return digest.hexdigest()[:12]


def _content(db: sqlite3.Connection, kind: str, part: str) -> bytes:
    """A digest of what a source says, whatever the file it came in."""
    statement, values = {
        "EPSS": ("SELECT cve, score, percentile FROM epss ORDER BY cve", ()),
        "KEV": ("SELECT cve, data FROM kev ORDER BY cve", ()),
        "CVE": ("SELECT cve, ratings FROM cve WHERE part = ? ORDER BY cve", (part,)),
    }[kind]
    digest = hashlib.sha256()
    for row in db.execute(statement, values):
        digest.update(repr(row).encode())
    return digest.digest()


def _label(kind: str, part: str) -> str:
    return f"{kind} {part}".strip()


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        yield db
    finally:
        db.close()


def _same_schema(path: Path) -> bool:
    """Whether there is a snapshot that can be built upon."""
    try:
        with _reading(path) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            return bool(version == SCHEMA)
    except sqlite3.Error:
        return False
