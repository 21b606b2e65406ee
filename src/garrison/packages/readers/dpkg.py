"""Debian packages: `status`, `status.d/*` of distroless images, `info/*.list`.

Source: deb-control(5), dpkg(1) "Package states"; Debian policy 5.
"""

from __future__ import annotations

import re

from garrison.images import FileError
from garrison.packages.readers.facts import Database, DistributionPackage, FileList, checked
from garrison.packages.readers.owned import of_interest

_FIELD = re.compile(
    rb"^(Package|Status|Architecture|Source|Version):[ \t]*(.*)$", re.MULTILINE | re.IGNORECASE
)
_STANZAS = re.compile(rb"\n[ \t\r]*\n")
_SOURCE = re.compile(r"([^\s()]+)\s*(?:\(([^()]*)\))?")
_ABSENT = frozenset({"not-installed", "config-files"})


def read_status(data: bytes) -> Database:
    """The packages of a dpkg database that are on the disk, however unfinished.

    Raises:
        FileError: not such a database, or damaged: a part of it would look like the whole.
    """
    if b"\0" in data:
        raise FileError("the dpkg database has NUL bytes")
    found = [_stanza(stanza) for stanza in _STANZAS.split(data) if stanza.strip()]
    return Database(tuple(package for package in found if package is not None))


def read_list(data: bytes) -> FileList:
    """The files of interest in an `info/NAME.list`."""
    paths = (_relative(line) for line in _text(data).split("\n"))
    return FileList(tuple(of_interest(paths)))


def read_md5sums(data: bytes) -> FileList:
    """The files of interest in a `NAME.md5sums`, which distroless images have instead."""
    # A digest, a space, a space or a star, the path.
    paths = (_relative(line[34:]) for line in _text(data).split("\n"))
    return FileList(tuple(of_interest(paths)))


def _stanza(stanza: bytes) -> DistributionPackage | None:
    fields: dict[bytes, str] = {}
    for key, value in _FIELD.findall(stanza):
        fields.setdefault(key.lower(), _text(value).strip())
    name = checked(fields.get(b"package", ""), "package name")
    # distroless writes no Status: what is there is installed.
    status = fields.get(b"status", "install ok installed").split()
    if len(status) != 3:
        raise FileError(f"package {name} has a broken status")
    if status[2] in _ABSENT:
        return None
    version = checked(fields.get(b"version", ""), f"version of {name}")
    source, source_version = name, version
    if given := fields.get(b"source"):
        match = _SOURCE.fullmatch(given)
        if match is None:
            raise FileError(f"package {name} has a broken source")
        source = checked(match[1], "source name")
        source_version = (match[2] or "").strip() or version
    return DistributionPackage(
        name,
        version,
        fields.get(b"architecture", "")[:32],
        source,
        checked(source_version, "source version"),
    )


def _relative(path: str) -> str:
    return path.removeprefix("./") if path.startswith("./") else path.lstrip("/").removeprefix("./")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
