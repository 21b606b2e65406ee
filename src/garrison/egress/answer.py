"""What a destination answered, once it was reached."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class Headers(Mapping[str, str]):
    """Header fields; names compare without case, repeated ones are joined by a comma."""

    __slots__ = ("_given", "_joined", "_kept")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._given: Iterable[tuple[str, str]] | None = pairs
        self._kept: tuple[tuple[str, str], ...] = ()
        self._joined: dict[str, str] | None = None

    @property
    def _pairs(self) -> tuple[tuple[str, str], ...]:
        if self._given is not None:
            self._kept, self._given = tuple(self._given), None
        return self._kept

    @property
    def _fields(self) -> dict[str, str]:
        """Made when first asked for: many answers are never looked at."""
        if self._joined is None:
            found: dict[str, str] = {}
            for name, value in self._pairs:
                key = name.lower()
                found[key] = f"{found[key]}, {value}" if key in found else value
            self._joined = found
        return self._joined

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def all(self, name: str) -> tuple[str, ...]:
        """Each value of a repeated field by itself, such as `WWW-Authenticate`."""
        return tuple(value for key, value in self._pairs if key.lower() == name.lower())

    def __repr__(self) -> str:
        # Values may be cookies or tokens.
        return f"Headers({', '.join(self._fields)})"


@dataclass(frozen=True, slots=True, repr=False)
class Fetched:
    """A whole answer. `url` is where it came from, after redirects."""

    status: int
    headers: Headers
    body: bytes
    url: str = ""

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"Fetched({self.status}, {len(self.body)} bytes)"
