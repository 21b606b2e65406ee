"""The few statements that SQLAlchemy spells differently for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement


def is_postgresql(c: Connection) -> bool:
    return c.dialect.name == "postgresql"


Insert: TypeAlias = postgresql.Insert | sqlite.Insert


def dialect_insert(on_postgresql: bool, table: Table) -> Insert:
    """An INSERT with the database's own ON CONFLICT."""
    return postgresql.insert(table) if on_postgresql else sqlite.insert(table)


def insert_or_ignore(c: Connection, table: Table) -> Insert:
    """INSERT … ON CONFLICT DO NOTHING."""
    return dialect_insert(is_postgresql(c), table).on_conflict_do_nothing()


def upsert(
    c: Connection,
    table: Table,
    keys: Iterable[str],
    changes: Mapping[str, ColumnElement[Any] | Any],
) -> Insert:
    """INSERT … ON CONFLICT (keys) DO UPDATE SET changes."""
    return dialect_insert(is_postgresql(c), table).on_conflict_do_update(
        index_elements=list(keys), set_=dict(changes)
    )


def proposed(c: Connection, table: Table) -> ReadOnlyColumnCollection[str, KeyedColumnElement[Any]]:
    """The values that an `upsert` was to insert, for use in its changes."""
    return dialect_insert(is_postgresql(c), table).excluded
