"""Headers and databases of rpm: real ones, and headers made here to be broken."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import pack

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
