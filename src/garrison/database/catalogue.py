"""Images are taken in, and packages matched again, at the same time and without missing each other.

Taking in an image counts the matches that its packages have now; matching again counts the images
that have the package now. On PostgreSQL neither sees what the other has not committed yet, and a
counter would stay wrong. So those who take in images share a lock, and who matches again has it
alone. SQLite has one writer at a time anyway.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from garrison.database import interning
from garrison.database.dialect import is_postgresql

_LOCK = 0x6761_7272_6D74_6368
_SHARED = text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
_ALONE = text(f"SELECT pg_advisory_xact_lock({_LOCK})")


def taking_in(c: Connection) -> None:
    """Before an image is stored, until the end of the transaction."""
    if not is_postgresql(c):
        return
    unit = interning.of(c)
    if unit is not None:
        if unit.takes_in:
            return
        unit.takes_in = True
    c.execute(_SHARED)


def matching(c: Connection) -> None:
    """Before matches are replaced, until the end of the transaction.

    Nothing in one that takes in an image: it matches packages that only it has seen.
    """
    if not is_postgresql(c):
        return
    unit = interning.of(c)
    if unit is None or not unit.takes_in:
        c.execute(_ALONE)
