"""Routes say why, before anything is opened."""

from __future__ import annotations

import pytest

from garrison.egress import (
    BadUrlError,
    Direct,
    ProxySettings,
    Target,
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
    choice = choose_route(Target.parse(f"https://{host}/"), SETTINGS, "intel")
    (route,) = choice.candidates
    assert isinstance(route, kind)
    assert route.because == choice.because == because


def test_no_proxy_set() -> None:
    choice = choose_route(Target.parse("https://a.test"), ProxySettings(), "intel")
    assert choice.candidates == (Direct("no proxy is set"),)
    assert choice.decided_by == "default"


def test_explain() -> None:
    found = explain("https://hooks.slack.test/x", SETTINGS, "alerts").as_dict()
    proxy = "http://proxy.corp.test:8080"
    assert found.pop("candidates") == [{"route": "proxy", "proxy": proxy, "name": "default"}]
    assert found == {
        "url": "https://hooks.slack.test/x",
        "route": "proxy",
        "proxy": "http://proxy.corp.test:8080",
        "because": "the proxy; no bypass entry matches",
        "purpose": "alerts",
        "decided_by": "default",
        "rule": "",
        "note": "",
    }
    direct = explain("wss://console.corp.test/", SETTINGS, "fleet").as_dict()
    assert (direct["route"], direct["proxy"]) == ("direct", None)


@pytest.mark.parametrize("url", ["ftp://a.test", "a.test", "https://", ""])
def test_explain_refuses_what_is_no_url(url: str) -> None:
    with pytest.raises(BadUrlError):
        explain(url, SETTINGS, "intel")
