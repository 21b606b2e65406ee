"""Lists in pages: the last row's sort key is the cursor, so that no page skips or repeats a row.

Never OFFSET: it gets slower with each page, and shifts when rows are added meanwhile.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, literal, tuple_

from garrison.database.errors import InvalidCursorError

T = TypeVar("T")

MAX_LIMIT = 1000
"""Rows of one page at most."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """next_cursor: give it to the same function for the next page; None on the last one."""

    items: tuple[T, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Keyset:
    """The order of a list: columns that together are unique, all in the same direction.

    name: stands in the cursor, so that a cursor of another list or order is refused.
    kinds: Python type of each column.
    """

    name: str
    columns: Sequence[ColumnElement[Any]]
    kinds: Sequence[type]
    descending: bool = False

    def fetch(
        self,
        c: Connection,
        statement: Select[Any],
        *,
        limit: int,
        cursor: str | None,
        make: Callable[[Row[Any]], T],
    ) -> Page[T]:
        """One page of `statement`, whose rows `make` turns into items.

        The key columns are added to the statement as `k0`, `k1`, …

        Raises:
            InvalidCursorError: the cursor was not made by this list.
            ValueError: limit below 1.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        limit = min(limit, MAX_LIMIT)
        if cursor is not None:
            statement = statement.where(self.after(self.values(cursor)))
        keys = [column.label(f"k{i}") for i, column in enumerate(self.columns)]
        order = [column.desc() if self.descending else column.asc() for column in self.columns]
        rows = c.execute(statement.add_columns(*keys).order_by(*order).limit(limit + 1)).all()
        items = tuple(make(row) for row in rows[:limit])
        if len(rows) <= limit:
            return Page(items, None)
        return Page(items, self.cursor([rows[limit - 1]._mapping[key.name] for key in keys]))

    def after(self, values: Sequence[Any]) -> ColumnElement[bool]:
        """The rows that come after the one with these key values."""
        row = tuple_(*self.columns)
        bound = tuple_(
            *(literal(v, column.type) for column, v in zip(self.columns, values, strict=True))
        )
        return row < bound if self.descending else row > bound

    def cursor(self, values: Sequence[Any]) -> str:
        plain = [v.isoformat() if isinstance(v, datetime) else v for v in values]
        data = msgspec.json.encode([self.name, *plain])
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def values(self, cursor: str) -> list[Any]:
        """The key values in a cursor, checked by type: they come from outside."""
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            name, *values = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True))
            if name != self.name or len(values) != len(self.kinds):
                raise InvalidCursorError
            return [_value(kind, v) for kind, v in zip(self.kinds, values, strict=True)]
        except (binascii.Error, msgspec.MsgspecError, ValueError, TypeError):
            raise InvalidCursorError from None


_INT_RANGE = range(-(1 << 63), 1 << 63)


def _value(kind: type, value: object) -> object:
    if kind is datetime:
        if not isinstance(value, str):
            raise InvalidCursorError
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise InvalidCursorError
        return at.astimezone(UTC)
    if type(value) is not kind or (kind is int and value not in _INT_RANGE):
        raise InvalidCursorError
    if isinstance(value, str) and "\0" in value:
        raise InvalidCursorError
    return value
