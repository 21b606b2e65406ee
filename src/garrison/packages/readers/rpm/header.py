"""The header of an installed rpm package: an index of tags, and their data behind it.

Source: rpm's docs/manual/format_header.md and tags.md. A header in a database lacks the magic
that one in a package file begins with. All numbers are big endian.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct, error, unpack_from

from garrison.images import FileError
from garrison.packages.readers.facts import DistributionPackage, checked
from garrison.packages.readers.owned import joined, of_interest

MAX_TAGS = 65_535
MAX_FILES = 2_000_000
"""Files of one package, as rpm itself limits it by its header's size."""

_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH = 1000, 1001, 1002, 1003, 1022
_OLD_FILES, _FILE_STATES, _SOURCE, _MODULARITY = 1027, 1029, 1044, 5096
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1116, 1117, 1118
_TAGS = frozenset(
    {
        *(_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _OLD_FILES, _FILE_STATES),
        *(_SOURCE, _MODULARITY, _DIR_INDEXES, _BASE_NAMES, _DIR_NAMES),
    }
)
_CHARS, _INT32, _STRING, _STRINGS, _TRANSLATED = frozenset({1, 2}), 4, 6, 8, 9
_START = Struct(">II")
_ENTRY = Struct(">IIII")
_NORMAL = 0
_KEYS = "gpg-pubkey"


@dataclass(frozen=True, slots=True)
class Header:
    """owned: files of interest of this package that are on the disk, without leading slash."""

    package: DistributionPackage
    owned: tuple[str, ...]


def read_header(blob: bytes) -> Header | None:
    """What a header blob says; None for keys that rpm keeps among the packages.

    Raises:
        FileError: not a header, or damaged.
    """
    tags = _Tags(blob)
    name = checked(tags.text(_NAME), "package name")
    if name == _KEYS:
        return None
    version = checked(tags.text(_VERSION), f"version of {name}")
    release = checked(tags.text(_RELEASE), f"release of {name}")
    epochs = tags.numbers(_EPOCH)
    epoch = f"{epochs[0]}:" if epochs and epochs[0] else ""
    source, source_version = _source(tags.text(_SOURCE), name, f"{version}-{release}")
    package = DistributionPackage(
        name,
        f"{epoch}{version}-{release}",
        tags.text(_ARCH)[:32],
        source,
        # A source package has its own epoch, which is that of nearly all it builds.
        f"{epoch}{source_version}",
        _modularity(tags, name),
    )
    return Header(package, tuple(_owned(tags)))


def _modularity(tags: _Tags, name: str) -> str:
    label = tags.text(_MODULARITY)
    return checked(label, f"module of {name}") if label else ""


def _source(file: str, name: str, version: str) -> tuple[str, str]:
    """Name and version of the source package, from `NAME-VERSION-RELEASE.src.rpm`."""
    stem = file.removesuffix(".rpm").rpartition(".")[0]
    parts = stem.rsplit("-", 2)
    if len(parts) != 3 or not all(parts):
        return name, version
    return checked(parts[0], f"source of {name}"), checked("-".join(parts[1:]), "source version")


def _owned(tags: _Tags) -> Iterator[str]:
    states = tags.chars(_FILE_STATES)
    yield from of_interest(
        path.lstrip("/")
        for number, path in enumerate(_paths(tags))
        # Other states are of files that were left out: documentation, other languages.
        if number >= len(states) or states[number] == _NORMAL
    )


def _paths(tags: _Tags) -> Iterator[str]:
    folders = tags.texts(_DIR_NAMES)
    indexes = tags.numbers(_DIR_INDEXES)
    names = tags.texts(_BASE_NAMES)
    if len(indexes) != len(names):
        raise FileError("an rpm header has not as many folders as files")
    if any(index >= len(folders) for index in indexes):
        raise FileError("an rpm header names a folder that it does not have")
    parts = ((folders[index], name) for index, name in zip(indexes, names, strict=True))
    yield from joined(parts, len(tags.blob))
    if not names:
        yield from tags.texts(_OLD_FILES)


class _Tags:
    """The tags of interest of one header, each read when asked for."""

    def __init__(self, blob: bytes) -> None:
        try:
            count, size = _START.unpack_from(blob)
        except error:
            raise FileError("an rpm header is cut off") from None
        self.data = _START.size + count * _ENTRY.size
        self.end = self.data + size
        if not 0 < count <= MAX_TAGS or self.end > len(blob):
            raise FileError("an rpm header is cut off or is none")
        self.blob = blob
        self.index: Mapping[int, tuple[int, int, int]] = {
            tag: (kind, offset, count)
            for tag, kind, offset, count in _ENTRY.iter_unpack(blob[_START.size : self.data])
            if tag in _TAGS
        }

    def text(self, tag: int) -> str:
        """The text of a tag; empty where the header has none."""
        found = self.index.get(tag)
        if found is None:
            return ""
        kind, offset, count = found
        if kind not in (_STRING, _TRANSLATED) or not count:
            raise FileError(f"tag {tag} of an rpm header is no text")
        return self._strings(tag, offset, 1)[0]

    def texts(self, tag: int) -> list[str]:
        """The texts of a tag."""
        found = self.index.get(tag)
        if found is None:
            return []
        kind, offset, count = found
        # rpm 3 wrote a package's only file as a plain text.
        if kind not in (_STRING, _STRINGS, _TRANSLATED) or count > MAX_FILES:
            raise FileError(f"tag {tag} of an rpm header is no list of texts")
        return self._strings(tag, offset, count)

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The numbers of a tag."""
        found = self.index.get(tag)
        if found is None:
            return ()
        kind, offset, count = found
        if kind != _INT32 or self.data + offset + 4 * count > self.end:
            raise FileError(f"tag {tag} of an rpm header is no list of numbers")
        return unpack_from(f">{count}I", self.blob, self.data + offset)

    def chars(self, tag: int) -> bytes:
        """The bytes of a tag."""
        found = self.index.get(tag)
        if found is None:
            return b""
        kind, offset, count = found
        start = self.data + offset
        if kind not in _CHARS or start + count > self.end:
            raise FileError(f"tag {tag} of an rpm header is no list of bytes")
        return self.blob[start : start + count]

    def _strings(self, tag: int, offset: int, count: int) -> list[str]:
        start = self.data + offset
        # Each text has its end mark, so `count` of them need as many bytes.
        if start + count > self.end:
            raise FileError(f"tag {tag} of an rpm header is outside of it")
        if count == 1:
            end = self.blob.find(b"\0", start, self.end)
            parts = [self.blob[start:end], b""] if end >= 0 else []
        else:
            parts = self.blob[start : self.end].split(b"\0", count)
        if len(parts) != count + 1:
            raise FileError(f"tag {tag} of an rpm header has no end")
        return [part.decode("utf-8", "replace") for part in parts[:count]]
