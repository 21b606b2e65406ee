"""An inspecting proxy that is not Squid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from garrison.egress import ProxySettings, open_body
from garrison.egress.http import EgressClient
from lab.authority import Authority
from lab.mitmproxy import Mitmproxy
from tests.integration.egress.conftest import HOST
from tests.integration.egress.destination import Destination, pattern, serve
from tests.integration.egress.test_egress_faults import run, told

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def mitmproxy(outside_ca: Authority) -> Iterator[Mitmproxy]:
    with Mitmproxy(names=[HOST], trust=outside_ca.certificate) as proxy:
        yield proxy


async def test_with_its_ca_every_face_passes(mitmproxy: Mitmproxy, secure: Destination) -> None:
    found = ProxySettings.build(http_proxy=mitmproxy.url, ca=mitmproxy.ca)
    result = await run(secure.url, found)
    assert result.ok, result.as_dict()
    assert "mitmproxy" in (result.intercepted_by or "")
    with open_body(f"{secure.url}/bytes/1000000", found, purpose="registry") as body:
        assert body.read() == pattern(1_000_000)
    client = EgressClient(found)
    try:
        answer = await client.request("POST", f"{secure.url}/echo", purpose="alerts", data=b"x")
        assert answer.json()["body"] == "x"
        socket = await client.websocket(secure.ws, purpose="fleet")
        await socket.send(pattern(100_000))
        assert await socket.receive() == pattern(100_000)
        await socket.close()
    finally:
        await client.aclose()


async def test_plain_http_passes(mitmproxy: Mitmproxy, plain: Destination) -> None:
    assert (await run(plain.url, ProxySettings.build(http_proxy=mitmproxy.url))).ok


async def test_without_its_ca_it_is_named(mitmproxy: Mitmproxy, secure: Destination) -> None:
    result = await run(secure.url, ProxySettings.build(http_proxy=mitmproxy.url))
    assert told(result)[0] == "egress.tls_intercepted"
    assert result.error is not None
    assert "mitmproxy" in result.error["message"]


async def test_destination_that_it_rejects(mitmproxy: Mitmproxy, other_ca: Authority) -> None:
    """Its 502 is its own, not the destination's."""
    found = ProxySettings.build(http_proxy=mitmproxy.url, ca=mitmproxy.ca)
    with serve(HOST, other_ca.server_context(HOST)) as bad:
        result = await run(bad.url, found)
    assert told(result)[0] == "egress.inspector_failed"
