"""Changes of the tables, one module in `versions/` per change, run by the program itself."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from garrison.database.errors import DatabaseError, DatabaseTooNewError

_LOCK = 0x6761_7272_6973_6F6E
"""Two programs that start at once on PostgreSQL migrate one after the other ("garrison")."""


def upgrade(c: Connection, revision: str = "head") -> None:
    """Bring the tables up to `revision`, in the caller's transaction.

    Raises:
        DatabaseTooNewError: they are of a revision that this program does not know.
    """
    if c.dialect.name == "postgresql":
        c.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    before = current(c)
    if before == head():
        return
    if before is not None and not _known(before):
        raise DatabaseTooNewError(before)
    command.upgrade(_config(c), revision)
    _check_references(c)


def downgrade(c: Connection, revision: str) -> None:
    """Bring the tables down to `revision` (`base`: none at all), in the caller's transaction."""
    command.downgrade(_config(c), revision)
    _check_references(c)


def current(c: Connection) -> str | None:
    """The revision of the tables; None: there are none."""
    return MigrationContext.configure(c).get_current_revision()


@lru_cache(maxsize=1)
def head() -> str:
    """The revision that this program works with."""
    found = _scripts().get_current_head()
    assert found is not None
    return found


def _known(revision: str) -> bool:
    try:
        return _scripts().get_revision(revision) is not None
    except CommandError:
        return False


@lru_cache(maxsize=1)
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_base())


def _base() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _config(c: Connection) -> Config:
    config = _base()
    config.attributes["connection"] = c
    return config


def _check_references(c: Connection) -> None:
    """SQLite migrates with foreign keys unenforced: see that none is broken before the commit."""
    if c.dialect.name == "sqlite" and c.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise DatabaseError("the migration would break references between tables")
