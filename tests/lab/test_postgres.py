"""A private PostgreSQL with as many databases as asked for."""

import os

import psycopg
import pytest

from lab.network import Network
from lab.postgres import Postgres

pytestmark = pytest.mark.network


def _one(url: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute("select 1").fetchone()
        return row and row[0]


def test_reached_over_tcp_and_from_a_namespace(net: Network) -> None:
    with Postgres() as postgres:
        first, second = postgres.new_database(), postgres.new_database()
        assert first != second
        assert _one(postgres.url(first)) == 1
        assert net.call("console", _one, postgres.socket_url(second)) == 1
        folder = postgres.folder
    assert not os.path.exists(folder)
