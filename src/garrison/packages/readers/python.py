"""Python distributions: `METADATA` of a dist-info, `PKG-INFO` or the file of an egg-info, eggs.

Source: packaging.python.org, "Core metadata specifications", "Recording installed projects";
setuptools' docs/deprecated/python_eggs.rst, "Egg Links" and "Zip Support Metadata".
"""

from __future__ import annotations

import re

from garrison.images import FileError
from garrison.packages.package import Position
from garrison.packages.readers.archive import Archive, Pieces
from garrison.packages.readers.facts import EggLink, Named, checked

_FIELD = re.compile(rb"^(Name|Version)[ \t]*:[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
_ZIP = b"PK\3\4"
_EGG_METADATA = b"EGG-INFO/PKG-INFO"
MAX_METADATA = 1 << 20
"""Bytes that are read of metadata in an egg: names come first, a description may be long."""
_ROOTS = frozenset({"site-packages", "dist-packages"})


def read_metadata(data: bytes) -> Named:
    """Name and version as written. Raises FileError: it has not both."""
    end = _END.search(data)
    fields: dict[bytes, str] = {}
    for key, value in _FIELD.findall(data, 0, end.start() if end else len(data)):
        fields.setdefault(key.lower(), value.decode("utf-8", "replace"))
    if not fields:
        raise FileError("no Python metadata: it has neither name nor version")
    name = checked(fields.get(b"name", ""), "name")
    return Named(name, checked(fields.get(b"version", ""), f"version of {name}"))


def read_egg(data: bytes) -> Named | None:
    """The package of a zipped egg; None for a file that only ends so. Raises FileError."""
    if not data.startswith(_ZIP):
        return None
    archive = Archive(Pieces.whole(data))
    members = archive.members(lambda name: name == _EGG_METADATA)
    if not members:
        raise FileError("an egg without EGG-INFO/PKG-INFO")
    return read_metadata(archive.read(members[0], MAX_METADATA, cut=True))


def read_egg_link(data: bytes) -> EggLink | None:
    """Where `setup.py develop` and older `pip install -e` found the package."""
    folder = data[:MAX_METADATA].decode("utf-8", "replace").partition("\n")[0].strip()
    return EggLink(folder) if folder.startswith("/") else None


def home(path: str) -> str:
    """The folder that has to be searched for the metadata at `path` to be found."""
    parts = path.split("/")[:-1]
    if parts and parts[-1].endswith((".dist-info", ".egg-info")):
        parts.pop()
    return "/".join(parts)


def position(path: str) -> Position:
    """Whether the metadata at `path` is where pip installs, in a package, or anywhere else."""
    parts = path.split("/")[:-1]
    if parts and parts[-1].endswith((".dist-info", ".egg-info")):
        parts.pop()
    elif len(parts) > 1 and parts[-1] == "EGG-INFO":
        del parts[-2:]
    root = next((number for number, part in enumerate(parts) if part in _ROOTS), None)
    if root is None:
        return "loose"
    return "installed" if root == len(parts) - 1 else "vendored"
