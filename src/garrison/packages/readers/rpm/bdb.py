"""The values of a Berkeley DB hash, as rpm wrote them before 4.16.

Source: Berkeley DB 5.3, src/dbinc/db_page.h: `DBMETA`, `PAGE`, `HOFFPAGE`. The byte order is that
of the machine that made the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from

from garrison.images import FileError

_MAGIC = 0x061561
_MAGICS = {0x053162: "a B-tree", 0x042253: "a queue", 0x074582: "a heap"}
_VERSIONS = range(7, 11)
_HEADER = 26
_META = 72
_OVERFLOW, _HASH_META, _HASH_UNSORTED, _HASH = 7, 8, 2, 13
_KEYDATA, _OFFPAGE = 1, 3
_CHECKSUM = 1


def blobs(data: bytes) -> Iterator[bytes]:
    """The value of each record but that of key 0, which counts packages. Raises FileError."""
    file = _File(data)
    for key, value in file.records():
        if key.strip(b"\0"):
            yield value


class _File:
    def __init__(self, data: bytes) -> None:
        if len(data) < _META:
            raise FileError("not a Berkeley DB, or cut off")
        little = int.from_bytes(data[12:16], "little")
        self.order = "<" if little in (_MAGIC, *_MAGICS) else ">"
        magic, version, self.size = unpack_from(f"{self.order}III", data, 12)
        if magic != _MAGIC:
            kind = _MAGICS.get(magic)
            raise FileError(f"not a Berkeley DB hash but {kind}" if kind else "not a Berkeley DB")
        if version not in _VERSIONS:
            raise FileError(f"a Berkeley DB hash of version {version}")
        if not 512 <= self.size <= 65536 or self.size & (self.size - 1):
            raise FileError(f"a Berkeley DB with pages of {self.size} bytes")
        if data[24] or data[26] & _CHECKSUM or data[25] != _HASH_META:
            raise FileError("a Berkeley DB that is encrypted, has checksums or is damaged")
        self.last = unpack_from(f"{self.order}I", data, 32)[0]
        if (self.last + 1) * self.size > len(data):
            raise FileError("the Berkeley DB is cut off")
        self.data = data
        self.seen: set[int] = set()

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each record, page by page."""
        for number in range(1, self.last + 1):
            start = number * self.size
            if self.data[start + 25] in (_HASH, _HASH_UNSORTED):
                yield from self._page(number, start)

    def _page(self, number: int, start: int) -> Iterator[tuple[bytes, bytes]]:
        count = self._two(start + 20)
        if count % 2 or _HEADER + 2 * count > self.size:
            raise FileError(f"page {number} of the Berkeley DB is damaged")
        offsets = unpack_from(f"{self.order}{count}H", self.data, start + _HEADER)
        # Items grow from the page's end towards its index.
        ends = (self.size, *offsets)[:count]
        items = []
        for offset, end in zip(offsets, ends, strict=True):
            if not _HEADER + 2 * count <= offset < end:
                raise FileError(f"page {number} of the Berkeley DB is damaged")
            items.append(self._item(number, self.data[start + offset : start + end]))
        yield from zip(items[::2], items[1::2], strict=True)

    def _item(self, number: int, item: bytes) -> bytes:
        if item[0] == _KEYDATA:
            return item[1:]
        if item[0] != _OFFPAGE or len(item) < 12:
            raise FileError(f"page {number} of the Berkeley DB has an item of another kind")
        page, length = unpack_from(f"{self.order}II", item, 4)
        return self._chain(page, length)

    def _chain(self, number: int, length: int) -> bytes:
        parts: list[bytes] = []
        missing = length
        while missing:
            start = number * self.size
            if not 0 < number <= self.last or number in self.seen:
                raise FileError("a value of the Berkeley DB is cut off or goes round in circles")
            self.seen.add(number)
            size = self._two(start + 22)
            if self.data[start + 25] != _OVERFLOW or not 0 < size <= min(
                missing, self.size - _HEADER
            ):
                raise FileError(f"page {number} of the Berkeley DB is damaged")
            parts.append(self.data[start + _HEADER : start + _HEADER + size])
            missing -= size
            number = unpack_from(f"{self.order}I", self.data, start + 16)[0]
        return b"".join(parts)

    def _two(self, position: int) -> int:
        number: int = unpack_from(f"{self.order}H", self.data, position)[0]
        return number
