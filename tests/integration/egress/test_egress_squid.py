"""Every face of egress through real Squids: plain, with Basic, over TLS, opening TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from garrison.egress import ConnectionRecord, ProxySettings, open_body
from garrison.egress.body import check_connection
from garrison.egress.http import EgressClient
from lab.authority import Authority
from lab.squid import AccessEntry, Squid
from tests.integration.egress.conftest import HOST, USER, settings, signed_in
from tests.integration.egress.destination import Destination, pattern


@dataclass
class Way:
    """One kind of proxy, and the settings for it."""

    squid: Squid
    settings: ProxySettings
    intercepts: bool = False
    user: str | None = None
    start: int = 0

    def entry(self, match: Callable[[AccessEntry], bool]) -> AccessEntry:
        """The first that matches; not the 407 that told us what the proxy takes."""
        return self.squid.wait_for(lambda one: one.status != 407 and match(one), since=self.start)


@pytest.fixture(params=["open", "basic", "tls", "bump"])
def way(request: pytest.FixtureRequest, outside_ca: Authority, proxy_ca: Authority) -> Way:
    kind = request.param
    squid: Squid = request.getfixturevalue({"open": "squid"}.get(kind, f"{kind}_squid"))
    start = squid.mark()
    if kind == "open":
        return Way(squid, settings(squid, outside_ca), start=start)
    if kind == "basic":
        return Way(squid, signed_in(squid, outside_ca), user=USER, start=start)
    if kind == "tls":
        return Way(squid, signed_in(squid, outside_ca, proxy_ca), user=USER, start=start)
    return Way(squid, settings(squid, proxy_ca), intercepts=True, start=start)


@asynccontextmanager
async def client(
    settings: ProxySettings, records: list[ConnectionRecord] | None = None
) -> AsyncIterator[EgressClient]:
    """records: gains one per connection; what they carry is left out."""

    def note(record: ConnectionRecord) -> None:
        if records is not None and record.opened:
            records.append(record)

    found = EgressClient(settings, observer=note)
    try:
        yield found
    finally:
        await found.aclose()


async def test_request_reaches_tls_destination(way: Way, secure: Destination) -> None:
    records: list[ConnectionRecord] = []
    async with client(way.settings, records) as egress:
        answer = await egress.request("GET", f"{secure.url}/bytes/100000", purpose="intel")

    assert (answer.status, answer.body) == (200, pattern(100_000))
    entry = way.entry(lambda one: one.method == "CONNECT" and one.target == secure.address)
    assert entry.user in (way.user, "-" if way.user is None else way.user)
    assert [(r.host, r.ok, r.route) for r in records] == [
        (HOST, True, f"127.0.0.1:{way.squid.port}")
    ]
    assert "proxy-authorization" not in secure.headers_seen.lower()


async def test_request_reaches_plain_destination(way: Way, plain: Destination) -> None:
    async with client(way.settings) as egress:
        for _ in range(2):
            answer = await egress.request("POST", f"{plain.url}/echo?x=1", purpose="alerts",
                                          json={"a": 1})  # fmt: skip
            assert answer.json()["path"] == "/echo?x=1"
            assert answer.json()["body"] == '{"a": 1}'

    way.entry(lambda one: one.method == "POST" and one.target == f"{plain.url}/echo?")
    assert "proxy-authorization" not in plain.headers_seen.lower()


async def test_stream_reads_chunks(way: Way, secure: Destination) -> None:
    async with (
        client(way.settings) as egress,
        egress.stream("GET", f"{secure.url}/chunked/3000000", purpose="intel") as answer,
    ):
        body = b"".join([chunk async for chunk in answer.chunks()])

    assert body == pattern(3_000_000)
    way.entry(lambda one: one.method == "CONNECT" and one.target == secure.address)


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_websocket_echoes(way: Way, kind: str, request: pytest.FixtureRequest) -> None:
    """Also without TLS the proxy is asked for a tunnel."""
    if way.intercepts and kind == "plain":
        return  # an intercepting Squid expects TLS in every tunnel
    destination: Destination = request.getfixturevalue(kind)
    async with client(way.settings) as egress:
        socket = await egress.websocket(destination.ws, purpose="fleet")
        for message in (b"", b"x", pattern(1_000_000)):
            await socket.send(message)
            assert await socket.receive() == message
        assert socket.route == f"127.0.0.1:{way.squid.port}"
        await socket.close()
        assert await socket.receive() is None

    way.entry(lambda one: one.method == "CONNECT" and one.target == destination.address)


@pytest.mark.parametrize("path", ["bytes", "chunked"])
@pytest.mark.parametrize("kind", ["secure", "plain"])
def test_open_body_reads_into_buffers(
    way: Way, path: str, kind: str, request: pytest.FixtureRequest
) -> None:
    destination: Destination = request.getfixturevalue(kind)
    url = f"{destination.url}/{path}/5000000"
    found, buffer = bytearray(), bytearray(1 << 18)
    with open_body(url, way.settings, purpose="registry") as body:
        assert body.status == 200
        while n := body.readinto(buffer):
            found += memoryview(buffer)[:n]
        assert body.readinto(buffer) == 0

    assert found == pattern(5_000_000)
    if kind == "secure":
        way.entry(lambda one: one.method == "CONNECT" and one.target == destination.address)
    else:
        way.entry(lambda one: one.method == "GET" and one.target == url)
    assert "proxy-authorization" not in destination.headers_seen.lower()


async def test_test_reports_each_hop(way: Way, secure: Destination) -> None:
    """Blocking and asynchronous drivers run one plan, so they tell the same."""
    async with client(way.settings) as egress:
        first = await egress.test(secure.url, purpose="registry")
    second = check_connection(secure.url, way.settings, purpose="registry")

    for result in (first, second):
        assert result.ok, result.as_dict()
        hops = [step.hop for step in result.steps]
        expected = ["resolve", "tcp", "tunnel", "tls", "http"]
        if way.user:
            expected.insert(2, "proxy-auth")
        if way.squid.tls:
            expected.insert(2, "proxy-tls")
        assert hops == expected
        assert result.route["proxy"] == way.squid.url
    names = "ACME Corp, ACME TLS Inspection CA" if way.intercepts else first.intercepted_by
    assert first.intercepted_by == second.intercepted_by == names
    way.entry(lambda one: one.method == "CONNECT" and one.target == secure.address)
