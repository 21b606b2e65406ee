"""tinyproxy, IPv6 on every side, names in other scripts."""

from __future__ import annotations

import pytest

from garrison.egress import fetch
from garrison.egress.http import EgressClient
from lab.authority import Authority
from lab.dante import Dante
from lab.strict import StrictProxy
from lab.tinyproxy import Tinyproxy
from tests.integration.egress.conftest import HOST, settings
from tests.integration.egress.destination import Destination, pattern, serve
from tests.integration.egress.test_egress_faults import run

IDNA, ASCII = "bücher.test", "xn--bcher-kva.test"


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_every_face_through_tinyproxy(
    kind: str, outside_ca: Authority, request: pytest.FixtureRequest
) -> None:
    """It answers in HTTP/1.0, and closes after each 407."""
    destination: Destination = request.getfixturevalue(kind)
    with Tinyproxy(user=("agent", "pass.word"), names=[HOST]) as proxy:
        found = settings(proxy.url, outside_ca, user="agent", password="pass.word")
        result = await run(destination.url, found)
        assert result.ok, result.as_dict()
        assert fetch(f"{destination.url}/bytes/9", found, purpose="intel").body == pattern(9)
        client = EgressClient(found)
        try:
            for _ in range(2):
                answer = await client.request("POST", f"{destination.url}/echo", purpose="alerts",
                                              data=b"x")  # fmt: skip
                assert answer.json()["body"] == "x"
            socket = await client.websocket(destination.ws, purpose="fleet")
            await socket.send(b"hello")
            assert await socket.receive() == b"hello"
            await socket.close()
        finally:
            await client.aclose()


@pytest.mark.parametrize("name", [IDNA, ASCII, "BÜCHER.TEST."])
async def test_names_in_other_scripts(name: str, outside_ca: Authority) -> None:
    """The same destination in every spelling; the proxy hears the `xn--` form."""
    with serve(ASCII, outside_ca.server_context(ASCII)) as destination:
        url = f"https://{name}:{destination.port}/"
        with StrictProxy(users={"u": "p"}, names=[ASCII]) as proxy:
            result = await run(url, settings(proxy.url, outside_ca, user="u", password="p"))
            assert result.ok, result.as_dict()
            assert {one.target for one in proxy.seen} == {f"{ASCII}:{destination.port}"}
        with Dante(names=[ASCII]) as dante:
            result = await run(url, settings(f"socks5h://{dante.where}", outside_ca))
            assert result.ok, result.as_dict()


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
async def test_ipv6_literal_reaches_the_proxy(scheme: str) -> None:
    """In brackets to an HTTP proxy, as sixteen bytes to SOCKS; neither has a way there."""
    with Dante() as dante, StrictProxy(users={"u": "p"}) as proxy:
        where = f"127.0.0.1:{proxy.port}" if scheme == "http" else dante.where
        found = settings(f"{scheme}://{where}", user="u", password="p")
        result = await run("https://[2001:db8::1]:8443/", found)
        assert result.error is not None
        assert result.error["hop"] == "tunnel"
        if scheme == "http":
            assert {one.target for one in proxy.seen} == {"[2001:db8::1]:8443"}
        else:
            dante.wait_log("2001:db8::1.8443")
