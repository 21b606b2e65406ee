"""Every test here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from garrison.database import Database, Key
from lab.errors import MissingProgramError
from lab.postgres import Postgres

KINDS = ("sqlite", "postgresql")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        server = Postgres().__enter__()
    except MissingProgramError as error:
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """A PostgreSQL database with the tables, to copy: much faster than migrating each time."""
    name = postgres.new_database()
    database = Database(postgres.url(name), key=_KEY)
    database.migrate()
    database.close()
    return name


_KEY = Key(bytes(range(32)))


def _copy(postgres: Postgres, template: str) -> str:
    name = f"copy{next(_numbers)}"
    with psycopg.connect(postgres.url(), autocommit=True) as c:
        c.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return name


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A database without tables."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'garrison.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.url(postgres.new_database())


@pytest.fixture
def new_database(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Database]]:
    """Makes an empty database of a kind, with its tables; closed after the test."""
    made: list[Database] = []

    def make(kind: str) -> Database:
        if kind == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'garrison.db'}"
        else:
            postgres: Postgres = request.getfixturevalue("postgres")
            url = postgres.url(_copy(postgres, request.getfixturevalue("migrated")))
        database = Database(url, key=_KEY)
        database.migrate()
        made.append(database)
        return database

    yield make
    for database in made:
        database.close()


@pytest.fixture
def db(kind: str, new_database: Callable[[str], Database]) -> Database:
    return new_database(kind)
