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

MAX_DATABASE = 256 << 20
"""Bytes of a database; one of a thousand packages has 100 MB."""

__all__ = ["FILES", "LargeDatabase", "read_bdb", "read_ndb", "read_sqlite", "read_wal"]


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


class LargeDatabase:
    """The `images.Sieve` of a database that is larger than other files are read."""

    def __init__(self, read: Callable[[bytes], object | None]) -> None:
        self._read = read
        self._data = bytearray()

    def feed(self, data: bytearray, start: int, end: int) -> None:
        """Keep the next piece. Raises FileError: the file is too large."""
        if len(self._data) + end - start > MAX_DATABASE:
            raise FileError(f"an rpm database of more than {MAX_DATABASE} bytes")
        self._data += memoryview(data)[start:end]

    def facts(self) -> object | None:
        """The packages. Raises FileError."""
        data = bytes(self._data)
        self._data.clear()
        return self._read(data)


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
