"""Transactions: all or nothing, one writer at a time, readers that see one moment."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from garrison.database import Database, Key, audit, images, matches, proxy
from garrison.database.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    KeyMismatchError,
)
from garrison.database.images import ImageQuery
from garrison.database.tables import audit as audit_table
from garrison.database.tables import package
from tests.integration.database.samples import NOW, deb, ingest, inventory, layer, match, store


def note(db: Database, action: str) -> None:
    with db.write() as c:
        audit.record(c, actor="test", action=action, target="t", detail={}, now=NOW)


def count(db: Database) -> int:
    with db.read() as c:
        return c.execute(select(func.count()).select_from(audit_table)).scalar_one()


def test_exception_undoes_everything(db: Database) -> None:
    """Also what was remembered of it: ids of rows that are gone must not be used again."""
    one = inventory(1, [deb("a"), deb("b")], [layer(1)])

    def fail(c: Connection) -> None:
        store(c, one)
        audit.record(c, actor="test", action="a", target="t", detail={}, now=NOW)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), db.write() as c:
        fail(c)
    assert count(db) == 0

    with db.write() as c:
        store(c, inventory(2, [deb("c")]))
    with db.write() as c:
        stored = store(c, one)
    with db.read() as c:
        names = [row.package.name for row in images.packages(c, stored.image_id).items]
        known = c.execute(select(package.c.name).order_by(package.c.name)).scalars().all()
    assert names == ["a", "b"]
    assert known == ["a", "b", "c"]


def test_reading_changes_nothing(db: Database) -> None:
    with pytest.raises((SQLAlchemyError, DatabaseError)), db.read() as c:
        audit.record(c, actor="test", action="a", target="t", detail={}, now=NOW)
    assert count(db) == 0


def test_reader_sees_one_moment(db: Database) -> None:
    with db.read() as c:
        assert images.page(c, ImageQuery()).items == ()
        writer = threading.Thread(target=note, args=(db, "meanwhile"))
        writer.start()
        writer.join()
        assert audit.page(c).items == ()
    assert count(db) == 1


def test_writers_do_not_lose_each_others_changes(db: Database) -> None:
    """Read, then write what follows from it: eight threads, each revision once."""
    failures: list[BaseException] = []

    def save(number: int) -> None:
        for step in range(5):
            while True:
                try:
                    with db.write() as c:
                        now = proxy.current(c)
                        proxy.save(
                            c,
                            http_proxy=f"http://p{number}-{step}.test:1",
                            no_proxy=[],
                            ca="",
                            user="",
                            password=None,
                            more={},
                            expected_revision=now.revision if now else 0,
                            actor="test",
                            now=NOW,
                        )
                    break
                except DatabaseError as error:
                    if error.code != "settings.stale":
                        failures.append(error)
                        return
                except BaseException as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=save, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with db.read() as c:
        saved = proxy.history(c, 100).items
    assert [row.revision for row in saved] == list(range(40, 0, -1))
    assert len({row.http_proxy for row in saved}) == 40


def test_images_are_taken_in_and_matched_by_many_at_once(db: Database) -> None:
    """The same packages, layers and sets, from eight threads, while a ninth matches all of them
    again: nothing doubled, no deadlock, and no counter that missed a change.
    """
    shared = [deb(f"p{n}", at=layer(1)) for n in range(60)]
    failures: list[BaseException] = []
    barrier = threading.Barrier(9)

    def act(run: Callable[[], None]) -> None:
        try:
            barrier.wait()
            run()
        except BaseException as error:
            failures.append(error)

    def take(number: int) -> None:
        for step in range(4):
            own = [deb(f"own{(number + step) % 5}", at=layer(2))]
            one = inventory(10 * number + step, shared + own, [layer(1), layer(2)])
            with db.write() as c:
                ingest(c, one, {"p1": [match("CVE-1")], "own2": [match("CVE-2")]})

    def match_again() -> None:
        for turn in range(6):
            with db.write() as c:
                found = {
                    number: [match("CVE-9")] if one.name == "p7" else []
                    for number, one in matches.unmatched(c, f"turn{turn}")
                }
                changed = matches.put(c, f"turn{turn}", found)
                matches.recount(c, images.with_packages(c, changed))

    runs: list[Callable[[], None]] = [partial(take, n) for n in range(8)]
    threads = [threading.Thread(target=act, args=(run,)) for run in (*runs, match_again)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with db.write() as c:
        assert c.execute(select(func.count()).select_from(package)).scalar_one() == 65
        rows = images.page(c, ImageQuery(limit=100)).items
        assert [row.packages for row in rows] == [61] * 32
        counted = {row.id: row.counts for row in rows}
        matches.recount(c)
        assert {
            row.id: row.counts for row in images.page(c, ImageQuery(limit=100)).items
        } == counted


def test_image_taken_in_while_its_packages_are_matched_again_is_counted(db: Database) -> None:
    """Neither transaction sees the other's changes: one must wait for the other."""
    with db.write() as c:
        known = ingest(c, inventory(1, [deb("a")])).package_ids

    def match_again() -> None:
        with db.write() as c:
            changed = matches.put(c, "r2", {known[0]: [match("CVE-9")]})
            matches.recount(c, images.with_packages(c, changed))

    thread = threading.Thread(target=match_again)
    with db.write() as c:
        ingest(c, inventory(2, [deb("a")]))
        thread.start()
        # Long enough to be done, if it did not wait.
        thread.join(0.3)
    thread.join()
    with db.read() as c:
        assert [row.counts.high for row in images.page(c, ImageQuery()).items] == [1, 1]


def test_image_scanned_again_while_it_is_counted_has_the_newer_counters(db: Database) -> None:
    known = {"a": [match("CVE-1")], "b": [match("CVE-2"), match("CVE-3")]}
    with db.write() as c:
        ingest(c, inventory(1, [deb("a")]), known)
        ingest(c, inventory(2, [deb("b")]), known)

    def count_again() -> None:
        with db.write() as c:
            matches.recount(c)

    thread = threading.Thread(target=count_again)
    with db.write() as c:
        ingest(c, inventory(1, [deb("a"), deb("b")]), known)
        thread.start()
        thread.join(0.3)
    thread.join()
    with db.read() as c:
        assert [row.counts.high for row in images.page(c, ImageQuery()).items] == [3, 2]


def test_writing_twice_in_one_thread_is_an_error(
    new_database: Callable[[str], Database],
) -> None:
    """On SQLite it would wait for itself forever; PostgreSQL has many writers."""
    db = new_database("sqlite")
    with db.write(), pytest.raises(RuntimeError, match="writing already"), db.write():
        pass


def test_another_process_writes_to_the_same_file(tmp_path: Path) -> None:
    """The command line, while the Console runs."""
    db = Database.open(tmp_path)
    program = (
        "import sys, pathlib, datetime\n"
        "from garrison.database import Database, audit\n"
        "db = Database.open(pathlib.Path(sys.argv[1]))\n"
        "now = datetime.datetime.now(datetime.UTC)\n"
        "for n in range(25):\n"
        "    with db.write() as c:\n"
        "        audit.record(c, actor='cli', action='a', target=str(n), detail={}, now=now)\n"
        "db.close()\n"
    )
    try:
        children = [
            subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) for _ in range(2)
        ]
        for _ in range(25):
            note(db, "console")
        assert [child.wait(60) for child in children] == [0, 0]
        assert count(db) == 75
    finally:
        db.close()


def test_busy_database_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garrison.database.engine.BUSY_SECONDS", 0.1)
    db = Database.open(tmp_path)
    program = (
        "import sys, sqlite3\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()\n"
        "c.close()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "garrison.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(DatabaseBusyError) as caught:
            note(db, "late")
        assert caught.value.code == "database.busy"
    finally:
        child.communicate("")
        db.close()


def test_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    db = Database.open(data)
    note(db, "a")
    modes = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}
    db.close()
    assert modes.pop("garrison.db-shm", 0o600) == 0o600
    assert modes.pop("garrison.db-wal", 0o600) == 0o600
    assert modes == {"garrison.db": 0o600, "key": 0o600}
    assert data.stat().st_mode & 0o777 == 0o700


def test_lost_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    """A new key file in its place would look as if nothing were missing."""
    Database.open(tmp_path).close()
    (tmp_path / "key").unlink()
    with pytest.raises(KeyMismatchError):
        Database.open(tmp_path)
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hidden-word@h/n",
        "sqlite://",
        "sqlite:///:memory:",
        "nonsense",
        "postgresql://u:hidden-word@h:port/n",
    ],
)
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        Database(url, key=Key.generate())
    assert "hidden-word" not in caught.value.message + caught.value.hint


def test_unreachable_server_is_said_so_without_its_password() -> None:
    db = Database("postgresql://u:hidden-word@127.0.0.1:1/n", key=Key.generate())
    try:
        with pytest.raises(DatabaseUnavailableError) as caught:
            db.migrate()
    finally:
        db.close()
    assert caught.value.code == "database.unavailable"
    assert "hidden-word" not in caught.value.message + caught.value.hint


def test_audit_rows_stay(db: Database) -> None:
    """Not even this program's own connection changes them."""
    note(db, "kept")
    attempts = [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT id, at, 'nobody', action, target, detail FROM audit"
        if db.kind == "sqlite"
        else "TRUNCATE audit",
    ]
    for statement in attempts:
        with pytest.raises((DBAPIError, DatabaseError), match="append-only"), db.write() as c:
            c.exec_driver_sql(statement)
    with db.read() as c:
        assert [(row.actor, row.action) for row in audit.page(c).items] == [("test", "kept")]


def test_naive_moments_are_refused(db: Database) -> None:
    with pytest.raises(Exception, match="time zone"), db.write() as c:
        audit.record(c, actor="a", action="a", target="t", detail={}, now=NOW.replace(tzinfo=None))
