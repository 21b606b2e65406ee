"""`Database`: transactions on SQLite or PostgreSQL, behind two context managers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

from garrison.database.keys import Key


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
        raise NotImplementedError

    @classmethod
    def open(cls, data: Path, url: str | None = None) -> Database:
        """The database of a data directory: DATA/garrison.db unless `url` names another.

        Makes the directory (0700), DATA/key and the tables where they are missing, and brings
        older tables up to date.

        Raises:
            KeyFileError, KeyMismatchError, DatabaseTooNewError, DatabaseUnavailableError
        """
        raise NotImplementedError

    @property
    def key(self) -> Key:
        """Seals and opens credentials."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        raise NotImplementedError

    def migrate(self) -> None:
        """Bring the tables up to this program's version and check the key against them.

        Several processes may call it at once.

        Raises:
            DatabaseTooNewError: a newer program has been here.
            KeyMismatchError: DATA/key is not this database's.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction that sees one moment of the database throughout."""
        raise NotImplementedError
        yield

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back on any exception.

        On SQLite there is one writer at a time, over all threads and processes: keep the block
        short, and never wait for a network in it.

        Raises:
            DatabaseBusyError: another process kept the lock for too long.
            RuntimeError: this thread is writing already.
        """
        raise NotImplementedError
        yield

    def close(self) -> None:
        """Close every connection. The object cannot be used again."""
        raise NotImplementedError
