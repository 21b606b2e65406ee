"""Headers and databases of rpm: real ones, and headers made here to be broken."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory

from garrison.packages.readers.facts import DistributionPackage

DATA = Path(__file__).resolve().parents[3] / "data" / "rpm"
FILES = ("rpmdb.sqlite", "Packages.db", "Packages")


@cache
def database(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


@dataclass(frozen=True, slots=True)
class Expected:
    """What `rpm -qa` said."""

    packages: tuple[DistributionPackage, ...]
    owned: dict[str, str]


@cache
def expected() -> Expected:
    packages, owned = [], {}
    for each in json.loads((DATA / "expected.json").read_text()):
        epoch = "" if each["epoch"] == "0" else f"{each['epoch']}:"
        name, version, release = each["source"].removesuffix(".src.rpm").rsplit("-", 2)
        packages.append(
            DistributionPackage(
                each["name"],
                epoch + each["version"],
                each["arch"],
                name,
                f"{epoch}{version}-{release}",
                each["module"],
            )
        )
        owned.update({path.lstrip("/"): each["name"] for path in each["owned"]})
    return Expected(tuple(packages), owned)


def header(tags: dict[int, str | list[str] | list[int] | bytes]) -> bytes:
    """A header blob with `tags`, as rpm writes it into a database."""
    index, data = b"", b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, str):
            kind, count, raw = 6, 1, value.encode() + b"\0"
        elif isinstance(value, bytes):
            kind, count, raw = 1, len(value), value
        elif value and isinstance(value[0], int):
            data += bytes(-len(data) % 4)
            kind, count, raw = 4, len(value), pack(f">{len(value)}I", *value)
        else:
            kind, count = 8, len(value)
            raw = b"".join(str(text).encode() + b"\0" for text in value)
        index += pack(">IIII", tag, kind, len(data), count)
        data += raw
    return pack(">II", len(tags), len(data)) + index + data


def sqlite_of(blobs: Sequence[bytes], page: int = 512) -> bytes:
    """An `rpmdb.sqlite` with these headers, by SQLite itself."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "x"
        connection = sqlite3.connect(file)
        connection.execute(f"PRAGMA page_size={page}")
        connection.execute("CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages(blob) VALUES (?)", [(b,) for b in blobs])
        connection.commit()
        connection.close()
        return file.read_bytes()


def ndb_of(blobs: Sequence[bytes]) -> bytes:
    """A `Packages.db` with these headers."""
    pages = (32 + 16 * len(blobs) + 4095) // 4096
    slots, data = b"", b""
    for number, blob in enumerate(blobs, 1):
        head = pack("<4sIII", b"BlbS", number, 1, len(blob)) + blob
        head += bytes(-(len(head) + 12) % 16)
        whole = head + pack("<II4s", zlib.adler32(head), len(blob), b"BlbE")
        slots += pack("<4sIII", b"Slot", number, pages * 256 + len(data) // 16, len(whole) // 16)
        data += whole
    start = pack("<4sIIII12x", b"RpmP", 0, 1, pages, len(blobs) + 1) + slots
    free = (pages * 4096 - len(start)) // 16
    return start + pack("<4sIII", b"Slot", 0, 0, 0) * free + data


def bdb_of(blobs: Sequence[bytes], page: int = 512, order: str = "<") -> bytes:
    """A `Packages` with these headers: a page of records each, values in chains behind it."""
    pages: list[bytes] = []
    for number, blob in enumerate(blobs, 1):
        chain = len(pages) + 2
        parts = [blob[at : at + page - 26] for at in range(0, len(blob), page - 26)]
        key = b"\1" + pack(f"{order}I", number)
        value = pack(f"{order}B3xII", 3, chain if parts else 0, len(blob))
        offsets = page - len(key), page - len(key) - len(value)
        head = bytes(20) + pack(f"{order}HHBB", 2, offsets[1], 0, 13) + pack(f"{order}HH", *offsets)
        pages.append(head + bytes(offsets[1] - len(head)) + value + key)
        for count, part in enumerate(parts, 1):
            following = chain + count if count < len(parts) else 0
            head = bytes(16) + pack(f"{order}IHHBB", following, 1, len(part), 0, 7)
            pages.append((head + part).ljust(page, b"\0"))
    meta = bytes(12) + pack(f"{order}III", 0x061561, 9, page) + bytes((0, 8, 0, 0))
    meta += bytes(4) + pack(f"{order}I", len(pages))
    return meta.ljust(page, b"\0") + b"".join(pages)
