"""Routes say why, before anything is opened."""

from __future__ import annotations

import pytest

from garrison.egress import (
    BadUrlError,
    Direct,
    Endpoint,
    ProxySettings,
    ViaProxy,
    choose_route,
    explain,
)

SETTINGS = ProxySettings.build(
    http_proxy="http://proxy.corp.test:8080", no_proxy=".corp.test 10.0.0.0/8"
)


@pytest.mark.parametrize(
    ("host", "kind", "because"),
    [
        ("hooks.slack.test", ViaProxy, "the proxy; no bypass entry matches"),
        ("console.corp.test", Direct, "bypass entry .corp.test"),
        ("corp.test", ViaProxy, "the proxy; no bypass entry matches"),
        ("10.2.3.4", Direct, "bypass entry 10.0.0.0/8"),
        ("127.0.0.1", Direct, "always direct: 127.0.0.0/8 (this machine)"),
        (
            "169.254.169.254",
            Direct,
            "always direct: 169.254.0.0/16 (link-local: a node's metadata service)",
        ),
    ],
)
def test_route(host: str, kind: type, because: str) -> None:
    route = choose_route(Endpoint(host, 443), SETTINGS)
    assert isinstance(route, kind)
    assert route.because == because


def test_no_proxy_set() -> None:
    assert choose_route(Endpoint("a.test", 1), ProxySettings()) == Direct("no proxy is set")


def test_explain() -> None:
    assert explain("https://hooks.slack.test/x", SETTINGS, "alerts").as_dict() == {
        "url": "https://hooks.slack.test/x",
        "route": "proxy",
        "proxy": "http://proxy.corp.test:8080",
        "because": "the proxy; no bypass entry matches",
        "purpose": "alerts",
    }
    direct = explain("wss://console.corp.test/", SETTINGS, "fleet").as_dict()
    assert (direct["route"], direct["proxy"]) == ("direct", None)


@pytest.mark.parametrize("url", ["ftp://a.test", "a.test", "https://", ""])
def test_explain_refuses_what_is_no_url(url: str) -> None:
    with pytest.raises(BadUrlError):
        explain(url, SETTINGS, "intel")
