"""Addresses as people write them."""

from __future__ import annotations

import pytest

from garrison.egress import BadUrlError, Endpoint, ProxyAddress, Target


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("Example.TEST.", "example.test:80"),
        ("bücher.test", "xn--bcher-kva.test:80"),
        ("10.0.0.1", "10.0.0.1:80"),
        ("[FD00:0::1]", "[fd00::1]:80"),
        ("::ffff:10.0.0.1", "10.0.0.1:80"),
    ],
)
def test_endpoint_is_normal(host: str, shown: str) -> None:
    assert str(Endpoint(host, 80)) == shown


@pytest.mark.parametrize("host", ["", ".", "a b", "127.1", "2130706433", "0x7f.1", "a..b", "-a"])
def test_what_is_no_host_is_refused(host: str) -> None:
    """Resolvers read `127.1` as an address, which no rule would have seen."""
    with pytest.raises(ValueError):
        Endpoint(host, 80)


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError):
        Endpoint("a.test", port)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://proxy.corp.test:8080", "http://proxy.corp.test:8080"),
        ("HTTPS://Proxy:3129/", "https://proxy:3129"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("http://10.0.0.1:3128", "http://10.0.0.1:3128"),
    ],
)
def test_proxy_address(text: str, shown: str) -> None:
    assert str(ProxyAddress.parse(text)) == shown
    assert ProxyAddress.parse(shown) == ProxyAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("proxy.corp.test:8080", "write http://proxy.corp.test:8080"),
        ("u:secret@proxy:8080", "write http://proxy:8080"),
        ("http://proxy", "http://proxy:PORT"),
        ("http://u:secret@proxy:1", "credentials"),
        ("http://u@proxy:1", "credentials"),
        ("socks4://proxy:1080", "socks4:// proxies are not supported"),
        ("http://proxy:80/pac", "ends after its port"),
        ("http://proxy:99999", "port is not a number"),
        ("http://proxy:x", "port is not a number"),
        ("http://:80", "host is missing"),
        ("http://a b:80", "spaces"),
        ("http://pro\nxy:80", "spaces"),
        ("http://[::1:80", "host cannot be read"),
        ("http://127.1:80", "not a complete IP address"),
    ],
)
def test_bad_proxy_address(text: str, says: str) -> None:
    with pytest.raises(ValueError) as error:
        ProxyAddress.parse(text)
    assert says in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "endpoint", "resource", "absolute"),
    [
        ("https://a.test", "a.test:443", "/", "https://a.test/"),
        ("http://a.test:80/x?y=1#z", "a.test:80", "/x?y=1", "http://a.test/x?y=1"),
        ("wss://a.test:8084/ws", "a.test:8084", "/ws", "wss://a.test:8084/ws"),
        ("https://[::1]:8443/", "[::1]:8443", "/", "https://[::1]:8443/"),
        ("https://[::1]/", "[::1]:443", "/", "https://[::1]/"),
        ("https://a.test/ü?ö=%20", "a.test:443", "/%C3%BC?%C3%B6=%20",
         "https://a.test/%C3%BC?%C3%B6=%20"),
    ],
)  # fmt: skip
def test_target(url: str, endpoint: str, resource: str, absolute: str) -> None:
    target = Target.parse(url)
    assert str(target.endpoint) == endpoint
    assert target.resource == resource
    assert target.absolute == absolute


@pytest.mark.parametrize(
    "url", ["", "a.test", "ftp://a.test/", "https://", "https://u:secret@a.test/", "https://a b/"]
)
def test_bad_url(url: str) -> None:
    with pytest.raises(BadUrlError) as error:
        Target.parse(url)
    assert error.value.code == "egress.bad_url"
    assert error.value.hint
    assert "secret" not in str(error.value)
