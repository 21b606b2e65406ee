"""Rules, failover, PAC and strict mode, seen in the logs of two real Squids."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from garrison.egress import (
    ConnectionRecord,
    EgressError,
    ProxySettings,
    Purpose,
    check_connection,
    fetch,
    open_body,
)
from garrison.egress import failover as failover_module
from garrison.egress.errors import NotAllowedError, UnknownCaError
from garrison.egress.failover import HEALTH
from garrison.egress.http import EgressClient
from lab.authority import Authority
from lab.squid import Squid
from tests.integration.egress.destination import Destination, serve


@pytest.fixture(autouse=True)
def nothing_rests() -> Iterator[None]:
    """What failed in one test is no matter in the next."""
    HEALTH.forget()
    yield
    HEALTH.forget()


@pytest.fixture(scope="module")
def second(start_squid: Callable[..., Squid]) -> Iterator[Squid]:
    with start_squid(name="second") as squid:
        yield squid


@pytest.fixture
def closed() -> Iterator[int]:
    """A port of loopback that nobody else gets, and where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def build(first: str, other: Squid, *cas: Authority, **more: Any) -> ProxySettings:
    return ProxySettings.build(
        http_proxy=first,
        ca="".join(one.pem for one in cas),
        more={"proxies": [{"name": "second", "address": other.url}], **more},
    )


FACES = ["async", "blocking"]


async def get(
    face: str,
    url: str,
    settings: ProxySettings,
    purpose: Purpose = "registry",
    records: list[ConnectionRecord] | None = None,
    timeout: float = 20.0,
) -> bytes:
    """By either face; records: gains what the observer was told of connections."""

    def note(record: ConnectionRecord) -> None:
        if records is not None and record.opened:
            records.append(record)

    if face == "blocking":
        return fetch(url, settings, purpose=purpose, observer=note, timeout=timeout).body
    client = EgressClient(settings, observer=note)
    try:
        return (await client.request("GET", url, purpose=purpose, timeout=timeout)).body
    finally:
        await client.aclose()


def reached(squid: Squid, since: int, address: str) -> bool:
    return any(address in one.target for one in squid.log[since:])


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_the_next_proxy_is_taken_when_the_first_is_gone(
    face: str,
    kind: str,
    second: Squid,
    closed: int,
    outside_ca: Authority,
    request: pytest.FixtureRequest,
) -> None:
    destination: Destination = request.getfixturevalue(kind)
    settings = build(f"http://127.0.0.1:{closed}", second, outside_ca, failover=["second"])
    start, records = second.mark(), list[ConnectionRecord]()
    assert await get(face, f"{destination.url}/", settings, records=records) == b"hello"
    second.wait_for(lambda one: destination.address in one.target, since=start)
    assert [(one.route, one.ok, one.code) for one in records] == [
        (f"127.0.0.1:{closed}", False, "egress.proxy_connection_refused"),
        (f"127.0.0.1:{second.port}", True, ""),
    ]
    # It is left alone now.
    records.clear()
    assert await get(face, f"{destination.url}/", settings, records=records) == b"hello"
    assert [one.route for one in records] == [f"127.0.0.1:{second.port}"]


async def test_a_websocket_takes_the_next_proxy(
    second: Squid, closed: int, secure: Destination, outside_ca: Authority
) -> None:
    settings = build(f"http://127.0.0.1:{closed}", second, outside_ca, failover=["second"])
    client = EgressClient(settings)
    try:
        connection = await client.websocket(secure.ws, purpose="fleet")
        assert connection.route == f"127.0.0.1:{second.port}"
        await connection.send(b"ping")
        assert await connection.receive() == b"ping"
        await connection.close()
    finally:
        await client.aclose()


@pytest.mark.parametrize("face", FACES)
async def test_a_proxy_that_comes_back_is_used_again(
    face: str,
    start_squid: Callable[..., Squid],
    second: Squid,
    secure: Destination,
    outside_ca: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failover_module, "PAUSE", 0.0)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        settings = build(f"http://127.0.0.1:{port}", second, outside_ca, failover=["second"])
        records: list[ConnectionRecord] = []
        await get(face, f"{secure.url}/", settings, records=records)
        assert [one.ok for one in records] == [False, True]
    with start_squid(name="back", port=port) as back:
        records.clear()
        assert await get(face, f"{secure.url}/", settings, records=records) == b"hello"
        assert [(one.route, one.ok) for one in records] == [(f"127.0.0.1:{port}", True)]
        back.wait_for(lambda one: secure.address in one.target)
        assert HEALTH.resting(0.0) == {}


@pytest.mark.parametrize("face", FACES)
async def test_a_silent_proxy_uses_its_share_alone(
    face: str, second: Squid, secure: Destination, outside_ca: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = build(address, second, outside_ca, failover=["second"])
        records: list[ConnectionRecord] = []
        body = await get(face, f"{secure.url}/", settings, records=records, timeout=2.0)
    assert body == b"hello"
    assert [one.code for one in records] == ["egress.proxy_silent", ""]


@pytest.mark.parametrize("face", FACES)
async def test_a_refusal_of_the_first_is_the_answer(
    face: str, basic_squid: Squid, second: Squid, secure: Destination, outside_ca: Authority
) -> None:
    settings = build(basic_squid.url, second, outside_ca, failover=["second"])
    start = second.mark()
    with pytest.raises(EgressError) as error:
        await get(face, f"{secure.url}/", settings)
    assert error.value.code == "egress.proxy_auth_required"
    assert not reached(second, start, secure.address)


async def test_a_post_is_not_sent_twice(second: Squid, plain: Destination, closed: int) -> None:
    """To a proxy that hung up after it had the request nobody knows what became of it."""
    import threading

    def hang_up(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.recv(4096)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up, args=(server,), daemon=True)
        thread.start()
        settings = build(f"http://127.0.0.1:{server.getsockname()[1]}", second, failover=["second"])
        client = EgressClient(settings)
        try:
            with pytest.raises(EgressError):
                await client.request("POST", f"{plain.url}/echo", purpose="alerts", data=b"x")
            assert plain.seen == []
            HEALTH.forget()
            answer = await client.request("GET", f"{plain.url}/", purpose="alerts")
            assert answer.body == b"hello"
        finally:
            await client.aclose()
            server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


async def test_the_test_shows_every_attempt(
    second: Squid, closed: int, secure: Destination, outside_ca: Authority
) -> None:
    settings = build(f"http://127.0.0.1:{closed}", second, outside_ca, failover=["second"])
    client = EgressClient(settings)
    try:
        found = await client.test(f"{secure.url}/", purpose="registry")
    finally:
        await client.aclose()
    HEALTH.forget()
    blocking = check_connection(f"{secure.url}/", settings, purpose="registry")
    for result in (found, blocking):
        shown = result.as_dict()
        assert shown["ok"]
        assert shown["route"]["proxy"] == second.url
        assert len(shown["route"]["candidates"]) == 2
        vias = [(step["via"], step["ok"]) for step in shown["trace"]]
        assert (f"127.0.0.1:{closed}", False) in vias
        assert vias[-1] == (f"127.0.0.1:{second.port}", True)


@pytest.mark.parametrize("face", FACES)
async def test_rules_by_purpose_and_destination(
    face: str, squid: Squid, second: Squid, secure: Destination, outside_ca: Authority
) -> None:
    settings = build(
        squid.url,
        second,
        outside_ca,
        rules=[
            {"name": "alerts", "use": "proxy", "proxies": ["second"], "purposes": ["alerts"]},
            {"name": "o", "use": "proxy", "proxies": ["second"], "destinations": ["other.test"]},
        ],
    )
    with serve("other.test", outside_ca.server_context("other.test")) as other:
        for url, purpose, by, not_by in (
            (secure, "alerts", second, squid),
            (secure, "intel", squid, second),
            (other, "intel", second, squid),
        ):
            marks = by.mark(), not_by.mark()
            assert await get(face, f"{url.url}/", settings, purpose) == b"hello"  # type: ignore[arg-type]
            by.wait_for(lambda one, at=url.address: at in one.target, since=marks[0])  # type: ignore[misc]
            assert not reached(not_by, marks[1], url.address)


async def test_purposes_share_no_connection(
    squid: Squid, second: Squid, secure: Destination, outside_ca: Authority
) -> None:
    """The same destination by one client: a kept connection goes the way of its purpose only."""
    rules = [{"name": "a", "use": "proxy", "proxies": ["second"], "purposes": ["alerts"]}]
    client = EgressClient(build(squid.url, second, outside_ca, rules=rules))
    marks = squid.mark(), second.mark()
    try:
        for purpose in ("intel", "alerts", "intel", "alerts"):
            await client.request("GET", f"{secure.url}/", purpose=purpose)
    finally:
        await client.aclose()
    squid.wait_for(lambda one: secure.address in one.target, since=marks[0])
    second.wait_for(lambda one: secure.address in one.target, since=marks[1])
    for log, mark in ((squid, marks[0]), (second, marks[1])):
        assert len([one for one in log.log[mark:] if secure.address in one.target]) == 1


@pytest.mark.parametrize("face", FACES)
async def test_strict_mode_dials_nothing(
    face: str, squid: Squid, secure: Destination, outside_ca: Authority
) -> None:
    settings = ProxySettings.build(
        http_proxy=squid.url,
        ca=outside_ca.pem,
        more={"strict": True, "allowed": [f"dest.test:{secure.port}"]},
    )
    assert await get(face, f"{secure.url}/", settings) == b"hello"
    mark, records = squid.mark(), list[ConnectionRecord]()
    with pytest.raises(NotAllowedError) as error:
        await get(face, "https://other.test/", settings, records=records)
    assert error.value.code == "egress.not_allowed"
    # A redirect out of the list is refused as well.
    with pytest.raises(NotAllowedError):
        fetch(f"{secure.url}/to?url=https://other.test/", settings, purpose="registry", redirects=3)
    assert not reached(squid, mark, "other.test")
    assert records == []
    shown = check_connection("https://other.test/", settings, purpose="registry").as_dict()
    assert (shown["ok"], shown["route"]["route"]) == (False, "refused")
    assert shown["error"]["code"] == "egress.not_allowed"


@pytest.mark.parametrize("face", FACES)
async def test_a_ca_for_one_destination(
    face: str, squid: Squid, second: Squid, outside_ca: Authority, other_ca: Authority
) -> None:
    """Two private CAs, each trusted where it belongs and nowhere else."""
    with (
        serve("dest.test", outside_ca.server_context("dest.test")) as dest,
        serve("other.test", other_ca.server_context("other.test")) as other,
        serve("other.test", outside_ca.server_context("other.test")) as swapped,
    ):
        cas = [
            {"destinations": ["dest.test"], "ca": outside_ca.pem},
            {"destinations": [f"other.test:{other.port}", "x.test"], "ca": other_ca.pem},
        ]
        settings = build(squid.url, second, destination_ca=cas)
        assert await get(face, f"{dest.url}/", settings) == b"hello"
        assert await get(face, f"{other.url}/", settings) == b"hello"
        for url, without in ((swapped.url, cas), (dest.url, cas[1:]), (other.url, cas[:1])):
            with pytest.raises(UnknownCaError):
                await get(face, f"{url}/", build(squid.url, second, destination_ca=without))
        client = EgressClient(settings)
        try:
            socket_ = await client.websocket(other.ws, purpose="fleet")
            await socket_.close()
            assert (await client.test(f"{dest.url}/", purpose="intel")).ok
        finally:
            await client.aclose()


PAC = """
function FindProxyForURL(url, host) {
  if (host === "other.test") return "PROXY 127.0.0.1:%d";
  return "PROXY 127.0.0.1:%d; PROXY 127.0.0.1:%d";
}
"""


@pytest.mark.parametrize("face", FACES)
async def test_pac_over_http_decides(
    face: str,
    squid: Squid,
    second: Squid,
    secure: Destination,
    closed: int,
    outside_ca: Authority,
    tmp_path: Path,
) -> None:
    """The file itself comes directly; its lists fail over like any other."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    asked: list[str] = []
    text = PAC % (second.port, closed, squid.port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        settings = ProxySettings.build(
            ca=outside_ca.pem,
            more={"pac_url": f"http://127.0.0.1:{server.server_port}/{face}.pac"},
        )
        with serve("other.test", outside_ca.server_context("other.test")) as other:
            marks = squid.mark(), second.mark()
            assert await get(face, f"{secure.url}/", settings) == b"hello"
            assert await get(face, f"{other.url}/", settings) == b"hello"
            squid.wait_for(lambda one: secure.address in one.target, since=marks[0])
            second.wait_for(lambda one: other.address in one.target, since=marks[1])
            assert not reached(second, marks[1], secure.address)
        found = check_connection(f"{secure.url}/", settings, purpose="intel")
        assert found.ok
        assert found.route["decided_by"] == "pac"
        assert "PROXY" not in found.steps[0].detail
        assert found.steps[0].target == "PAC file"
        server.shutdown()
        thread.join(5)
    assert set(asked) == {f"/{face}.pac"}


@pytest.mark.parametrize("face", FACES)
async def test_a_pac_file_that_fails_opens_nothing(
    face: str, plain: Destination, tmp_path: Path
) -> None:
    """Neither directly nor by HTTP Proxy; the destination is reachable directly here."""
    path = tmp_path / "loop.pac"
    path.write_text("function FindProxyForURL(url, host) {\n return undefinedThing;\n}")
    settings = ProxySettings.build(more={"pac_url": path.as_uri()})
    with pytest.raises(EgressError) as error:
        await get(face, f"http://dest.test:{plain.port}/", settings)
    assert error.value.code == "egress.pac_script"
    assert "line 2" in error.value.message
    assert error.value.trace is not None
    assert [step.target for step in error.value.trace.steps] == ["PAC file"]
    assert plain.seen == []


def test_a_body_in_flight_outlives_its_settings(
    squid: Squid, second: Squid, secure: Destination, outside_ca: Authority
) -> None:
    """The blocking face holds its connection: other settings are for the next one."""
    settings = build(squid.url, second, outside_ca)
    with open_body(f"{secure.url}/bytes/3000000", settings, purpose="registry") as body:
        head = body.read(1000)
        HEALTH.forget()
        other = build(second.url, second, outside_ca)
        assert fetch(f"{secure.url}/", other, purpose="registry").body == b"hello"
        assert len(head + body.read()) == 3_000_000
