"""Redirects and token services that lead inside this network, by name and by address."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from garrison.egress import ProxySettings, fetch
from garrison.egress.errors import LedAstrayError
from garrison.egress.http import EgressClient
from lab.authority import Authority
from lab.squid import Squid
from tests.integration.egress.conftest import settings
from tests.integration.egress.destination import Destination

DIRECT = ProxySettings()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names that this machine resolves, for the time of a test."""
    found: dict[str, str] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        return real(found.get(host, host), port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return found


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://inside.test/",
    ],
)
@pytest.mark.parametrize("face", ["async", "blocking"])
async def test_a_proxied_registry_leads_to_no_metadata(
    url: str,
    face: str,
    squid: Squid,
    secure: Destination,
    outside_ca: Authority,
    names: dict[str, str],
) -> None:
    names["inside.test"] = "169.254.169.254"
    way = settings(squid, outside_ca, no_proxy="inside.test")
    source = f"{secure.url}/to?url={url}"
    client = EgressClient(way)
    try:
        with pytest.raises(LedAstrayError) as error:
            if face == "blocking":
                fetch(source, way, purpose="registry", redirects=3)
            else:
                await client.request("GET", source, purpose="registry", redirects=3)
    finally:
        await client.aclose()
    assert error.value.code == "egress.led_astray"
    assert "dest.test sends us to" in error.value.message
    # Nothing was connected to: the trace ends where the name was resolved.
    assert error.value.trace is not None
    assert [step.hop for step in error.value.trace.steps] == ["resolve"]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "loop.test", "10.0.0.1"])
def test_nor_to_this_machine_or_network(
    host: str,
    squid: Squid,
    secure: Destination,
    plain: Destination,
    outside_ca: Authority,
    names: dict[str, str],
) -> None:
    names["loop.test"] = "127.0.0.1"
    way = settings(squid, outside_ca, no_proxy="loop.test 10.0.0.0/8")
    with pytest.raises(LedAstrayError):
        fetch(f"{secure.url}/to?url=http://{host}:{plain.port}/", way, purpose="registry",
              redirects=3)  # fmt: skip
    assert plain.seen == []


def test_a_registry_on_this_machine_may_stay_there(plain: Destination) -> None:
    local = f"http://127.0.0.1:{plain.port}"
    answer = fetch(f"{local}/to?url={local}/", DIRECT, purpose="registry", redirects=3)
    assert answer.body == b"hello"
    with pytest.raises(LedAstrayError):
        fetch(f"{local}/to?url=http://169.254.169.254/", DIRECT, purpose="registry", redirects=3)


async def test_a_kept_connection_is_no_way_around(plain: Destination, squid: Squid) -> None:
    """The client has an open connection to this machine; a redirect does not get it."""
    way = settings(squid)
    client = EgressClient(way)
    try:
        inside = f"http://127.0.0.1:{plain.port}/"
        assert (await client.request("GET", inside, purpose="registry")).body == b"hello"
        with pytest.raises(LedAstrayError):
            await client.request(
                "GET", f"{plain.url}/to?url={inside}", purpose="registry", redirects=1
            )
    finally:
        await client.aclose()
