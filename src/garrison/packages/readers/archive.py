"""Zip archives in memory, whole or in pieces, made by strangers: what is in them, in bounds.

Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3; `java.util.zip`, which believes the
central directory alone.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from garrison.images import FileError

MAX_MEMBERS = 200_000
"""Entries of one archive; the largest in Maven Central have 60,000."""
MAX_NAME = 4096

_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s6HIII5HII")
_LOCAL = struct.Struct("<4s5H3I2H")
_END_MARK, _END_64_MARK, _LOCATOR_MARK = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_ENTRY_MARK, LOCAL_MARK = b"PK\1\2", b"PK\3\4"
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1
_NOWHERE = 0xFFFFFFFF


class Pieces:
    """Those pieces of a file that were kept, by position."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._starts: list[int] = []
        self._pieces: list[bytes | memoryview] = []

    @classmethod
    def whole(cls, data: bytes | bytearray | memoryview) -> Pieces:
        """All of it."""
        pieces = cls(len(data))
        pieces.add(0, memoryview(data))
        return pieces

    def add(self, start: int, piece: bytes | memoryview) -> None:
        """Pieces come in the order of their positions, and may overlap."""
        self._starts.append(start)
        self._pieces.append(piece)

    def get(self, start: int, size: int) -> memoryview | None:
        """The bytes at `start`, if one piece has all of them."""
        if start < 0 or size < 0 or start + size > self.size:
            return None
        number = bisect_right(self._starts, start)
        for at in range(number - 1, max(-1, number - 4), -1):
            low = start - self._starts[at]
            if low + size <= len(self._pieces[at]):
                return memoryview(self._pieces[at])[low : low + size]
        return None


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. offset: of its local header in the file that is read."""

    name: str
    method: int
    encrypted: bool
    compressed: int
    size: int
    offset: int


class Archive:
    """The archive in `[start, end)` of `pieces`."""

    def __init__(self, pieces: Pieces, start: int = 0, end: int | None = None) -> None:
        self._pieces = pieces
        self._start = start
        self._end = pieces.size if end is None else end

    def members(self, wanted: Callable[[bytes], bool]) -> list[Member]:
        """The files in it with a wanted name, as its central directory has them.

        Raises FileError.
        """
        directory, count, base = self._directory()
        found = []
        at = 0
        data = bytes(directory)
        unpack, size_of = _ENTRY.unpack_from, _ENTRY.size
        last = len(data) - size_of
        for _ in range(count):
            if at > last:
                raise FileError("the archive's directory is cut short")
            (mark, _, _, flags, method, _, _, _, compressed, size, length, extra, comment, _, _, _,
             offset) = unpack(data, at)  # fmt: skip
            if mark != _ENTRY_MARK:
                raise FileError("the archive's directory is broken")
            name = data[at + size_of : at + size_of + length]
            if wanted(name) and len(name) <= MAX_NAME:
                if _NOWHERE in (compressed, size, offset):
                    begin = at + size_of + length
                    size, compressed, offset = _wide(
                        data[begin : begin + extra], size, compressed, offset
                    )
                found.append(
                    Member(
                        name.decode("utf-8", "replace"),
                        method,
                        bool(flags & _ENCRYPTED),
                        compressed,
                        size,
                        base + offset,
                    )
                )
            at += size_of + length + extra + comment
        return found

    def place(self, member: Member) -> tuple[int, int]:
        """Where the data of `member` begins and ends. Raises FileError."""
        head = self._pieces.get(member.offset, _LOCAL.size)
        if head is None:
            raise FileError("it lies outside of its archive")
        mark, *_, length, extra = _LOCAL.unpack(head)
        if mark != LOCAL_MARK:
            raise FileError("it is not where its archive says")
        begin = member.offset + _LOCAL.size + length + extra
        if begin + member.compressed > self._end:
            raise FileError("it reaches beyond its archive")
        return begin, begin + member.compressed

    def read(self, member: Member, limit: int, *, cut: bool = False) -> bytes:
        """The content of `member`; cut: no more of it than `limit`. Raises FileError."""
        if member.encrypted:
            raise FileError("it is encrypted")
        begin, end = self.place(member)
        if member.method == _STORED:
            if end - begin > limit and not cut:
                raise FileError(f"it has {end - begin} bytes; read are {limit}")
            data = self._pieces.get(begin, min(end - begin, limit))
            if data is None:
                raise FileError("its archive is too large to be kept")
            return bytes(data)
        if member.method != _DEFLATED:
            raise FileError(f"it is compressed by the unknown method {member.method}")
        data = self._pieces.get(begin, end - begin)
        if data is None:
            raise FileError("its archive is too large to be kept")
        inflate = zlib.decompressobj(-15)
        try:
            content = inflate.decompress(data, limit + 1)
        except zlib.error as error:
            raise FileError(f"it cannot be decompressed: {error}") from None
        if len(content) > limit:
            if not cut:
                raise FileError(f"it has more than {limit} bytes")
            return content[:limit]
        if not inflate.eof:
            raise FileError("it is cut short")
        return content

    def _directory(self) -> tuple[memoryview, int, int]:
        """The central directory, how many entries it has, and what its positions count from.

        Programs may stand before an archive, so positions count from where it really begins.
        """
        at, end = self._find_end()
        _, _, _, _, count, size, offset, _ = _END.unpack(end)
        last = at
        if _NOWHERE in (size, offset) or count == 0xFFFF:
            locator = self._pieces.get(at - _LOCATOR.size, _LOCATOR.size)
            if locator is not None and bytes(locator[:4]) == _LOCATOR_MARK:
                wide = self._pieces.get(at - _LOCATOR.size - _END_64.size, _END_64.size)
                if wide is None or bytes(wide[:4]) != _END_64_MARK:
                    raise FileError("the archive's end is broken")
                count, size, offset = _END_64.unpack(wide)[7:10]
                last = at - _LOCATOR.size - _END_64.size
        if count > MAX_MEMBERS:
            raise FileError(f"the archive has {count} entries; read are {MAX_MEMBERS}")
        begin = last - size
        if begin < self._start:
            raise FileError("the archive's directory is cut short")
        directory = self._pieces.get(begin, size)
        if directory is None:
            raise FileError("the archive's directory is too large to be kept")
        return directory, count, begin - offset

    def _find_end(self) -> tuple[int, bytes]:
        """Position and bytes of the record at the archive's end, before its comment."""
        room = min(self._end - self._start, 0xFFFF + _END.size)
        tail = None
        while tail is None and room >= _END.size:
            tail = self._pieces.get(self._end - room, room)
            # Of an archive in pieces less may be there.
            room = room if tail is not None else room // 2
        if tail is None:
            raise FileError("it is no archive")
        data = bytes(tail)
        at = data.rfind(_END_MARK, 0, len(data) - _END.size + 4)
        while at >= 0:
            comment = _END.unpack_from(data, at)[7]
            if at + _END.size + comment <= len(data):
                return self._end - room + at, data[at : at + _END.size]
            at = data.rfind(_END_MARK, 0, at)
        raise FileError("it is no archive")


def _wide(extra: bytes, size: int, compressed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset where one of them does not fit into 32 bits."""
    values = [size, compressed, offset]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            here, end = at + 4, min(len(extra), at + 4 + length)
            for number, value in enumerate(values):
                if value == _NOWHERE and here + 8 <= end:
                    (values[number],) = struct.unpack_from("<Q", extra, here)
                    here += 8
            break
        at += 4 + length
    return values[0], values[1], values[2]
