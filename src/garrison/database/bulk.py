"""Many rows in one statement, as fast as each database takes them.

SQLite: the driver's `executemany`, which stays in C. PostgreSQL: one statement over `unnest`
arrays, which is parsed once and answers in one round trip. SQLAlchemy's own insertion of many
rows costs 2 to 3 ms per 400 rows before the database sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql

from garrison.database.dialect import is_postgresql

T = TypeVar("T")

_CHUNK = 500
"""Parameters of one SQLite query; its limit is 32,766, few sizes keep the statement cache warm."""


def insert_rows(
    c: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    conflict: str = "",
) -> None:
    """Insert rows. Values are the driver's: no column types are applied, JSON is text.

    conflict: what follows ON CONFLICT.
    """
    if not rows:
        return
    end = f" ON CONFLICT {conflict}" if conflict else ""
    if is_postgresql(c):
        c.exec_driver_sql(_unnest(table, tuple(columns)) + end, tuple(_columns(rows)))
    else:
        c.exec_driver_sql(_values(table, tuple(columns)) + end, [tuple(row) for row in rows])


def insert_keyed(
    c: Connection, table: Table, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> dict[bytes, int]:
    """Insert rows unless their key is there; ids of those inserted. `key` is their first value."""
    names = (key, *columns)
    if is_postgresql(c):
        sql = f'{_unnest(table, names)} ON CONFLICT DO NOTHING RETURNING "{key}", id'
        result = c.exec_driver_sql(sql, tuple(_columns(rows)))
        return {bytes(k): row_id for k, row_id in result}
    insert_rows(c, table, names, rows, conflict="DO NOTHING")
    return ids_by_key(c, table, key, [row[0] for row in rows])


def ids_by_key(c: Connection, table: Table, key: str, keys: Sequence[bytes]) -> dict[bytes, int]:
    """The ids of the rows with these keys."""
    if is_postgresql(c):
        sql = f"SELECT {key}, id FROM {table.name} WHERE {key} = ANY(%s::bytea[])"
        return {bytes(k): row_id for k, row_id in c.exec_driver_sql(sql, (list(keys),))}
    found: dict[bytes, int] = {}
    for chunk in chunks(keys):
        # Rounded up with a repeated key, so that there are ten statements and not five hundred.
        chunk += [chunk[-1]] * (-len(chunk) % 50)
        marks = ",".join("?" * len(chunk))
        sql = f"SELECT {key}, id FROM {table.name} WHERE {key} IN ({marks})"
        found.update((k, row_id) for k, row_id in c.exec_driver_sql(sql, tuple(chunk)))
    return found


def chunks(values: Sequence[T]) -> Iterator[list[T]]:
    """Values in lists that fit the parameters of one query."""
    for start in range(0, len(values), _CHUNK):
        yield list(values[start : start + _CHUNK])


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


@lru_cache(maxsize=64)
def _values(table: Table, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'


@lru_cache(maxsize=64)
def _unnest(table: Table, columns: tuple[str, ...]) -> str:
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    kinds = [table.c[name].type.dialect_impl(dialect) for name in columns]
    arrays = ", ".join(f"%s::{kind.compile(dialect).partition(' COLLATE')[0]}[]" for kind in kinds)
    names = ", ".join(f'"{name}"' for name in columns)
    # ORDINALITY keeps the order of the arrays: it is the order in which rows are locked.
    return (
        f'INSERT INTO "{table.name}" ({names}) SELECT {_aliases(columns)} '
        f"FROM unnest({arrays}) WITH ORDINALITY AS given({_aliases(columns)}, n) ORDER BY n"
    )


def _aliases(columns: tuple[str, ...]) -> str:
    return ", ".join(f"v{i}" for i in range(len(columns)))
