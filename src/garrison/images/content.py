"""What one layer holds, as far as anybody asked: the result of walking its tar."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from xxhash import xxh3_64_intdigest

from garrison.errors import GarrisonError

_log = logging.getLogger("garrison.images")


class FileError(GarrisonError):
    """A file inside a layer cannot be understood. Readers raise it; the scan goes on."""

    code = "packages.unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands for a file that was asked for and could not be read."""

    code: str
    reason: str


class Sieve(Protocol):
    """Reads a file of any size while it flows by, in bounded memory."""

    def feed(self, data: bytearray, start: int, end: int) -> None:
        """Take the next piece, `data[start:end]`, which is valid until the call returns."""
        ...

    def facts(self) -> object | None:
        """At the end of the file: what it tells; None: nothing. Raises FileError."""
        ...


@dataclass(frozen=True, slots=True)
class Again(Broken):
    """Facts of a file that has to be seen once more: what they need lay further up in it.

    sieve: makes what reads it then. A source that flows only once leaves it broken.
    """

    sieve: Callable[[], Sieve]


class Wanted(Protocol):
    """Which files of an image are read, and what is kept of them.

    A file is looked at when its path ends in one of `suffixes` or contains `infix`, and read when
    `accepts` agrees. `read` says what to remember of it: layers are large, so the bytes
    themselves are not kept. Facts must not depend on the path: hard links share them.

    Any other file of at least `smallest` bytes that begins with one of `magics` (of four bytes)
    flows through a sieve; where that tells nothing, the file is not remembered.
    """

    @property
    def suffixes(self) -> tuple[bytes, ...]: ...

    @property
    def infix(self) -> bytes: ...

    def accepts(self, path: str) -> bool:
        """Whether `path`, which has a suffix or folder, is really of interest."""
        ...

    @property
    def magics(self) -> frozenset[bytes]: ...

    @property
    def smallest(self) -> int: ...

    def read(self, path: str, data: bytes) -> object | None:
        """Facts about the file; None when there are none. Raises FileError."""
        ...

    def sieve(self, path: str, size: int) -> Sieve | None:
        """What reads the file as it flows; None where `read` takes it whole."""
        ...


def facts_of(wanted: Wanted, path: str, data: bytes) -> object | None:
    """What `wanted` reads in a file, or `Broken`: one file never ends a scan."""
    return guarded(path, lambda: wanted.read(path, data))


def guarded(path: str, read: Callable[[], object | None]) -> object | None:
    """What `read` finds in the file at `path`, or `Broken`."""
    try:
        return read()
    except GarrisonError as error:
        return Broken(error.code, error.message)
    except Exception as error:  # a reader's mistake must not hide all other packages
        _log.exception("reader failed: %r", path)
        return Broken("packages.reader_failed", f"its reader failed: {type(error).__name__}")


@dataclass(slots=True)
class LayerContent:
    """The files of interest of one layer, and what it takes away from those below.

    Paths have no leading slash and no `.` or `..`.

    files: path to facts, to `Broken`, or to None for a file that was read and tells nothing.
    whiteouts: deleted paths. opaque: folders that hide what lower layers have in them.
    symlinks: path to target, as written.
    hard_links: wanted path to the file it names, where that was not read.
    folders, others: hashes of the paths of all folders, and of everything else; eight bytes
        each, so that "this file replaced that folder" is known without keeping a million names.
    """

    files: dict[str, object] = field(default_factory=dict)
    whiteouts: list[str] = field(default_factory=list)
    opaque: list[str] = field(default_factory=list)
    symlinks: dict[str, str] = field(default_factory=dict)
    hard_links: dict[str, str] = field(default_factory=dict)
    folders: array[int] = field(default_factory=lambda: array("Q"))
    others: array[int] = field(default_factory=lambda: array("Q"))
    entries: int = 0


bytes_hash = xxh3_64_intdigest
"""The hash of a path in `LayerContent.folders` and `others`: the same on every machine, so that
layers can be remembered, and as fast as the interpreter's own.

An image that provokes a collision loses one of its own files from view, which a whiteout does as
well.
"""


def path_hash(path: str) -> int:
    """`bytes_hash` of a path as text."""
    return bytes_hash(path.encode("utf-8", "replace"))
