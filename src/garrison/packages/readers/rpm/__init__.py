"""RPM packages: `rpmdb.sqlite`, `Packages.db` (ndb) and `Packages` (Berkeley DB).

All three hold the same header blobs, one for each installed package; only the box differs. The
boxes are read here, over bytes: nothing of librpm, and no SQLite that would run an image's views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from garrison.images import FileError
from garrison.packages.readers.facts import Database, DistributionPackage
from garrison.packages.readers.rpm import bdb, ndb, sqlite
from garrison.packages.readers.rpm.header import read_header

MAX_PACKAGES = 200_000
"""Of one database; a whole distribution has 70,000."""

__all__ = ["FILES", "read_bdb", "read_ndb", "read_sqlite", "read_wal"]


def read_sqlite(data: bytes) -> Database:
    """The packages of an `rpmdb.sqlite`. Raises FileError."""
    return _database(sqlite.blobs(data, "Packages"))


def read_ndb(data: bytes) -> Database:
    """The packages of a `Packages.db`. Raises FileError."""
    return _database(ndb.blobs(data))


def read_bdb(data: bytes) -> Database:
    """The packages of a `Packages`. Raises FileError."""
    return _database(bdb.blobs(data))


def read_wal(data: bytes) -> None:
    """Raises FileError: an `rpmdb.sqlite-wal` holds changes, so the database is not the whole.

    rpm empties it when it ends; one that is left is of an rpm that was killed.
    """
    if sqlite.has_frames(data):
        raise FileError(
            "rpm was interrupted: changes are in rpmdb.sqlite-wal and not in the database"
        )


FILES: dict[str, Callable[[bytes], Database | None]] = {
    "rpmdb.sqlite": read_sqlite,
    "Packages.db": read_ndb,
    "Packages": read_bdb,
}
"""Readers by file name; the first that is there is the one rpm would open."""


def _database(blobs: Iterator[bytes]) -> Database:
    packages: list[DistributionPackage] = []
    owned: dict[str, str] = {}
    for number, blob in enumerate(blobs):
        if number >= MAX_PACKAGES:
            raise FileError(f"the rpm database has more than {MAX_PACKAGES} packages")
        header = read_header(blob)
        if header is not None:
            packages.append(header.package)
            owned.update(dict.fromkeys(header.owned, header.package.name))
    return Database(tuple(packages), owned)
