"""No proxy is set, and one is there all the same: a router hands 80 and 443 to Squid."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from garrison.egress import ProxySettings, TrustBundle, check_connection, open_body
from garrison.egress.http import EgressClient
from lab.authority import Authority
from lab.network import Network
from lab.slack import Slack
from lab.squid import Squid

pytestmark = pytest.mark.network

PLAIN = "feed.test"


@dataclass
class Place:
    net: Network
    squid: Squid
    slack: Slack
    ca: Authority


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("transparent")
    outside = Authority(folder / "outside", "Outside CA")
    inspecting = Authority(folder / "inspecting", "ACME TLS Inspection CA", algorithm="rsa")
    (folder / "www").mkdir()
    (folder / "www/file").write_text("plain")
    with (
        Network(transparent=True) as net,
        Slack(net, outside) as slack,
        net.popen(
            "outside",
            [sys.executable, "-u", "-m", "http.server", "80", "--bind", net.address(PLAIN),
             "--directory", str(folder / "www")],
            directory=folder,
            name="plain",
        ) as web,
        Squid(
            net=net, bump=inspecting, trust=[outside.certificate], intercept=True
        ) as squid,
    ):  # fmt: skip
        net.wait_port("outside", net.address(PLAIN), 80, web)
        net.redirect({80: squid.intercept_port, 443: squid.intercept_tls_port})
        yield Place(net, squid, slack, inspecting)


def check(url: str, ca: str, timeout: float = 10) -> dict[str, Any]:
    found = ProxySettings.build(ca=ca)
    return check_connection(url, found, purpose="alerts", timeout=timeout).as_dict()


def read(url: str, ca: str) -> tuple[int, bytes]:
    with open_body(url, ProxySettings.build(ca=ca), purpose="registry") as body:
        return body.status, body.read()


def ask(url: str, ca: str) -> int:
    async def main() -> int:
        client = EgressClient(ProxySettings.build(ca=ca))
        try:
            return (await client.request("GET", url, purpose="alerts")).status
        finally:
            await client.aclose()

    return asyncio.run(main())


def test_with_the_ca_all_works(place: Place) -> None:
    mark, ca = place.squid.mark(), place.ca.pem
    result = place.net.call("console", check, place.slack.url, ca)
    assert result["ok"], result
    assert result["route"]["route"] == "direct"
    assert result["intercepted_by"] == "ACME Corp, ACME TLS Inspection CA"
    assert place.net.call("console", ask, place.slack.url, ca) == 200
    assert place.net.call("console", read, f"http://{PLAIN}/file", ca) == (200, b"plain")
    entries = place.squid.wait_entries(3, since=mark)
    assert {one.client for one in entries} == {place.net.address("console.test")}


def test_without_the_ca_the_issuer_is_named(place: Place) -> None:
    result = place.net.call("console", check, place.slack.url, "")
    error = result["error"]
    assert (error["code"], error["hop"], error["who"]) == ("egress.tls_intercepted", "tls", "you")
    assert "ACME TLS Inspection CA" in error["message"]
    assert "although no proxy is used" in error["message"]
    (certificate,) = TrustBundle.parse(place.ca.pem).certificates
    assert certificate.fingerprint in error["hint"]


def test_plain_http_needs_no_ca(place: Place) -> None:
    assert place.net.call("console", check, f"http://{PLAIN}/file", "")["ok"]


def test_nothing_else_leads_out(place: Place) -> None:
    """So what passed above passed through Squid."""
    result = place.net.call("console", check, f"https://{PLAIN}:8443/", "", 1.0)
    assert not result["ok"]


def test_plain_websocket_through_an_inspecting_tunnel(place: Place) -> None:
    """`ws://` by CONNECT: Squid waits for TLS in every tunnel, and says nothing when none comes."""

    def look(url: str, proxy: str) -> tuple[str, str]:
        found = ProxySettings.build(http_proxy=proxy)

        async def main() -> str:
            client = EgressClient(found)
            try:
                await client.websocket(url, purpose="fleet", timeout=8)
            except Exception as error:
                return str(getattr(error, "code", error))
            finally:
                await client.aclose()
            return ""

        test = check_connection(url, found, purpose="fleet", timeout=8).as_dict()
        return test["error"]["code"], asyncio.run(main())

    codes = place.net.call("console", look, f"ws://{PLAIN}/", place.squid.url)
    assert codes == ("egress.tunnel_inspected", "egress.tunnel_inspected")
