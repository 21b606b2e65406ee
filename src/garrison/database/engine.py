"""`Database`: transactions on SQLite or PostgreSQL, behind two context managers."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, cast

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError

from garrison.database.dialect import insert_or_ignore
from garrison.database.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseFullError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    KeyMismatchError,
)
from garrison.database.interning import InternCache
from garrison.database.keys import Key
from garrison.database.migrations import current, head, upgrade
from garrison.database.tables import key_check
from garrison.secret import Secret

Kind: TypeAlias = Literal["sqlite", "postgresql"]

BUSY_SECONDS = 20.0
"""How long a writer waits for another process."""

_CHECK = "key check"
_CHECK_TEXT = "garrison"


class Database:
    """All that a Console remembers.

    Functions of the other modules take the Connection that `read()` or `write()` gives. Both are
    synchronous: call them in a worker thread.
    """

    def __init__(self, url: str, *, key: Key) -> None:
        """url: `sqlite:///FILE` or `postgresql://…`. Opens nothing yet.

        Raises:
            DatabaseUrlError: another kind of URL, or one without a file.
        """
        parsed = _parse(url)
        self._key = key
        self._interned = InternCache()
        if parsed.get_backend_name() == "sqlite":
            self._kind: Kind = "sqlite"
            path = Path(cast(str, parsed.database)).absolute()
            self._path: Path | None = path
            self._reader, self._writer = _sqlite_engines(path)
            self._lock: _WriterLock | None = _WriterLock.of(path)
        else:
            self._kind = "postgresql"
            self._path = None
            self._reader, self._writer = _postgresql_engines(parsed)
            self._lock = None

    @classmethod
    def open(cls, data: Path, url: str | None = None) -> Database:
        """The database of a data directory: DATA/garrison.db unless `url` names another.

        Makes the directory (0700), DATA/key and the tables where they are missing, and brings
        older tables up to date.

        Raises:
            KeyFileError, KeyMismatchError, DatabaseTooNewError, DatabaseUnavailableError
        """
        data = data.absolute()
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = data / "key"
        key = Key.load_or_create(file)
        database = cls(url or f"sqlite:///{data / 'garrison.db'}", key=key)
        try:
            database.migrate()
        except KeyMismatchError:
            database.close()
            if key.created:
                # The database is older than this key: the right one is missing, and a file in its
                # place would only make that harder to see.
                file.unlink(missing_ok=True)
            raise
        except BaseException:
            database.close()
            raise
        return database

    @property
    def key(self) -> Key:
        """Seals and opens credentials."""
        return self._key

    @property
    def kind(self) -> Kind:
        return self._kind

    def migrate(self) -> None:
        """Bring the tables up to this program's version and check the key against them.

        Several processes may call it at once.

        Raises:
            DatabaseTooNewError: a newer program has been here.
            KeyMismatchError: DATA/key is not this database's.
        """
        if self._path is not None:
            _create_file(self._path)
        with self.read() as c:
            if self._ready(c):
                return
        with self.migrating() as c:
            upgrade(c)
        sealed = self._key.seal(_CHECK, Secret(_CHECK_TEXT))
        with self.write() as c:
            c.execute(insert_or_ignore(c, key_check).values(id=1, sealed=sealed))
        with self.read() as c:
            self._ready(c)

    @contextlib.contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction for `migrations.upgrade` and `downgrade`.

        SQLite replaces a table by copying it, which references would not survive: they are not
        enforced meanwhile, and checked before the end.
        """
        with self._exclusive(), self._writer.connect() as c:
            if self._kind == "sqlite":
                _driver(c).execute("PRAGMA foreign_keys = OFF").close()
            try:
                with c.begin():
                    yield c
            finally:
                if self._kind == "sqlite":
                    _driver(c).execute("PRAGMA foreign_keys = ON").close()

    def _ready(self, c: Connection) -> bool:
        """Whether nothing is left to do: most starts need not wait for a writer."""
        if current(c) != head():
            return False
        sealed = c.execute(select(key_check.c.sealed)).scalar_one_or_none()
        if sealed is None:
            return False
        self._key.open(_CHECK, sealed)
        return True

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction that sees one moment of the database throughout."""
        with _plain_errors(), self._reader.connect() as c, c.begin():
            yield c

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back on any exception.

        On SQLite there is one writer at a time, over all threads and processes: keep the block
        short, and never wait for a network in it.

        Raises:
            DatabaseBusyError: another process kept the lock for too long.
            RuntimeError: this thread is writing already.
        """
        with self._writing() as c, self._interned.unit(c) as unit:
            yield c
        # After the commit: ids from a transaction that was rolled back must not be remembered.
        unit.keep()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._exclusive(), self._writer.connect() as c, c.begin():
            yield c

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._lock or contextlib.nullcontext(), _plain_errors():
            yield

    def maintain(self) -> None:
        """Let the database refresh what its planner knows; call it daily. Cheap."""
        if self._kind == "sqlite":
            with self._exclusive(), self._writer.connect() as c:
                _driver(c).execute("PRAGMA optimize").close()

    def close(self) -> None:
        """Close every connection. The object cannot be used again."""
        self._reader.dispose()
        self._writer.dispose()


class _WriterLock:
    """One writer at a time in this process, for each SQLite file.

    Without it every thread would poll in SQLite's busy handler, which is slow and unfair.
    """

    _locks: ClassVar[dict[Path, _WriterLock]] = {}
    _guard = threading.Lock()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @classmethod
    def of(cls, path: Path) -> _WriterLock:
        with cls._guard:
            return cls._locks.setdefault(Path(os.path.realpath(path)), cls())

    def __enter__(self) -> None:
        me = threading.get_ident()
        if self._owner == me:
            raise RuntimeError("this thread is writing already: pass its Connection on")
        self._lock.acquire()
        self._owner = me

    def __exit__(self, *error: object) -> None:
        self._owner = None
        self._lock.release()


def _driver(c: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, c.connection.driver_connection)


def _parse(url: str) -> URL:
    wanted = "It is sqlite:///FILE or postgresql://USER@HOST/NAME."
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text may hold a password: it is not repeated.
        raise DatabaseUrlError("the database URL cannot be read", wanted) from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise DatabaseUrlError("the SQLite URL names no file", wanted)
        return parsed.set(drivername="sqlite+pysqlite")
    raise DatabaseUrlError(f"no database of kind {parsed.drivername!r} is supported", wanted)


def _encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _sqlite_engines(path: Path) -> tuple[Engine, Engine]:
    def engine(*, pool_size: int, max_overflow: int) -> Engine:
        return create_engine(
            URL.create("sqlite+pysqlite", database=str(path)),
            json_serializer=_encode_json,
            json_deserializer=msgspec.json.decode,
            pool_size=pool_size,
            max_overflow=max_overflow,
            connect_args={"timeout": BUSY_SECONDS},
        )

    reader = engine(pool_size=8, max_overflow=56)
    writer = engine(pool_size=1, max_overflow=0)
    _configure_sqlite(reader, begin="BEGIN", pragmas=("query_only = ON",))
    _configure_sqlite(writer, begin="BEGIN IMMEDIATE", pragmas=())
    return reader, writer


def _configure_sqlite(engine: Engine, *, begin: str, pragmas: tuple[str, ...]) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, record: object) -> None:
        # The driver's own guesses about when to begin a transaction are switched off.
        connection.isolation_level = None
        _enter_wal(connection)
        for pragma in (
            "synchronous = NORMAL",
            # 40 MB: an image touches a hundred index pages, which the next ones touch again.
            "wal_autocheckpoint = 10000",
            "foreign_keys = ON",
            "cache_size = -32768",
            "mmap_size = 268435456",
            "temp_store = MEMORY",
            *pragmas,
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def start(c: Connection) -> None:
        c.exec_driver_sql(begin)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead logging, which the file then keeps.

    SQLite does not wait for the lock that the first change needs, so programs that start at once
    on a new file would fail.
    """
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _postgresql_engines(url: URL) -> tuple[Engine, Engine]:
    def engine(isolation: Literal["READ COMMITTED", "REPEATABLE READ"]) -> Engine:
        return create_engine(
            url,
            json_serializer=_encode_json,
            json_deserializer=msgspec.json.decode,
            pool_size=8,
            max_overflow=24,
            # A server that was restarted meanwhile costs one round trip, not an error page.
            pool_pre_ping=True,
            isolation_level=isolation,
            connect_args={
                "application_name": "garrison",
                "connect_timeout": 10,
                # No query here runs long enough to be worth compiling.
                "options": "-c timezone=UTC -c lock_timeout=20s -c jit=off",
            },
        )

    reader, writer = engine("REPEATABLE READ"), engine("READ COMMITTED")

    @event.listens_for(reader, "connect")
    def read_only(connection: Any, record: object) -> None:
        connection.read_only = True

    return reader, writer


def _create_file(path: Path) -> None:
    """Nobody else may read the database; its -wal and -shm files get the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseUnavailableError(
            f"cannot open the database {path}: {error.strerror}",
            "Give the data directory to the user Garrison runs as.",
        ) from error


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """The driver's errors that an operator can do something about, as ours."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise _translated(error) from error


def _translated(error: SQLAlchemyError) -> DatabaseError:
    cause = getattr(error, "orig", None)
    said = " ".join(str(cause).split())
    name = getattr(cause, "sqlite_errorname", "") or getattr(cause, "sqlstate", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or name in ("40P01", "40001", "55P03"):
        return DatabaseBusyError(
            f"another process is writing to the database: {said}", "Try again."
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "53")):
        return DatabaseFullError(
            f"the database cannot write: {said}", "Look at the disk it is on, and its free space."
        )
    return DatabaseUnavailableError(
        f"the database does not answer: {said}",
        "Check GARRISON_DATABASE_URL, and that the server runs and lets Garrison in.",
    )
