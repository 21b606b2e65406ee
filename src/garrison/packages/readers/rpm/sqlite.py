"""The rows of one table of an SQLite file, read without SQLite.

An image's database is a stranger's: its schema could hold views and triggers that run for ever.
Here nothing of it runs; each page is visited once, so work and memory are bounded by the file.

Source: sqlite.org/fileformat2.html, sections 1.3, 1.5, 1.6, 2.1 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from

from garrison.images import FileError

_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_UTF8 = 1
_INTERIOR, _LEAF = 5, 13
_MAX_DEPTH = 20
_WAL_MAGICS = (0x377F0682, 0x377F0683)
_WAL_HEADER, _WAL_FRAME = 32, 24
# Bytes of the integers of serial types 1 to 6.
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def blobs(data: bytes, table: str) -> Iterator[bytes]:
    """The last column of each row of `table`, which has to be a blob. Raises FileError."""
    file = _File(data)
    for values in map(_record, file.rows(1)):
        if values[:2] == [b"table", table.encode()] and len(values) > 3:
            root = values[3]
            if not isinstance(root, int):
                break
            for payload in file.rows(root):
                row = _record(payload)
                if not row or not isinstance(row[-1], bytes):
                    raise FileError(f"a row of {table} has no blob")
                yield row[-1]
            return
    raise FileError(f"the SQLite database has no table {table}")


def has_frames(wal: bytes) -> bool:
    """Whether a write-ahead log holds a page that counts.

    Old frames stay behind the end of a log that was started again; their salts tell.
    """
    if len(wal) < _WAL_HEADER + _WAL_FRAME:
        return False
    if unpack_from(">I", wal)[0] not in _WAL_MAGICS:
        return False
    return wal[16:24] == wal[_WAL_HEADER + 8 : _WAL_HEADER + 16]


class _File:
    def __init__(self, data: bytes) -> None:
        if not data.startswith(_MAGIC) or len(data) < _HEADER:
            raise FileError("not an SQLite database")
        size = unpack_from(">H", data, 16)[0]
        self.size = 65536 if size == 1 else size
        self.usable = self.size - data[20]
        if self.size < 512 or self.size & (self.size - 1) or self.usable < 480:
            raise FileError(f"an SQLite database with pages of {self.size} bytes")
        if unpack_from(">I", data, 56)[0] != _UTF8:
            raise FileError("an SQLite database whose texts are not UTF-8")
        self.data = data
        self.seen: set[int] = set()
        # Cells of one page can all point at the same bytes.
        self.left = len(data)

    def rows(self, root: int) -> Iterator[bytes]:
        """The record of each row of the table whose tree begins at page `root`."""
        waiting = [(root, 0)]
        while waiting:
            number, depth = waiting.pop()
            if depth > _MAX_DEPTH:
                raise FileError("a tree of the SQLite database is too deep")
            start, first = self._page(number), _HEADER if number == 1 else 0
            kind, count = self.data[start + first], self._two(start + first + 3)
            pointers = start + first + (12 if kind == _INTERIOR else 8)
            if kind not in (_INTERIOR, _LEAF) or pointers + 2 * count > start + self.usable:
                raise FileError(f"page {number} of the SQLite database is damaged")
            cells = unpack_from(f">{count}H", self.data, pointers)
            if kind == _LEAF:
                for cell in cells:
                    yield self._payload(start, cell)
                continue
            below = [self._four(self._inside(start, cell, 4)) for cell in cells]
            below.append(self._four(start + first + 8))
            waiting += [(page, depth + 1) for page in reversed(below)]

    def _page(self, number: int) -> int:
        """The place of a page that no one has visited. Its bytes are all there."""
        start = (number - 1) * self.size
        if number < 1 or start + self.size > len(self.data):
            raise FileError(f"the SQLite database has no page {number}: it is cut off")
        if number in self.seen:
            raise FileError(f"page {number} of the SQLite database is used twice")
        self.seen.add(number)
        return start

    def _payload(self, page: int, cell: int) -> bytes:
        position = self._inside(page, cell, 1)
        end = page + self.usable
        length, position = _varint(self.data, position, end)
        _, position = _varint(self.data, position, end)
        here = self._local(length)
        if position + here + (4 if here < length else 0) > end:
            raise FileError("a row of the SQLite database is outside its page")
        self.left -= length
        if self.left < 0:
            raise FileError("rows of the SQLite database have more bytes than the file")
        if here == length:
            return self.data[position : position + here]
        parts = [self.data[position : position + here]]
        following, missing = self._four(position + here), length - here
        while missing:
            start = self._page(following)
            part = self.data[start + 4 : start + 4 + min(missing, self.usable - 4)]
            parts.append(part)
            missing -= len(part)
            following = self._four(start)
        return b"".join(parts)

    def _local(self, length: int) -> int:
        """How much of a row of `length` bytes is in its leaf; the rest is in other pages."""
        if length <= self.usable - 35:
            return length
        least = (self.usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (self.usable - 4)
        return local if local <= self.usable - 35 else least

    def _inside(self, page: int, offset: int, size: int) -> int:
        if offset + size > self.usable:
            raise FileError("a row of the SQLite database is outside its page")
        return page + offset

    def _two(self, position: int) -> int:
        return int.from_bytes(self.data[position : position + 2], "big")

    def _four(self, position: int) -> int:
        return int.from_bytes(self.data[position : position + 4], "big")


def _record(payload: bytes) -> list[bytes | int | None]:
    """The values of a row: texts and blobs as bytes; numbers that are no integers as None."""
    header, position = _varint(payload, 0, len(payload))
    if header > len(payload):
        raise FileError("a row of the SQLite database is damaged")
    values: list[bytes | int | None] = []
    at = header
    while position < header:
        kind, position = _varint(payload, position, header)
        size = (kind - 12) // 2 if kind >= 12 else _INTEGERS.get(kind, 8 if kind == 7 else 0)
        value = payload[at : at + size]
        if len(value) != size:
            raise FileError("a row of the SQLite database is damaged")
        at += size
        if kind >= 12:
            values.append(value)
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            values.append(int.from_bytes(value, "big", signed=True) if kind in _INTEGERS else None)
    return values


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A number of one to nine bytes, and the place behind it."""
    value = 0
    for count in range(9):
        if position >= end:
            break
        byte = data[position]
        position += 1
        if count == 8:
            return value << 8 | byte, position
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position
    raise FileError("a number of the SQLite database is cut off")
