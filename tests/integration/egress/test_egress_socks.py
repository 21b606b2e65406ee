"""Every face of egress through a real SOCKS5 server, and each of its refusals."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from garrison.egress import ProxySettings, check_connection, fetch, open_body
from garrison.egress.http import EgressClient
from lab import faults as bad
from lab.authority import Authority
from lab.dante import Dante
from lab.faults import scripted
from lab.squid import Squid
from tests.integration.egress.conftest import HOST, settings
from tests.integration.egress.destination import Destination, pattern
from tests.integration.egress.test_egress_faults import run, told

USER, PASSWORD = "bob", "p@ss:w/rd%20ü"


@pytest.fixture(scope="module")
def dante() -> Iterator[Dante]:
    """Open to all; port 9 is against its rules."""
    with Dante(names=[HOST], denied_ports=[9]) as found:
        yield found


@pytest.fixture(scope="module")
def dante_users() -> Iterator[Dante]:
    with Dante(names=[HOST], users={USER: PASSWORD}) as found:
        yield found


@dataclass
class Way:
    dante: Dante
    settings: ProxySettings
    user: str | None = None


@pytest.fixture(params=["open", "users"])
def way(request: pytest.FixtureRequest, outside_ca: Authority) -> Way:
    if request.param == "open":
        dante: Dante = request.getfixturevalue("dante")
        return Way(dante, settings(f"socks5h://{dante.where}", outside_ca))
    dante = request.getfixturevalue("dante_users")
    found = settings(f"socks5h://{dante.where}", outside_ca, user=USER, password=PASSWORD)
    return Way(dante, found, USER)


@asynccontextmanager
async def client(found: ProxySettings) -> AsyncIterator[EgressClient]:
    egress = EgressClient(found)
    try:
        yield egress
    finally:
        await egress.aclose()


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_every_face_passes(way: Way, kind: str, request: pytest.FixtureRequest) -> None:
    """Dante alone knows the name; plain HTTP is a tunnel too, in origin form."""
    destination: Destination = request.getfixturevalue(kind)
    async with client(way.settings) as egress:
        answer = await egress.request("POST", f"{destination.url}/echo?x=1", purpose="alerts",
                                      json={"a": 1})  # fmt: skip
        assert answer.json()["path"] == "/echo?x=1"
        async with egress.stream("GET", f"{destination.url}/bytes/300000", purpose="intel") as got:
            assert b"".join([chunk async for chunk in got.chunks()]) == pattern(300_000)
        websocket = await egress.websocket(destination.ws, purpose="fleet")
        await websocket.send(pattern(100_000))
        assert await websocket.receive() == pattern(100_000)
        await websocket.close()
    with open_body(f"{destination.url}/bytes/300000", way.settings, purpose="registry") as body:
        assert body.read() == pattern(300_000)

    assert "proxy-authorization" not in destination.headers_seen.lower()
    if way.user:
        way.dante.wait_log(f"username%{way.user}@127.0.0.1")


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_test_reports_each_hop(way: Way, kind: str, request: pytest.FixtureRequest) -> None:
    destination: Destination = request.getfixturevalue(kind)
    result = await run(destination.url, way.settings)

    assert result.ok, result.as_dict()
    expected = ["resolve", "tcp", *(["proxy-auth"] if way.user else []), "tunnel"]
    expected += ["tls", "http"] if kind == "secure" else ["http"]
    assert [step.hop for step in result.steps] == expected
    assert PASSWORD not in str(result.as_dict())


async def test_socks5_resolves_here(
    dante: Dante, outside_ca: Authority, secure: Destination
) -> None:
    """`dest.test` is known to Dante alone: the same proxy, and another answer."""
    found = settings(f"socks5://{dante.where}", outside_ca)
    assert told(await run(secure.url, found)) == ("egress.socks_unresolved", "resolve", "you")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_proxy_by_ipv6(scheme: str, secure: Destination) -> None:
    with Dante(names=[HOST], address="::1") as six:
        result = await run(secure.url, settings(f"{scheme}://[::1]:{six.port}"))
    if scheme == "socks5":
        assert told(result)[0] == "egress.socks_unresolved"
    else:
        # Through the tunnel, up to the certificate that nobody trusts.
        assert told(result)[0] == "egress.tls_unknown_ca"


# --- refusals -------------------------------------------------------------------------------


async def test_refusals_of_dante(dante: Dante, dante_users: Dante) -> None:
    open_, users = (settings(f"socks5h://{one.where}") for one in (dante, dante_users))
    wrong = settings(f"socks5h://{dante_users.where}", user=USER, password="wrong")

    assert told(await run(f"http://{HOST}:9/", open_)) == ("egress.proxy_denied", "tunnel", "proxy")
    assert told(await run(f"http://{HOST}:1/", open_))[:2] == (
        "egress.proxy_cannot_connect", "tunnel")  # fmt: skip
    assert told(await run("http://nosuch.test/", open_))[:2] == (
        "egress.proxy_cannot_forward", "tunnel")  # fmt: skip
    assert told(await run(f"http://{HOST}/", users)) == (
        "egress.proxy_auth_required", "proxy-auth", "you")  # fmt: skip
    assert told(await run(f"http://{HOST}/", wrong)) == (
        "egress.proxy_auth_refused", "proxy-auth", "you")  # fmt: skip


REPLIES = {
    1: ("egress.socks_failed", "proxy"),
    2: ("egress.proxy_denied", "proxy"),
    3: ("egress.proxy_no_route", "proxy"),
    4: ("egress.proxy_cannot_forward", "you"),
    5: ("egress.proxy_cannot_connect", "destination"),
    6: ("egress.proxy_upstream_timeout", "destination"),
    7: ("egress.socks_no_connect", "proxy"),
    8: ("egress.socks_names", "you"),
}


@pytest.mark.parametrize("reply", REPLIES)
async def test_each_reply_has_its_cause(reply: int) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(3)
        for byte in b"\x05\x00":
            connection.sendall(bytes([byte]))
        connection.recv(300)
        connection.sendall(bytes([5, reply, 0, 1]) + bytes(6))

    with scripted(script) as port:
        result = await run(f"https://{HOST}/", settings(f"socks5h://127.0.0.1:{port}"))
    code, who = REPLIES[reply]
    assert told(result) == (code, "tunnel", who)


async def test_no_method_suits() -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(4)
        connection.sendall(b"\x05\xff")

    with scripted(script) as port:
        url = f"socks5h://127.0.0.1:{port}"
        none = await run(f"https://{HOST}/", settings(url))
        some = await run(f"https://{HOST}/", settings(url, user="u", password="p"))
        long = await run(f"https://{HOST}/", settings(url, user="u", password="p" * 256))

    assert told(none) == ("egress.proxy_auth_required", "proxy-auth", "you")
    assert told(some) == ("egress.socks_sign_in", "proxy-auth", "proxy")
    assert told(long)[0] == "egress.socks_credentials"


@pytest.mark.long
async def test_wrong_scheme_is_named(squid: Squid, dante: Dante) -> None:
    """Each speaks its own protocol, and the hint says what to write."""
    socks_to_http = await run(f"https://{HOST}/", settings(f"socks5h://127.0.0.1:{squid.port}"))
    http_to_socks = await run(f"https://{HOST}/", settings(f"http://{dante.where}"))

    assert told(socks_to_http)[0] == "egress.proxy_speaks_http"
    assert socks_to_http.error is not None
    assert f"http://127.0.0.1:{squid.port}" in socks_to_http.error["hint"]
    assert told(http_to_socks)[0] == "egress.proxy_speaks_socks"
    assert http_to_socks.error is not None
    assert f"socks5h://{dante.where}" in http_to_socks.error["hint"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (bad.closes_at_once, "egress.proxy_closed"),
        (bad.ssh, "egress.proxy_not_socks"),
        (bad.hangs, "egress.proxy_silent"),
    ],
)
async def test_misbehaving_socks_proxy(script: bad.Script, code: str) -> None:
    with scripted(script) as port:
        found = settings(f"socks5h://127.0.0.1:{port}")
        assert told(await run(f"https://{HOST}/", found, timeout=1.0))[0] == code


def test_both_addresses_of_a_name_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, outside_ca: Authority, secure: Destination
) -> None:
    """`socks5://`: where the first address is refused by the proxy, the second may do."""
    asked: list[bytes] = []

    def script(connection: socket.socket) -> None:
        connection.recv(3)
        connection.sendall(b"\x05\x00")
        request = connection.recv(300)
        asked.append(request)
        if len(asked) == 1:
            connection.sendall(b"\x05\x04\x00\x01" + bytes(6))
            return
        connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
        with socket.socket() as there:
            there.connect(("127.0.0.1", secure.port))
            bad.relay(connection, there)

    resolve = socket.getaddrinfo

    def two(host: str, port: int, *args: object, **kwargs: object) -> object:
        if host != HOST:
            return resolve(host, port, *args, **kwargs)  # type: ignore[arg-type]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n}", port)) for n in (1, 2)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with scripted(script) as port:
        found = settings(f"socks5://127.0.0.1:{port}", outside_ca)
        result = check_connection(secure.url, found, purpose="registry", timeout=5)
        answer = fetch(f"{secure.url}/bytes/10", found, purpose="registry")

    assert result.ok, result.as_dict()
    assert [step.detail for step in result.steps if step.hop == "tunnel"] == [
        f"SOCKS5 to 192.0.2.2:{secure.port}"
    ]
    assert answer.body == pattern(10)
    assert [one[4:8] for one in asked[:2]] == [bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])]
