"""Rows that exist once, found by the hash of their content; and the ids we remember of them.

Asking the database for 400 ids is the dear part of taking an image in, and images are alike: a
bounded map in memory answers nearly all of it.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table

from garrison.database import bulk

CACHE_SIZE = 100_000
"""Hashes that are remembered per table: about 20 MB in all."""

_UNIT = "garrison.interning"


class InternCache:
    """Ids of interned rows by table and hash; safe in threads. Interned rows are never deleted."""

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._known: dict[str, OrderedDict[bytes, int]] = {}

    def unit(self, c: Connection) -> contextlib.AbstractContextManager[Unit]:
        """What one transaction knows, for `ids` to find by its Connection."""
        return self._unit(c)

    @contextlib.contextmanager
    def _unit(self, c: Connection) -> Iterator[Unit]:
        unit = Unit(self)
        c.info[_UNIT] = unit
        try:
            yield unit
        finally:
            del c.info[_UNIT]

    def get(self, table: str, keys: Iterable[bytes]) -> dict[bytes, int]:
        with self._lock:
            known = self._known.get(table)
            if known is None:
                return {}
            found = {}
            for key in keys:
                if (row_id := known.get(key)) is not None:
                    known.move_to_end(key)
                    found[key] = row_id
            return found

    def put(self, table: str, ids: Mapping[bytes, int]) -> None:
        with self._lock:
            known = self._known.setdefault(table, OrderedDict())
            known.update(ids)
            while len(known) > self._size:
                known.popitem(last=False)


class Unit:
    """Ids that one transaction has learned; they are shared once it has committed.

    takes_in: whether it stores an image, see `catalogue`.
    """

    def __init__(self, cache: InternCache) -> None:
        self.takes_in = False
        self._cache = cache
        self._learned: dict[str, dict[bytes, int]] = {}

    def get(self, table: str, keys: Iterable[bytes]) -> dict[bytes, int]:
        wanted = list(keys)
        found = self._cache.get(table, wanted)
        if learned := self._learned.get(table):
            found.update((key, learned[key]) for key in wanted if key in learned)
        return found

    def learn(self, table: str, ids: Mapping[bytes, int]) -> None:
        self._learned.setdefault(table, {}).update(ids)

    def keep(self) -> None:
        for table, ids in self._learned.items():
            self._cache.put(table, ids)


def of(c: Connection) -> Unit | None:
    """What this transaction knows; None for a Connection that `Database.write` did not give."""
    unit: Unit | None = c.info.get(_UNIT)
    return unit


def ids(
    c: Connection,
    table: Table,
    key: str,
    columns: Sequence[str],
    rows: Mapping[bytes, Sequence[Any]],
) -> tuple[dict[bytes, int], frozenset[bytes]]:
    """The id of each row, added where it is missing; and the keys of those this call has added.

    key: the unique column that holds the hash. rows: by hash, values in the order of `columns`.
    """
    unit = of(c)
    found = unit.get(table.name, rows) if unit else {}
    missing = sorted(k for k in rows if k not in found)
    if not missing:
        return found, frozenset()
    learned = bulk.ids_by_key(c, table, key, missing)
    new = [k for k in missing if k not in learned]
    added: dict[bytes, int] = {}
    if new:
        # In the order of their hashes: two transactions that add the same rows wait for each
        # other in one direction only.
        added = bulk.insert_keyed(c, table, key, columns, [(k, *rows[k]) for k in new])
        learned.update(added)
        if late := [k for k in new if k not in added]:
            # Another transaction committed them between our question and our insertion.
            learned.update(bulk.ids_by_key(c, table, key, late))
    if unit:
        unit.learn(table.name, learned)
    return found | learned, frozenset(added)
