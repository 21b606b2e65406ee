"""Each kind of Squid does what it is for, seen by curl."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.authority import Authority
from lab.http import request
from lab.network import PROXY_NAME, Network
from lab.registry import Registry
from lab.squid import AccessEntry, Squid
from tests.lab.conftest import SQUID_PASSWORD, SQUID_USER, Curl

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def registry(net: Network, public_ca: Authority) -> Iterator[Registry]:
    with Registry(net, public_ca) as running:
        yield running


@pytest.fixture(scope="module")
def squid(net: Network) -> Iterator[Squid]:
    with Squid(net=net) as running:
        yield running


def test_plain_squid_is_the_only_way_out(curl: Curl, registry: Registry, squid: Squid) -> None:
    assert curl(registry.url + "/v2/").exit_code == 6
    fetched = curl(registry.url + "/v2/", proxy=squid)
    assert (fetched.exit_code, fetched.status) == (0, 200)
    assert squid.wait_for(lambda entry: entry.method == "CONNECT").target == "registry.test:443"
    assert squid.tunnels() == ["registry.test:443"]


def test_asks_for_a_password_and_takes_only_the_right_one(
    curl: Curl, registry: Registry, squid: Squid
) -> None:
    squid.require_basic(SQUID_USER, SQUID_PASSWORD)
    try:
        url = registry.url + "/v2/"
        mark = squid.mark()
        assert curl(url, proxy=squid).connect_status == 407
        assert curl(url, proxy=squid, user=f"{SQUID_USER}:wrong").connect_status == 407
        assert curl(url, proxy=squid, user=f"Agent:{SQUID_PASSWORD}").connect_status == 407
        assert curl(url, proxy=squid, user=f"{SQUID_USER}:{SQUID_PASSWORD}").status == 200
        squid.wait_for(lambda entry: entry.status == 200, since=mark)
        seen = [(entry.status, entry.user) for entry in squid.entries_since(mark)]
        assert seen == [(407, None), (407, SQUID_USER), (407, "Agent"), (200, SQUID_USER)]
    finally:
        squid.require_nothing()
    assert curl(registry.url + "/v2/", proxy=squid).status == 200


def test_refuses_ports_and_names(curl: Curl, registry: Registry, squid: Squid) -> None:
    url = registry.url + "/v2/"
    squid.deny_ports([443])
    assert curl(url, proxy=squid).connect_status == 403
    squid.deny_ports([])
    squid.allow_only(["feed.test"])
    assert curl(url, proxy=squid).connect_status == 403
    squid.allow_only(None)
    squid.deny_hosts(["registry.test"])
    assert curl(url, proxy=squid).connect_status == 403
    squid.deny_hosts([])
    assert curl(url, proxy=squid).status == 200


def test_reports_tunnels_that_are_still_open(net: Network, registry: Registry) -> None:
    """The access log has a tunnel only once it is closed; a Defender's session stays open."""
    with Squid(net=net) as squid:
        client = net.connect("remote", net.proxy_address("remote"), squid.port)
        client.sendall(b"CONNECT registry.test:443 HTTP/1.1\r\nHost: registry.test:443\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert squid.open_tunnels() == ["registry.test:443"]
        assert squid.tunnels() == []
        client.close()
        squid.wait_for(lambda entry: entry.method == "CONNECT")
        assert squid.open_tunnels() == []


def test_two_at_once_keep_separate_logs(curl: Curl, net: Network, registry: Registry) -> None:
    with Squid(net=net, name="old") as old, Squid(net=net, name="new") as new:
        curl(registry.url + "/v2/", proxy=new)
        new.wait_for(lambda entry: entry.status == 200)
        assert old.log == []


def test_a_restart_keeps_the_port(curl: Curl, net: Network, registry: Registry) -> None:
    with Squid(net=net) as squid:
        port = squid.port
        squid.restart()
        assert squid.port == port
        assert curl(registry.url + "/v2/", proxy=squid).status == 200


def test_https_squid_shows_its_own_certificate(
    curl: Curl, net: Network, registry: Registry, tmp_path: Path
) -> None:
    """Of an authority of the company's own, which no system store has."""
    own = Authority(tmp_path, "ACME Internal CA")
    users = {SQUID_USER: SQUID_PASSWORD}
    with Squid(net=net, tls=own.issue(PROXY_NAME), users=users) as squid:
        assert squid.url.startswith("https://")
        url, user = registry.url + "/v2/", f"{SQUID_USER}:{SQUID_PASSWORD}"
        assert curl(url, proxy=squid, user=user, proxy_ca=own.certificate).status == 200
        assert curl(url, proxy=squid, proxy_ca=own.certificate).connect_status == 407
        assert curl(url, proxy=squid, user=user).exit_code == 60


def test_bumping_squid_needs_its_authority_and_sees_requests(
    curl: Curl,
    net: Network,
    registry: Registry,
    public_ca: Authority,
    inspection_ca: Authority,
) -> None:
    with Squid(
        net=net,
        bump=inspection_ca,
        trust=[public_ca.certificate],
        users={SQUID_USER: SQUID_PASSWORD},
    ) as squid:
        url, user = registry.url + "/v2/", f"{SQUID_USER}:{SQUID_PASSWORD}"
        assert curl(url, proxy=squid, user=user).exit_code == 60
        assert curl(url, proxy=squid, user=user, ca=inspection_ca.certificate).status == 200
        seen = squid.wait_for(lambda entry: entry.method == "GET")
        assert (seen.target, seen.user, seen.bump) == (url, SQUID_USER, "bump")


def test_bumping_squid_refuses_a_destination_it_does_not_trust(
    curl: Curl, net: Network, registry: Registry, public_ca: Authority, inspection_ca: Authority
) -> None:
    with Squid(net=net, bump=inspection_ca) as squid:
        url = registry.url + "/v2/"
        assert curl(url, proxy=squid, ca=inspection_ca.certificate).status == 503
        squid.trust_also(public_ca.certificate)
        assert curl(url, proxy=squid, ca=inspection_ca.certificate).status == 200


def test_runs_without_a_network_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Squid() as squid:
        assert squid.url == f"http://127.0.0.1:{squid.port}"
        assert squid.open_tunnels() == []


def test_tls_and_bump_do_not_go_together(public_ca: Authority) -> None:
    with pytest.raises(ValueError, match="not both"):
        Squid(tls=public_ca.issue(PROXY_NAME), bump=public_ca)


def test_reads_a_log_line() -> None:
    entry = AccessEntry.parse("1.5 10.0.0.1 CONNECT a.test:443 407 TCP_DENIED - - -")
    assert (entry.time, entry.method, entry.target) == (1.5, "CONNECT", "a.test:443")
    assert (entry.status, entry.result, entry.user) == (407, "TCP_DENIED", None)
    with pytest.raises(ValueError, match="not an access log line"):
        AccessEntry.parse("too short")


def test_the_lab_client_needs_no_proxy(net: Network, registry: Registry) -> None:
    assert request(net, "outside", "GET", registry.url + "/v2/", trust=net.public_ca).status == 200
