"""Modules of a Go program: what `go version -m` shows.

Since Go 1.18 the toolchain's version and the list of modules follow the marker. Before, two
pointers do, to strings whose text is in read-only data, which comes earlier in the file: so places
that may be meant are remembered as they pass.

Source: go.dev/src/debug/buildinfo, runtime/debug/mod.go, cmd/go/internal/modload/build.go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from garrison.images import FileError
from garrison.packages.readers.facts import Component, checked

if TYPE_CHECKING:
    from garrison.packages.readers.executable import Layout

MARKER = b"\xff Go buildinf:"
_ALIGN = 16
_HEADER = 32
_POINTER_SIZES = (4, 8)
MAX_BUILD_INFO = 4 << 20
"""Bytes of the list; Kubernetes' has 20,000."""
MAX_MODULES = 20_000
MAX_VERSION = 256
_MODULES_BEGIN = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
_MODULES_END = bytes.fromhex("f932433186182072008242104116d8f2")
_TEXTS = 64 << 10
"""Bytes of constants that every Go program has."""
_VERSION_BEGINS = (b"go1.", b"devel ")
MAX_CANDIDATES = 4096
"""Texts in a program that begin as a Go version does; Go itself has some hundreds."""
_SIGNS = (b'Go build ID: "', b"\0\0\0Go\0\0", b"\0\0\x04Go\0\0")
"""At the beginning of code, and in ELF's notes, in either byte order."""

_LINKER_VERSION = re.compile(
    r"-X[ =]['\"]?[\w./@-]*version="
    r"v?(\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?)['\"]?(?=\s|$)",
    re.IGNORECASE | re.ASCII,
)


def looks_old(head: bytes) -> bool:
    """Whether a program shows in its first bytes that Go made it."""
    return b"Go" in head and any(sign in head for sign in _SIGNS)


class Search:
    """Finds the build information in a program that flows by.

    marked: its first bytes show that Go made it, so that old forms are looked for too.
    """

    def __init__(self, layout: Layout, marked: bool) -> None:
        self._layout = layout
        self._writable = sorted((s.start, s.end) for s in layout.segments if s.writable)
        data_at = min((s.start for s in layout.segments if s.writable), default=0)
        constant = [s for s in layout.segments if not s.writable and s.start < data_at]
        # Texts are in a segment of their own, but in Mach-O and where a C linker did the work.
        texts = [s for s in constant if not s.executable and s.size > _TEXTS]
        self._read_only = sorted((s.start, s.end) for s in texts or constant)
        self._old = marked
        self._edge = b""
        self._edge_at = -1
        self._found_at = -1
        self._info = bytearray()
        self._done: tuple[str, bytes] | None = None
        self._versions: dict[int, bytearray] = {}
        self._modules: dict[int, bytearray] = {}
        self._pointers: tuple[tuple[int, bytearray], ...] = ()
        self._size = 8
        self._open: list[tuple[int, bytearray, int]] = []

    def feed(self, data: bytearray, start: int, end: int, position: int) -> None:
        """`data[start:end]` stands at `position` of the file."""
        if self._done is not None:
            return
        for place, kept, size in self._open:
            _extend(kept, place, size, data, start, end, position)
        self._open = [item for item in self._open if len(item[1]) < item[2]]
        if self._found_at >= 0:
            self._collect(data, start, end, position)
            return
        if self._old:
            for low, high in _within(self._read_only, position, end - start):
                self._remember(data, start + low, start + high, position - start)
        for low, high in _within(self._writable, position, end - start):
            self._look(data, start + low, start + high, position - start)
            if self._found_at >= 0:
                self._collect(data, start, end, position)
                return

    def result(self) -> list[Component]:
        """The modules; none where nothing of Go's was found. Raises FileError."""
        if self._found_at < 0:
            return []
        if self._done is None and self._pointers:
            self._done = self._by_pointers()
        if self._done is None:
            raise FileError("its Go build information is cut short")
        version, modules = self._done
        return components(version, modules)

    def _look(self, data: bytearray, low: int, high: int, shift: int) -> None:
        """Search `data[low:high]`, and where the last piece met it, for the marker."""
        if self._edge and self._edge_at + len(self._edge) == low + shift:
            joined = self._edge + data[low : low + len(MARKER) - 1]
            at = joined.find(MARKER)
            if at >= 0 and (self._edge_at + at) % _ALIGN == 0:
                self._found_at = self._edge_at + at
                self._info += self._edge[at:]
                return
        at = data.find(MARKER, low, high)
        while at >= 0:
            if (at + shift) % _ALIGN == 0:
                self._found_at = at + shift
                return
            at = data.find(MARKER, at + 1, high)
        keep = max(low, high - len(MARKER) + 1)
        self._edge, self._edge_at = bytes(data[keep:high]), keep + shift

    def _collect(self, data: bytearray, start: int, end: int, position: int) -> None:
        if self._pointers:
            return
        before = len(self._info)
        _extend(self._info, self._found_at, MAX_BUILD_INFO, data, start, end, position)
        if len(self._info) < _HEADER or len(self._info) == before:
            return
        if self._info[15] & 2:
            self._done = _inline(self._info)
            if self._done is None and len(self._info) >= MAX_BUILD_INFO:
                raise FileError(f"its Go build information has more than {MAX_BUILD_INFO} bytes")
            return
        self._follow(data, start, end, position)

    def _follow(self, data: bytearray, start: int, end: int, position: int) -> None:
        """Wait for the two strings that the pointers behind the marker mean."""
        size = self._size = self._info[14]
        if size not in _POINTER_SIZES:
            raise FileError("its Go build information has pointers of an unknown size")
        pointers = []
        for number in range(2):
            address = self._number(self._info[16 + number * size : 16 + (number + 1) * size])
            place = self._layout.place(address)
            kept = bytearray()
            if place is not None:
                _extend(kept, place, 2 * size, data, start, end, position)
                self._open.append((place, kept, 2 * size))
            pointers.append((address, kept))
        self._pointers = tuple(pointers)

    def _remember(self, data: bytearray, low: int, high: int, shift: int) -> None:
        """Note texts that may be a version or the list of modules."""
        for sign in _VERSION_BEGINS:
            at = data.find(sign, low, high)
            while at >= 0 and len(self._versions) < MAX_CANDIDATES:
                kept = bytearray(data[at : min(high, at + MAX_VERSION)])
                self._versions[at + shift] = kept
                if len(kept) < MAX_VERSION:
                    self._open.append((at + shift, kept, MAX_VERSION))
                at = data.find(sign, at + 1, high)
        at = data.find(_MODULES_BEGIN, low, high)
        while at >= 0 and len(self._modules) < 8:
            end = data.find(_MODULES_END, at, high)
            kept = bytearray(data[at : high if end < 0 else end + len(_MODULES_END)])
            self._modules[at + shift] = kept
            if end < 0:
                self._open.append((at + shift, kept, MAX_BUILD_INFO))
            at = data.find(_MODULES_BEGIN, at + 1, high)

    def _by_pointers(self) -> tuple[str, bytes]:
        texts = []
        for number, (address, kept) in enumerate(self._pointers):
            if not address:
                texts.append(b"")
                continue
            if len(kept) < 2 * self._size:
                raise FileError("its Go build information points outside of its data")
            length = self._number(kept[self._size :])
            place = self._layout.place(self._number(kept[: self._size]))
            known = self._modules if number else self._versions
            text = known.get(place) if place is not None else None
            if not length:
                texts.append(b"")
            elif text is None or len(text) < length or length > MAX_BUILD_INFO:
                raise FileError("it was built by Go 1.17 or older and its modules were not found")
            else:
                texts.append(bytes(text[:length]))
        version, modules = texts
        return version.decode("utf-8", "replace"), _stripped(modules)

    def _number(self, data: bytes | bytearray) -> int:
        return int.from_bytes(data, "big" if self._info[15] & 1 else "little")


def _inline(info: bytearray) -> tuple[str, bytes] | None:
    """Version and modules that follow the marker; None: not all there yet."""
    version = _string(info, _HEADER)
    if version is None:
        return None
    modules = _string(info, version[1])
    if modules is None:
        return None
    return version[0].decode("utf-8", "replace"), _stripped(modules[0])


def _string(info: bytearray, at: int) -> tuple[bytes, int] | None:
    """A string behind its length, a varint, and where it ends."""
    length = shift = 0
    while True:
        if at >= len(info):
            return None
        byte = info[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 35:
            raise FileError("its Go build information has a broken length")
    if length > MAX_BUILD_INFO:
        raise FileError(f"its Go build information has {length} bytes")
    return (bytes(info[at : at + length]), at + length) if at + length <= len(info) else None


def _stripped(modules: bytes) -> bytes:
    """Without the two marks of 16 bytes around it; nothing where they are missing, as in Go."""
    if len(modules) < 33 or modules[-17:-16] != b"\n":
        return b""
    return modules[16:-16]


def components(version: str, modules: bytes) -> list[Component]:
    """The standard library, the main module and its dependencies. Raises FileError."""
    found = []
    if toolchain := toolchain_version(version):
        found.append(Component("golang", "", "stdlib", toolchain))
    lines = modules.decode("utf-8", "replace").split("\n")
    main: tuple[str, str] | None = None
    flags = ""
    last: tuple[str, str] | None = None
    for line in lines:
        kind, *fields = line.split("\t")
        if kind not in ("mod", "dep", "=>", "build"):
            continue
        if len(found) > MAX_MODULES:
            raise FileError(f"its list of Go modules has more than {MAX_MODULES} entries")
        if kind == "build":
            if fields and fields[0].startswith("-ldflags="):
                flags = fields[0]
            continue
        if len(fields) < 2 or not fields[0]:
            raise FileError("its list of Go modules has a line without path and version")
        if kind == "=>":
            if last is None:
                raise FileError("its list of Go modules replaces nothing")
            last = _replaced(last, fields[0], fields[1])
            continue
        if last is not None:
            found.append(module(*last))
            last = None
        if kind == "mod":
            main = (fields[0], fields[1])
        else:
            last = (fields[0], fields[1])
    if last is not None:
        found.append(module(*last))
    if main is not None and main[0] != "command-line-arguments":
        path, given = main
        if given in ("", "(devel)"):
            given = linked_version(flags)
        found.append(module(path, given))
    return found


def _replaced(module: tuple[str, str], path: str, version: str) -> tuple[str, str]:
    """A folder in the place of a module has no version; another module has its own."""
    if path.startswith((".", "/")) or path[1:3] in (":\\", ":/"):
        return (module[0], "")
    return (path, version)


def module(path: str, version: str) -> Component:
    """A module by its path; `(devel)` is no version. Raises FileError."""
    path = checked(path, "Go module")
    if version == "(devel)":
        version = ""
    if version:
        version = checked(version, f"version of {path}")
    namespace, _, name = path.rpartition("/")
    return Component("golang", namespace, name, version)


def toolchain_version(text: str) -> str:
    """`1.22.1` of `go1.22.1 X:boringcrypto`; a build between releases gives its whole text."""
    text = text.strip()
    if not text:
        return ""
    first = text.split(" ", 1)[0]
    if first.startswith("go1"):
        return checked(first[2:], "Go version")
    return checked(text, "Go version")


def linked_version(flags: str) -> str:
    """The version that a build wrote into a variable, `-X main.version=1.2.3`.

    Only where all such variables agree; with `v`, as Go's versions have it.
    """
    found = set(_LINKER_VERSION.findall(flags))
    return f"v{found.pop()}" if len(found) == 1 else ""


def _within(ranges: list[tuple[int, int]], position: int, count: int) -> list[tuple[int, int]]:
    """What of the `count` bytes at `position` is in `ranges`, counted from `position`."""
    return [
        (max(low, position) - position, min(high, position + count) - position)
        for low, high in ranges
        if low < position + count and high > position
    ]


def _extend(
    kept: bytearray,
    place: int,
    size: int,
    data: bytearray,
    start: int,
    end: int,
    position: int,
) -> None:
    """Append to `kept`, which begins at `place` of the file and gets `size` bytes at most."""
    next_place = place + len(kept)
    low, high = max(next_place, position), min(place + size, position + end - start)
    if low == next_place and low < high:
        kept += memoryview(data)[start + low - position : start + high - position]
