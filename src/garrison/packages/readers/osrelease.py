"""The distribution an image is made of: `os-release`. Source: os-release(5)."""

from __future__ import annotations

import shlex

from garrison.images import FileError
from garrison.packages.package import OperatingSystem

_MAX = 64 << 10
_MAX_FIELD = 200


def read_os_release(data: bytes) -> OperatingSystem:
    """Raises FileError: it names no distribution."""
    if len(data) > _MAX or b"\0" in data:
        raise FileError("not an os-release file")
    fields: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            fields[key.strip()] = _value(value)
    if not fields.get("ID"):
        raise FileError("os-release has no ID")
    return OperatingSystem(
        fields["ID"].lower(),
        fields.get("VERSION_ID", ""),
        fields.get("PRETTY_NAME", ""),
        fields.get("VERSION_CODENAME", ""),
    )


def _value(text: str) -> str:
    try:
        value = " ".join(shlex.split(text))
    except ValueError:
        value = text.strip("\"'")
    return "".join(char for char in value[:_MAX_FIELD] if char.isprintable())
