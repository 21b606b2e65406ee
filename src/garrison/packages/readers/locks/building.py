"""What all readers of lock files share: a list that is built, bounded and checked."""

from __future__ import annotations

import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from garrison.images import FileError
from garrison.packages.readers.facts import Component, Contents, Unread, checked

MAX_BYTES = 32 << 20
MAX_PACKAGES = 100_000
MAX_UNREAD = 200
MAX_DEPTH = 100
"""Of dependencies inside dependencies; npm's own limit is the path's length."""


class Building:
    """The packages of one lock file, as they are found."""

    def __init__(self, type: str) -> None:
        self._type = type
        self._packages: dict[tuple[str, str, str], bool] = {}
        self._unread: dict[Unread, None] = {}

    def add(self, namespace: str, name: object, version: object, development: bool = False) -> None:
        """One package. What is needed to run in one place is not for development in another."""
        if not isinstance(name, str) or not isinstance(version, str):
            self.skip(str(name)[:200], "it has no version")
            return
        try:
            name = checked(name, "name")
            key = (namespace, name, checked(version, f"version of {name}"))
        except FileError as error:
            self.skip("", error.message)
            return
        if len(self._packages) >= MAX_PACKAGES:
            raise FileError(f"a lock file with more than {MAX_PACKAGES} packages")
        self._packages[key] = self._packages.get(key, True) and development

    def skip(self, name: str, reason: str) -> None:
        """An entry that names no published version."""
        if len(self._unread) < MAX_UNREAD:
            shown = "".join(char if char.isprintable() else "?" for char in name[:200])
            text = f"{shown}: {reason}" if shown else reason
            self._unread[Unread("", "packages.not_locked", text)] = None

    def contents(self, supersedes: tuple[str, ...] = ()) -> Contents:
        """All of it."""
        return Contents(
            tuple(
                Component(self._type, *key, position="locked", development=development)
                for key, development in self._packages.items()
            ),
            tuple(self._unread),
            supersedes,
        )


def text_of(data: bytes) -> str:
    """The file as text. Raises FileError: too large, or no text."""
    if len(data) > MAX_BYTES:
        raise FileError(f"a lock file of {len(data)} bytes; read are {MAX_BYTES}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError("a lock file that is no text") from None


def json_of(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises FileError."""
    return mapping(_parsed(data, msgspec.json.decode))


def toml_of(data: bytes) -> dict[str, Any]:
    """A TOML document. Raises FileError."""
    return mapping(_parsed(data, tomllib.loads))


def yaml_of(data: bytes) -> dict[str, Any]:
    """A YAML mapping without aliases, which no lock file has and bombs are made of."""
    import yaml

    text = text_of(data)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def load(given: str) -> Any:
        for event in yaml.parse(given, Loader=loader):
            if isinstance(event, yaml.AliasEvent):
                raise FileError("a lock file with aliases")
        return yaml.load(given, Loader=loader)

    try:
        return mapping(load(text))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FileError(f"it cannot be read: {str(error)[:200]}") from None


def _parsed(data: bytes, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text_of(data))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FileError(f"it cannot be read: {str(error)[:200]}") from None


def mapping(value: object) -> dict[str, Any]:
    """`value`, if it is a mapping with texts as keys. Raises FileError."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise FileError("it has not the form of such a lock file")
    return value


def mappings(value: object) -> list[dict[str, Any]]:
    """`value`, if it is a list of mappings; nothing is as good as none. Raises FileError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise FileError("it has not the form of such a lock file")
    return [mapping(item) for item in value]


def names(value: object) -> list[str]:
    """The keys of a mapping, or nothing."""
    return [key for key in value if isinstance(key, str)] if isinstance(value, dict) else []


def reachable(roots: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Everything that `roots` need, themselves included."""
    found = set(roots)
    waiting = deque(found)
    while waiting:
        for name in edges.get(waiting.popleft(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found
