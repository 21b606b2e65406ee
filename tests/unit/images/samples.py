"""Tars, layouts and registries made by hand, for tests of images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field

from garrison.images.content import FileError, LayerContent, Sieve
from garrison.images.tar import ReadInto, walk


@dataclass
class Text:
    """Wants files by their last name and keeps their text."""

    names: tuple[str, ...] = ("keep", "package.json")
    suffixes: tuple[bytes, ...] = (b"keep", b"package.json")
    infix: bytes = b"/kept.d/"
    magics: frozenset[bytes] = frozenset()
    smallest: int = 0
    read_paths: list[str] = field(default_factory=list)

    def accepts(self, path: str) -> bool:
        return path.rpartition("/")[2] in self.names or "/kept.d/" in path

    def read(self, path: str, data: bytes) -> object | None:
        self.read_paths.append(path)
        if data == b"broken":
            raise FileError("it is broken")
        return data.decode(errors="replace") if data else None

    def sieve(self, path: str, size: int) -> Sieve | None:
        return None


def tar_of(
    entries: Iterable[tuple[str, bytes]],
    *,
    format: int = tarfile.PAX_FORMAT,
    folders: Iterable[str] = (),
    links: Iterable[tuple[str, str, bytes]] = (),
) -> bytes:
    """A tar of folders, then files, then links (`path, target, type`)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return out.getvalue()


def header(
    name: bytes = b"keep",
    size: bytes = b"00000000000\0",
    kind: bytes = b"0",
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
) -> bytes:
    """One tar header, its checksum right."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[124:136] = size.ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = magic.ljust(8, b"\0")
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def octal(size: int) -> bytes:
    return f"{size:011o}\0".encode()


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def reader(data: bytes, chunk: int = 1 << 20) -> ReadInto:
    """`data` in pieces of at most `chunk` bytes."""
    source = io.BytesIO(data)

    def readinto(buffer: memoryview) -> int:
        return source.readinto(buffer[:chunk])

    return readinto


def walked(data: bytes, chunk: int = 1 << 20) -> LayerContent:
    return walk(reader(data, chunk), Text())
