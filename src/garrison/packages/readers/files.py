"""Which files of an image are package databases, and which reader reads each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from garrison.images import FileError, Sieve, limits
from garrison.packages.readers import executable, gems, java, rpm
from garrison.packages.readers.apk import read_installed
from garrison.packages.readers.dpkg import read_list, read_md5sums, read_status
from garrison.packages.readers.npm import read_package_json
from garrison.packages.readers.osrelease import read_os_release
from garrison.packages.readers.python import read_egg, read_egg_link, read_metadata

_STATUS_D = "/dpkg/status.d/"
RPM_FOLDERS = ("var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm")
"""Where rpm keeps its database: of old, by default today, and under rpm-ostree."""
_RPM_ENDS = ("lib/rpm", "sysimage/rpm", "share/rpm")
_RPM_FILES = {**rpm.FILES, "rpmdb.sqlite-wal": rpm.read_wal}


Reader: TypeAlias = Callable[[bytes], "object | None"]


class PackageFiles:
    """The `images.Wanted` of a scan.

    lock_files: those of a project are read too. In an image they say what somebody wanted to
        install at some time, not what is there, so that they are not.
    """

    # Checked for every file of an image, so: few, and the common ones first.
    suffixes: tuple[bytes, ...] = (
        b"package.json",
        b"/METADATA",
        b"/PKG-INFO",
        b".egg-info",
        b".egg",
        b".egg-link",
        b".list",
        b".gemspec",
        b"os-release",
        b"/dpkg/status",
        b"/db/installed",
        b"/rpmdb.sqlite",
        b"/rpmdb.sqlite-wal",
        b"/Packages.db",
        b"/Packages",
        b"/ALPM_DB_VERSION",
        *(ending.encode() for ending in java.ENDINGS),
    )
    infix = b"/dpkg/status.d/"
    magics = executable.MAGICS
    smallest = executable.SMALLEST

    def __init__(self, *, lock_files: bool = False) -> None:
        self._lock_reader: Callable[[str], Reader | None] = _no_reader
        if lock_files:
            # What parses them is half of all that a scan imports, and images need none of it.
            from garrison.packages.readers import locks

            self._lock_reader = locks.reader_for
            self.suffixes = (*self.suffixes, *locks.SUFFIXES)

    def accepts(self, path: str) -> bool:
        """Whether a reader is for `path`."""
        return self._reader(path) is not None or java.is_archive(path)

    def read(self, path: str, data: bytes) -> object | None:
        """The facts in the file. Raises FileError."""
        reader = self._reader(path)
        return reader(data) if reader else None

    def sieve(self, path: str, size: int) -> Sieve | None:
        """How to read what is not read whole: Java archives, large databases of rpm, and any
        other file that begins as a program does."""
        if java.is_archive(path):
            return java.JavaSieve(path, size)
        reader = self._reader(path)
        if reader is None:
            return executable.ExecutableSieve(size)
        if size > limits.MAX_KEPT_FILE and reader in rpm.FILES.values():
            return rpm.LargeDatabase(reader)
        return None

    def _reader(self, path: str) -> Reader | None:
        return _reader(path) or self._lock_reader(path)


def _no_reader(path: str) -> Reader | None:
    return None


def is_database(path: str) -> bool:
    """Whether an image with an unreadable `path` has packages nobody knows of."""
    return _reader(path) in _DATABASES and not path.endswith(".md5sums")


def is_database_folder(path: str) -> bool:
    """Whether `path` is a folder that holds a package database, or is above one."""
    return any(place == path or place.startswith(f"{path}/") for place in _PLACES)


_PLACES = ("var/lib/dpkg/status.d", "lib/apk/db", "usr/lib/apk/db", *RPM_FOLDERS)


def _reader(path: str) -> Reader | None:
    folder, _, base = path.rpartition("/")
    if base == "package.json":
        return read_package_json
    if base == "METADATA":
        return read_metadata if folder.endswith(".dist-info") else None
    if base == "PKG-INFO":
        return read_metadata if folder.endswith((".egg-info", "EGG-INFO")) else None
    if base.endswith(".egg-info"):
        return read_metadata
    if base.endswith(".egg"):
        return read_egg
    if base.endswith(".egg-link"):
        return read_egg_link if folder.endswith("-packages") else None
    if _STATUS_D in path:
        return read_md5sums if base.endswith(".md5sums") else read_status
    if base.endswith(".gemspec"):
        return gems.read_gemspec if gems.is_installed(folder) else None
    if base.endswith(".list"):
        return read_list if folder.endswith("/dpkg/info") else None
    if base == "os-release":
        return read_os_release if folder.endswith(("etc", "lib")) else None
    if path.endswith("/dpkg/status"):
        return read_status
    if path.endswith("apk/db/installed"):
        return read_installed
    if base in _RPM_FILES:
        return _RPM_FILES[base] if folder.endswith(_RPM_ENDS) else None
    if path.endswith("lib/pacman/local/ALPM_DB_VERSION"):
        return _refuse
    return None


def _refuse(data: bytes) -> object | None:
    """A database without a reader: said aloud, since an image of it would look empty."""
    raise FileError("a package database of a kind that is not read yet")


_DATABASES = frozenset({read_status, read_installed, *_RPM_FILES.values(), _refuse})
