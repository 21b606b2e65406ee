"""Executables as they flow by: what Go and Rust leave in ELF, PE and Mach-O files.

Nothing is read but the headers, the segments where such things can be, and ELF's table of
sections, which comes last: only then it is known where Rust's list was. What may hold it is kept
for that, in bounds; a list that lay elsewhere is read in a second pass.

Source: System V ABI, chapters 4 and 5; Microsoft PE format; Apple mach-o/loader.h;
github.com/rust-secure-code/cargo-auditable, PARSING.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from garrison.images import Again, FileError
from garrison.packages.readers import golang, rust
from garrison.packages.readers.facts import Component, Contents

_ELF = b"\x7fELF"
MAGICS = frozenset(
    (
        _ELF,
        *(b"MZ" + bytes((low, high)) for low in (0x90, 0x78, 0x00, 0x50) for high in (0,)),
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
    )
)
"""First four bytes; of PE files the bytes of their last page's length are the usual ones."""
SMALLEST = 16 << 10
"""Bytes; programs of Go have a million, of Rust a hundred thousand."""

MAX_HEAD = 64 << 10
"""Bytes in which all headers but ELF's sections are."""
ELF_HEAD = 8 << 10
"""The same of ELF, by far the most frequent: they and Go's note are in the first page."""
MAX_READ_ONLY = 16 << 20
MAX_NOT_LOADED = 4 << 20
"""Bytes kept behind what is loaded: there the list is since cargo-auditable 0.6."""
MAX_SECTIONS = 4096
MAX_SEGMENTS = 128
"""Real programs have a dozen, PE files of MinGW thirty."""
_SECTION_NAME = b".dep-v0\0"
_PF_X, _PF_W = 1, 2
_NOBITS = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the file that is loaded at `address`."""

    start: int
    size: int
    address: int
    writable: bool = False
    executable: bool = False

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Table:
    """ELF's table of sections: where it is, and the size of its entries."""

    start: int
    count: int
    entry: int

    @property
    def end(self) -> int:
        return self.start + self.count * self.entry


@dataclass(frozen=True, slots=True)
class Layout:
    """The headers of an executable. rust: where its list is, if they say so."""

    segments: tuple[Segment, ...]
    big_endian: bool = False
    wide: bool = True
    table: Table | None = None
    rust: tuple[int, int] | None = None

    def place(self, address: int) -> int | None:
        """The position in the file of what is loaded at `address`."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.size:
                return segment.start + address - segment.address
        return None


class Keeper:
    """Keeps the bytes `[start, end)` of a file that flows by."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        self.data = bytearray()

    @property
    def complete(self) -> bool:
        return len(self.data) == self.end - self.start

    def feed(self, data: bytearray, start: int, end: int, position: int) -> None:
        """`data[start:end]` stands at `position` of the file."""
        low = max(self.start + len(self.data), position)
        high = min(self.end, position + end - start)
        if low < high and low == self.start + len(self.data):
            self.data += memoryview(data)[start + low - position : start + high - position]

    def get(self, start: int, size: int) -> bytes | None:
        """`size` bytes at position `start` of the file, if they were kept."""
        at = start - self.start
        if at < 0 or size < 0 or at + size > len(self.data):
            return None
        return bytes(self.data[at : at + size])


class ExecutableSieve:
    """Finds the packages that a program was made of."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0
        self._head: bytearray | None = bytearray()
        self._head_size = min(MAX_HEAD, size)
        self._layout: Layout | None = None
        self._go: golang.Search | None = None
        self._kept: list[Keeper] = []
        self._rust: Keeper | None = None
        self._table: Keeper | None = None
        self._name_from: int | None = None
        self._named = False
        self._tail = b""

    def feed(self, data: bytearray, start: int, end: int) -> None:
        if self._head is not None:
            if not self._head and data[start : start + 4] == _ELF:
                self._head_size = min(ELF_HEAD, self._size)
            taken = min(end - start, self._head_size - len(self._head))
            self._head += memoryview(data)[start : start + taken]
            if len(self._head) < self._head_size:
                return
            head, self._head = self._head, None
            self._begin(bytes(head))
            # The head is part of the first pieces; show it as one, then go on behind it.
            self._pass(head, 0, len(head))
            start += taken
        if self._layout is not None and start < end:
            self._pass(data, start, end)

    def facts(self) -> object | None:
        if self._head:
            head, self._head = self._head, None
            self._begin(bytes(head))
            self._pass(head, 0, len(head))
        packages: list[Component] = []
        if self._go is not None:
            packages += self._go.result()
        found = self._rust_list()
        if isinstance(found, Again):
            if not packages:
                return found
        elif found is not None:
            packages += rust.read_list(found)
        return Contents(tuple(dict.fromkeys(packages))) if packages else None

    def _begin(self, head: bytes) -> None:
        try:
            layout = parse(head, self._size)
        except (struct.error, IndexError, ValueError, OverflowError):
            layout = None  # a header that is none: data that only begins like a program
        if layout is None or len(layout.segments) > MAX_SEGMENTS:
            return
        self._layout = layout
        marked = golang.looks_old(head)
        self._go = golang.Search(layout, marked)
        if layout.rust is not None:
            where, size = layout.rust
            if size > rust.MAX_COMPRESSED:
                raise FileError(f"its list of crates has {size} bytes")
            self._rust = Keeper(where, where + size)
        if layout.table is not None and not marked:
            self._table = Keeper(layout.table.start, layout.table.end)
            room = MAX_READ_ONLY
            for segment in layout.segments:
                if not segment.writable and not segment.executable:
                    kept = min(segment.size, room)
                    room -= kept
                    self._kept.append(Keeper(segment.start, segment.start + kept))
            loaded = max((s.end for s in layout.segments), default=0)
            self._kept.append(Keeper(loaded, min(loaded + MAX_NOT_LOADED, self._size)))
            self._name_from = loaded

    def _pass(self, data: bytearray, start: int, end: int) -> None:
        position = self._position
        self._position += end - start
        if self._layout is None:
            return
        if self._go is not None:
            self._go.feed(data, start, end, position)
        for keeper in self._kept:
            keeper.feed(data, start, end, position)
        if self._rust is not None:
            self._rust.feed(data, start, end, position)
        if self._table is not None:
            self._table.feed(data, start, end, position)
        if self._name_from is not None and not self._named and self._position > self._name_from:
            low = start + max(0, self._name_from - position)
            edge = self._tail + data[low : low + len(_SECTION_NAME)]
            self._named = _SECTION_NAME in edge or data.find(_SECTION_NAME, low, end) >= 0
            self._tail = bytes(data[max(low, end - len(_SECTION_NAME) + 1) : end])

    def _rust_list(self) -> bytes | Again | None:
        """The compressed list of crates."""
        if self._rust is not None:
            return bytes(self._rust.data) if self._rust.complete else None
        if not self._named or self._table is None or self._layout is None:
            return None
        ranges = []
        for where, size in sections(self._layout, bytes(self._table.data)):
            if not 8 <= size <= rust.MAX_COMPRESSED or where + size > self._size:
                continue
            kept = next((k for keeper in self._kept if (k := keeper.get(where, size))), None)
            if kept is None:
                ranges.append((where, size))
            elif rust.is_list(kept):
                return kept
        if not ranges:
            return None
        again = tuple(ranges)
        return Again(
            "packages.read_once",
            "its list of crates is not where it could be kept, and its source flows only once",
            lambda: SectionSieve(again),
        )


class SectionSieve:
    """The second look: finds Rust's list among sections whose places are known."""

    def __init__(self, ranges: tuple[tuple[int, int], ...]) -> None:
        self._waiting = sorted(ranges, reverse=True)
        self._open: list[Keeper] = []
        self._position = 0
        self._found: bytes | None = None

    def feed(self, data: bytearray, start: int, end: int) -> None:
        position, self._position = self._position, self._position + end - start
        while self._waiting and self._waiting[-1][0] < self._position:
            where, size = self._waiting.pop()
            self._open.append(Keeper(where, where + size))
        for keeper in list(self._open):
            keeper.feed(data, start, end, position)
            if len(keeper.data) >= 2 and not rust.is_zlib(keeper.data):
                self._open.remove(keeper)
            elif keeper.complete:
                self._open.remove(keeper)
                if self._found is None and rust.is_list(bytes(keeper.data)):
                    self._found = bytes(keeper.data)

    def facts(self) -> object | None:
        if self._found is None:
            return None
        return Contents(tuple(dict.fromkeys(rust.read_list(self._found))))


def parse(head: bytes, size: int) -> Layout | None:
    """The layout of the executable that begins with `head`; None: none of a known form.

    Raises struct.error or IndexError: its headers are not in `head`.
    """
    if head[:4] == _ELF:
        return _elf(head, size)
    if head[:2] == b"MZ":
        return _pe(head, size)
    return _mach_o(head, size)


def _elf(head: bytes, size: int) -> Layout | None:
    wide, order = head[4] == 2, head[5]
    if head[4] not in (1, 2) or order not in (1, 2):
        return None
    mark = "<" if order == 1 else ">"
    if wide:
        phoff, shoff = struct.unpack_from(mark + "QQ", head, 32)
        _, phsize, phnum, shsize, shnum = struct.unpack_from(mark + "HHHHH", head, 52)
    else:
        phoff, shoff = struct.unpack_from(mark + "II", head, 28)
        _, phsize, phnum, shsize, shnum = struct.unpack_from(mark + "HHHHH", head, 40)
    segments = []
    for number in range(phnum):
        at = phoff + number * phsize
        if wide:
            kind, flags, where, address, _, length = struct.unpack_from(mark + "IIQQQQ", head, at)
        else:
            kind, where, address, _, length, _, flags = struct.unpack_from(mark + "7I", head, at)
        if kind == 1 and where < size:
            segments.append(
                Segment(
                    where,
                    min(length, size - where),
                    address,
                    writable=bool(flags & _PF_W),
                    executable=bool(flags & _PF_X),
                )
            )
    table = None
    if shoff and 0 < shnum <= MAX_SECTIONS and shsize >= (64 if wide else 40):
        table = Table(shoff, shnum, shsize)
        if table.end > size:
            table = None
    return Layout(tuple(segments), order == 2, wide, table)


def sections(layout: Layout, table: bytes) -> list[tuple[int, int]]:
    """Position and size of ELF's sections that have bytes in the file."""
    assert layout.table is not None
    mark = ">" if layout.big_endian else "<"
    found = []
    for at in range(0, len(table) - layout.table.entry + 1, layout.table.entry):
        if layout.wide:
            _, kind, _, _, where, size = struct.unpack_from(mark + "IIQQQQ", table, at)
        else:
            _, kind, _, _, where, size = struct.unpack_from(mark + "6I", table, at)
        if kind not in (0, _NOBITS):
            found.append((where, size))
    return found


def _pe(head: bytes, size: int) -> Layout | None:
    (at,) = struct.unpack_from("<I", head, 0x3C)
    if head[at : at + 4] != b"PE\0\0":
        return None
    (count,) = struct.unpack_from("<H", head, at + 6)
    (optional,) = struct.unpack_from("<H", head, at + 20)
    wide = struct.unpack_from("<H", head, at + 24)[0] == 0x20B
    base = struct.unpack_from("<Q", head, at + 48)[0] if wide else (
        struct.unpack_from("<I", head, at + 52)[0]
    )  # fmt: skip
    segments = []
    crates = None
    for number in range(count):
        entry = at + 24 + optional + 40 * number
        name = head[entry : entry + 8]
        virtual, address, raw, where = struct.unpack_from("<4I", head, entry + 8)
        (flags,) = struct.unpack_from("<I", head, entry + 36)
        if not raw or where >= size:
            continue
        length = min(raw, size - where)
        segments.append(
            Segment(
                where,
                length,
                base + address,
                writable=bool(flags & 0x80000000),
                executable=bool(flags & 0x20000000),
            )
        )
        if name == _SECTION_NAME:
            crates = (where, min(length, virtual or length))
    return Layout(tuple(segments), False, wide, None, crates)


_MACH_ORDERS = {
    b"\xfe\xed\xfa\xce": (">", False),
    b"\xfe\xed\xfa\xcf": (">", True),
    b"\xce\xfa\xed\xfe": ("<", False),
    b"\xcf\xfa\xed\xfe": ("<", True),
}


def _mach_o(head: bytes, size: int) -> Layout | None:
    if head[:4] not in _MACH_ORDERS:
        return None
    mark, wide = _MACH_ORDERS[head[:4]]
    (commands,) = struct.unpack_from(mark + "I", head, 16)
    at = 32 if wide else 28
    segments = []
    crates = None
    for _ in range(commands):
        command, length = struct.unpack_from(mark + "II", head, at)
        if length < 8:
            raise ValueError("a load command of no length")
        if command in (1, 0x19):
            form = mark + ("4Q4I" if command == 0x19 else "8I")
            address, _, where, in_file, _, rights, count, _ = struct.unpack_from(
                form, head, at + 24
            )
            if in_file and where < size:
                segments.append(
                    Segment(
                        where,
                        min(in_file, size - where),
                        address,
                        writable=bool(rights & 2),
                        executable=bool(rights & 4),
                    )
                )
            entry = at + (72 if command == 0x19 else 56)
            step = 80 if command == 0x19 else 68
            for number in range(min(count, MAX_SECTIONS)):
                here = entry + number * step
                if head[here : here + 16].rstrip(b"\0") == b".dep-v0":
                    if command == 0x19:
                        _, length64, offset = struct.unpack_from(mark + "QQI", head, here + 32)
                    else:
                        _, length64, offset = struct.unpack_from(mark + "III", head, here + 32)
                    crates = (offset, length64)
        at += length
    return Layout(tuple(segments), mark == ">", wide, None, crates)
