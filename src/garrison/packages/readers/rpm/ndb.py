"""rpm's own database, ndb: slots that say where each header is.

Source: rpm, lib/backend/ndb/rpmpkg.c; the layout of its `Packages.db`. Little endian.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, iter_unpack
from zlib import adler32

from garrison.images import FileError

_PAGE = 4096
_BLOCK = 16
_HEADER = Struct("<4sIIII12x")
_SLOT = "<4sIII"
_HEAD = Struct("<4sIII")
_TAIL = Struct("<II4s")


def blobs(data: bytes) -> Iterator[bytes]:
    """The header of each package, in the order of their numbers. Raises FileError."""
    if len(data) < _PAGE:
        raise FileError("not an ndb database, or cut off")
    magic, version, _, pages, _ = _HEADER.unpack_from(data)
    if magic != b"RpmP":
        raise FileError("not an ndb database")
    if version != 0:
        raise FileError(f"an ndb database of version {version}")
    end = pages * _PAGE
    if not pages or end > len(data):
        raise FileError("the ndb database is cut off")
    slots = sorted(_slots(data[_HEADER.size : end]))
    numbers = [number for number, _, _ in slots]
    if len(set(numbers)) != len(numbers):
        raise FileError("the ndb database has two packages of one number")
    taken = end
    for _, offset, count in sorted(slots, key=lambda slot: slot[1]):
        # What overlaps could be unpacked into far more than the file has.
        if offset * _BLOCK < taken:
            raise FileError("packages of the ndb database overlap")
        taken = (offset + count) * _BLOCK
    if taken > len(data):
        raise FileError("the ndb database is cut off")
    for number, offset, count in slots:
        yield _blob(data, number, offset * _BLOCK, count * _BLOCK)


def _slots(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Number, first block and blocks of each package."""
    for magic, number, offset, count in iter_unpack(_SLOT, data):
        if magic != b"Slot":
            raise FileError("a slot of the ndb database is damaged")
        if offset:
            yield number, offset, count


def _blob(data: bytes, number: int, start: int, size: int) -> bytes:
    if size < _HEAD.size + _TAIL.size:
        raise FileError(f"package {number} of the ndb database is damaged")
    magic, here, _, length = _HEAD.unpack_from(data, start)
    tail = start + size - _TAIL.size
    checksum, again, end_magic = _TAIL.unpack_from(data, tail)
    first = start + _HEAD.size
    if (magic, end_magic, here) != (b"BlbS", b"BlbE", number) or again != length:
        raise FileError(f"package {number} of the ndb database is damaged")
    # Blobs are padded to whole blocks, so the two sizes say the same.
    if not 0 <= tail - (first + length) < _BLOCK:
        raise FileError(f"package {number} of the ndb database has a wrong size")
    if adler32(data[start:tail]) != checksum:
        raise FileError(f"package {number} of the ndb database has a wrong checksum")
    return data[first : first + length]
