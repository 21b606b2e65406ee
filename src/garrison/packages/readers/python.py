"""Python distributions: `METADATA` of a dist-info, `PKG-INFO` or the file of an egg-info.

Source: packaging.python.org, "Core metadata specifications", "Recording installed projects".
"""

from __future__ import annotations

import re

from garrison.images import FileError
from garrison.packages.package import Position
from garrison.packages.readers.facts import Named, checked

_FIELD = re.compile(rb"^(Name|Version)[ \t]*:[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
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
