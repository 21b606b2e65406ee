"""The few statements that SQLAlchemy spells differently for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement


def is_postgresql(c: Connection) -> bool:
    return c.dialect.name == "postgresql"


def insert_or_ignore(c: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """INSERT … ON CONFLICT DO NOTHING."""
    if is_postgresql(c):
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def upsert(
    c: Connection,
    table: Table,
    keys: Iterable[str],
    changes: Mapping[str, ColumnElement[Any] | Any],
) -> postgresql.Insert | sqlite.Insert:
    """INSERT … ON CONFLICT (keys) DO UPDATE SET changes."""
    if is_postgresql(c):
        return postgresql.insert(table).on_conflict_do_update(
            index_elements=list(keys), set_=dict(changes)
        )
    return sqlite.insert(table).on_conflict_do_update(index_elements=list(keys), set_=dict(changes))


def proposed(c: Connection, table: Table) -> ReadOnlyColumnCollection[str, KeyedColumnElement[Any]]:
    """The values that an `upsert` was to insert, for use in its changes."""
    if is_postgresql(c):
        return postgresql.insert(table).excluded
    return sqlite.insert(table).excluded
