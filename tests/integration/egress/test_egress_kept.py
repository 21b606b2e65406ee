"""Connections that a blocking client keeps for its next request."""

from __future__ import annotations

import pytest

from garrison.egress import ConnectionRecord, Kept, open_body
from lab.authority import Authority
from lab.squid import Squid
from tests.integration.egress.conftest import settings, signed_in
from tests.integration.egress.destination import Destination, pattern


@pytest.mark.parametrize("path", ["bytes/100000", "chunked/100000", "status/404"])
def test_next_request_takes_the_same_connection(
    path: str, basic_squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    found, mark = signed_in(basic_squid, outside_ca), basic_squid.mark()
    records: list[ConnectionRecord] = []
    kept = Kept()
    for _ in range(4):
        with open_body(
            f"{secure.url}/{path}", found, purpose="registry", kept=kept, observer=records.append
        ) as body:
            assert len(body.read()) == (6 if "status" in path else 100_000)
    kept.close()
    basic_squid.wait_for(lambda one: one.status == 200, since=mark)
    tunnels = [one for one in basic_squid.entries_since(mark) if one.status == 200]
    assert len(tunnels) == 1
    assert len(secure.seen) == 4
    assert [one.opened for one in records].count(True) == 1


def test_half_read_bodies_and_other_settings_share_nothing(
    squid: Squid, outside_ca: Authority, other_ca: Authority, secure: Destination
) -> None:
    mark, kept = squid.mark(), Kept()
    url = f"{secure.url}/bytes/5000000"
    with open_body(url, settings(squid, outside_ca), purpose="registry", kept=kept) as body:
        body.read(1000)
    with open_body(url, settings(squid, outside_ca), purpose="registry", kept=kept) as body:
        assert body.read() == pattern(5_000_000)
    # More CAs are trusted, so it is another call.
    with open_body(
        f"{secure.url}/bytes/1",
        settings(squid, outside_ca, other_ca),
        purpose="registry",
        kept=kept,
    ) as body:
        body.read()
    kept.close()
    squid.wait_entries(3, since=mark)
    assert len(squid.tunnels(since=mark)) == 3


def test_closed_connection_is_replaced_in_silence(
    start_squid: type[Squid], outside_ca: Authority, secure: Destination
) -> None:
    with start_squid(name="cut") as squid:
        found, kept = settings(squid, outside_ca), Kept()
        for _ in range(2):
            with open_body(f"{secure.url}/bytes/9", found, purpose="registry", kept=kept) as body:
                assert body.read() == pattern(9)
            squid.restart()
        kept.close()


def test_old_connections_are_not_used(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    mark, kept = squid.mark(), Kept(idle_seconds=0.0)
    for _ in range(2):
        with open_body(
            f"{secure.url}/bytes/9", settings(squid, outside_ca), purpose="registry", kept=kept
        ) as body:
            body.read()
    kept.close()
    squid.wait_entries(2, since=mark)
