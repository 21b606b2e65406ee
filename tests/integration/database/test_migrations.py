"""The tables are made by migrations, up and down, and are those the queries expect."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from garrison.database import Database, Key
from garrison.database.errors import DatabaseTooNewError, KeyMismatchError
from garrison.database.migrations import current, downgrade, head, upgrade
from garrison.database.tables import metadata


def tables(c: Connection) -> set[str]:
    return set(inspect(c).get_table_names()) - {"alembic_version", "sqlite_sequence"}


def test_up_down_and_up_again(empty_url: str) -> None:
    db = Database(empty_url, key=Key.generate())
    try:
        db.migrate()
        with db.read() as c:
            assert tables(c) == set(metadata.tables)
            assert current(c) == head()
        with db.migrating() as c:
            downgrade(c, "base")
        with db.read() as c:
            assert tables(c) == set()
            assert current(c) is None
        db.migrate()
        with db.read() as c:
            assert tables(c) == set(metadata.tables)
    finally:
        db.close()


def test_migrations_make_what_the_queries_expect(db: Database) -> None:
    """A column added to `tables.py` alone would be found here, not by an operator."""
    with db.read() as c:
        context = MigrationContext.configure(c, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    assert differences == []


def test_every_text_is_ordered_by_code_point(new_database: Callable[[str], Database]) -> None:
    """As SQLite does; otherwise the server's locale decides what a cursor means."""
    with new_database("postgresql").read() as c:
        other = c.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.columns "
                "WHERE table_schema = 'public' AND data_type = 'text' "
                "AND collation_name IS DISTINCT FROM 'C' AND table_name <> 'alembic_version'"
            )
        ).all()
    assert other == []


def test_newer_database_is_refused(db: Database) -> None:
    with db.write() as c:
        c.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseTooNewError) as caught:
        db.migrate()
    assert caught.value.code == "database.too_new"
    assert "9999" in caught.value.message
    assert caught.value.hint


def test_failed_migration_changes_nothing(empty_url: str) -> None:
    db = Database(empty_url, key=Key.generate())
    try:
        db.migrate()
        with pytest.raises(ZeroDivisionError), db.migrating() as c:
            _downgrade_and_fail(c)
        with db.read() as c:
            assert tables(c) == set(metadata.tables)
            assert current(c) == head()
    finally:
        db.close()


def _downgrade_and_fail(c: Connection) -> None:
    downgrade(c, "base")
    raise ZeroDivisionError


def test_programs_that_start_at_once_all_come_up(empty_url: str) -> None:
    key = Key.generate()
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        db = Database(empty_url, key=key)
        try:
            barrier.wait()
            db.migrate()
            with db.read() as c:
                assert current(c) == head()
        except BaseException as error:
            failures.append(error)
        finally:
            db.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_another_key_is_noticed_at_the_start(db: Database) -> None:
    """Not at the first use of a password, a day later."""
    with db.read() as c:
        url = c.engine.url.render_as_string(hide_password=False)
    other = Database(url, key=Key.generate())
    try:
        with pytest.raises(KeyMismatchError) as caught:
            other.migrate()
    finally:
        other.close()
    assert caught.value.code == "key.mismatch"
    assert caught.value.hint


def test_upgrade_of_current_tables_does_nothing(db: Database) -> None:
    with db.migrating() as c:
        upgrade(c)
    with db.read() as c:
        assert current(c) == head()
