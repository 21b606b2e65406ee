"""Settings beyond the five: what is refused, which rule decides, what a group is given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from garrison.egress import (
    Direct,
    InvalidSettings,
    ProxyAddress,
    ProxySettings,
    Purpose,
    Target,
    ViaProxy,
    choose_route,
    settings_from_environment,
)
from garrison.egress.plan import calls_for
from garrison.egress.rules import MORE_FIELDS, more_document
from garrison.egress.settings import settings_document, settings_from_document
from garrison.secret import Secret

PROXIES = [
    {"name": "b", "address": "https://b.test:2", "user": "bob", "password": "canary-b"},
    {"name": "c", "address": "socks5h://c.test:3", "auth": "none", "user": "x"},
]


def build(**more: Any) -> ProxySettings:
    return ProxySettings.build(
        http_proxy="http://a.test:1",
        user="agent",
        password=Secret("canary-a"),
        more={"proxies": PROXIES, **more},
    )


def ways(
    settings: ProxySettings, url: str, purpose: Purpose = "registry", pac: Any = None
) -> list[str]:
    choice = choose_route(Target.parse(url), settings, purpose, pac)
    return [str(one.proxy) if isinstance(one, ViaProxy) else "direct" for one in choice.candidates]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"auth": "kerberos"}, "auth"),
        ({"pac_dns": "yes"}, "pac_dns"),
        ({"strict": True}, "allowed"),
        ({"allowed": ["10.*"]}, "allowed"),
        ({"failover": ["z"]}, "failover"),
        ({"failover": ["default"]}, "failover"),
        ({"proxies": [{"name": "default", "address": "http://x:1"}]}, "proxies[0].name"),
        ({"proxies": [{"name": "x", "address": "x:1"}]}, "proxies[0].address"),
        ({"proxies": [{"name": "x", "address": "http://u:canary@x:1"}]}, "proxies[0].address"),
        ({"proxies": [{"name": "x", "address": "http://x:1", "user": "a:b"}]}, "proxies[0].user"),
        ({"proxies": [{"name": "x", "address": "http://x:1", "port": 1}]}, "proxies[0].port"),
        ({"proxies": ["x"]}, "proxies[0]"),
        ({"proxies": [*PROXIES, PROXIES[0]]}, "proxies[2].name"),
        ({"rules": [{"name": "r", "use": "proxy"}]}, "rules[0].proxies"),
        ({"rules": [{"name": "r", "use": "proxy", "proxies": ["z"]}]}, "rules[0].proxies"),
        ({"rules": [{"name": "r", "use": "direct", "proxies": ["b"]}]}, "rules[0].proxies"),
        ({"rules": [{"name": "r", "use": "pac"}]}, "rules[0].use"),
        ({"rules": [{"name": "r", "use": "tor"}]}, "rules[0].use"),
        ({"rules": [{"name": "r"}]}, "rules[0].use"),
        ({"rules": [{"name": "", "use": "direct"}]}, "rules[0].name"),
        ({"rules": [{"name": "r", "use": "direct", "purposes": ["x"]}]}, "rules[0].purposes"),
        (
            {"rules": [{"name": "r", "use": "direct", "destinations": ["http://x"]}]},
            "rules[0].destinations",
        ),
        ({"rules": [{"name": "r", "use": "direct"}] * 2}, "rules[1].name"),
        ({"destination_ca": [{"destinations": ["a.test"], "ca": "no"}]}, "destination_ca[0].ca"),
        ({"destination_ca": [{"destinations": [], "ca": ""}]}, "destination_ca[0].destinations"),
        ({"pac_url": "ftp://x/y"}, "pac_url"),
        ({"pac_url": "http://u:canary@x/y"}, "pac_url"),
        ({"pac_url": "file://host/x"}, "pac_url"),
        ({"pac_url": "http://[/"}, "pac_url"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_what_cannot_work_is_refused_at_its_field(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        build(**more)
    assert field in [one.field for one in error.value.problems]
    assert "canary" not in str(error.value)


def test_failover_needs_something_to_follow() -> None:
    with pytest.raises(InvalidSettings):
        ProxySettings.build(more={"proxies": PROXIES, "failover": ["b"]})


def test_the_default_is_a_list_in_order() -> None:
    settings = build(failover=["c", "b"])
    assert ways(settings, "https://x.test") == [
        "http://a.test:1",
        "socks5h://c.test:3",
        "https://b.test:2",
    ]


RULES = [
    {"name": "alerts", "use": "proxy", "proxies": ["b", "default"], "purposes": ["alerts"]},
    {"name": "lab", "use": "direct", "destinations": [".lab.test", "10.9.0.0/16"]},
    {"name": "eu", "use": "proxy", "proxies": ["c"], "groups": ["eu"]},
    {"name": "own", "use": "proxy", "proxies": ["b"], "groups": ["console"], "purposes": ["intel"]},
    {"name": "rest", "use": "default", "destinations": ["x.test"]},
]


@pytest.mark.parametrize(
    ("url", "purpose", "group", "expected", "rule"),
    [
        ("https://s.test", "alerts", "", ["https://b.test:2", "http://a.test:1"], "alerts"),
        ("https://a.lab.test", "alerts", "", ["https://b.test:2", "http://a.test:1"], "alerts"),
        ("https://a.lab.test", "registry", "", ["direct"], "lab"),
        ("https://10.9.1.1", "registry", "eu", ["direct"], "lab"),
        ("https://r.test", "registry", "eu", ["socks5h://c.test:3"], "eu"),
        ("https://r.test", "registry", "us", ["http://a.test:1"], ""),
        ("https://f.test", "intel", "", ["https://b.test:2"], "own"),
        ("https://f.test", "intel", "us", ["http://a.test:1"], ""),
        ("https://x.test", "registry", "", ["http://a.test:1"], "rest"),
        ("https://127.0.0.1", "alerts", "", ["direct"], "127.0.0.0/8"),
        ("https://a.svc", "alerts", "", ["direct"], ".svc"),
    ],
)
def test_the_first_rule_that_matches_decides(
    url: str, purpose: Purpose, group: str, expected: list[str], rule: str
) -> None:
    settings = build(rules=RULES)
    if group:
        settings = settings.for_group(group)
    assert ways(settings, url, purpose) == expected
    assert choose_route(Target.parse(url), settings, purpose).rule == rule


def test_no_proxy_wins_over_rules() -> None:
    settings = ProxySettings.build(
        http_proxy="http://a.test:1",
        no_proxy="s.test",
        more={"rules": [{"name": "all", "use": "proxy", "proxies": ["default"]}]},
    )
    assert ways(settings, "https://s.test") == ["direct"]
    assert ways(settings, "https://t.test") == ["http://a.test:1"]


def test_a_group_gets_its_rules_and_their_proxies_alone() -> None:
    settings = build(rules=RULES)
    eu, us = settings.for_group("eu"), settings.for_group("us")
    assert [rule.name for rule in eu.more.rules] == ["alerts", "lab", "eu", "rest"]
    assert [one.name for one in eu.more.proxies] == ["b", "c"]
    assert [rule.name for rule in us.more.rules] == ["alerts", "lab", "rest"]
    assert [one.name for one in us.more.proxies] == ["b"]
    alone = build(rules=RULES[2:3]).for_group("us")
    assert "canary-b" not in json.dumps(settings_document(alone))


def test_in_cluster_names_can_be_switched_off() -> None:
    assert ways(build(), "https://kubernetes.default") == ["direct"]
    off = build(direct_in_cluster=False)
    for url in ("https://kubernetes.default", "https://a.b.svc", "https://a.svc.cluster.local"):
        assert ways(off, url) == ["http://a.test:1"]
    assert ways(off, "https://169.254.169.254") == ["direct"]
    listed = {entry["entry"] for entry in build().as_view()["builtin"]}
    assert {".svc", ".cluster.local", "kubernetes.default", "169.254.0.0/16"} <= listed


def test_credentials_belong_to_their_proxy() -> None:
    settings = build(failover=["b", "c"])
    routes = choose_route(Target.parse("https://x.test"), settings, "intel").candidates
    users = [one.credentials.user if isinstance(one, ViaProxy) and one.credentials else None
             for one in routes]  # fmt: skip
    # `auth: none` sends none, whatever is entered.
    assert users == ["agent", "bob", None]
    assert "canary" not in repr(routes)


@pytest.mark.parametrize(
    ("allowed", "url", "purpose", "refused"),
    [
        (["a.test"], "https://a.test", "registry", False),
        (["a.test"], "https://sub.a.test", "registry", False),
        (["a.test"], "https://b.test", "registry", True),
        (["a.test:443"], "https://a.test:8443", "registry", True),
        (["10.0.0.0/8"], "https://10.1.1.1", "registry", False),
        (["a.test"], "https://10.1.1.1", "registry", True),
        # What is always direct is still outside the list.
        (["a.test"], "http://169.254.169.254", "registry", True),
        (["a.test"], "https://x.svc", "registry", True),
        # This machine, and the Console a Defender belongs to, cannot be cut off.
        (["a.test"], "http://127.0.0.1:1", "registry", False),
        (["a.test"], "http://localhost:1", "registry", False),
        (["a.test"], "wss://console.test", "fleet", False),
    ],
)
def test_strict_mode_refuses_what_is_not_allowed(
    allowed: list[str], url: str, purpose: Purpose, refused: bool
) -> None:
    choice = choose_route(Target.parse(url), build(strict=True, allowed=allowed), purpose)
    assert choice.refused is refused
    assert (choice.decided_by == "strict") is refused


def test_pac_decides_what_no_rule_does() -> None:
    settings = build(
        pac_url="https://wpad.test/p.pac",
        rules=[
            {"name": "r", "use": "proxy", "proxies": ["default"], "destinations": ["r.test"]},
            {"name": "p", "use": "pac", "destinations": ["p.test"]},
            {"name": "d", "use": "default", "destinations": ["d.test"]},
        ],
    )
    pac = (ProxyAddress.parse("https://b.test:2"), None)
    assert ways(settings, "https://r.test", pac=pac) == ["http://a.test:1"]
    for host in ("p.test", "d.test", "x.test"):
        target = Target.parse(f"https://{host}")
        assert choose_route(target, settings, "intel").ask_pac
        choice = choose_route(target, settings, "intel", pac)
        assert choice.decided_by == "pac"
        first, second = choice.candidates
        assert isinstance(first, ViaProxy)
        assert first.credentials is not None
        assert (first.name, first.credentials.user) == ("b", "bob")
        assert isinstance(second, Direct)


@pytest.mark.parametrize(
    ("address", "http_proxy", "user"),
    [
        ("http://a.test:1", "http://a.test:1", "agent"),
        # Known, but without the TLS that its password was entered for.
        ("http://b.test:2", "http://a.test:1", None),
        ("http://other.test:1", "http://a.test:1", None),
        # Without HTTP Proxy, User and Password can only be meant for those of the PAC file.
        ("http://other.test:1", "", "agent"),
    ],
)
def test_a_pac_file_cannot_draw_a_password_elsewhere(
    address: str, http_proxy: str, user: str | None
) -> None:
    settings = ProxySettings.build(
        http_proxy=http_proxy,
        user="agent",
        password=Secret("canary"),
        more={"pac_url": "https://w.test/p", "proxies": PROXIES},
    )
    pac = (ProxyAddress.parse(address),)
    choice = choose_route(Target.parse("https://x.test"), settings, "intel", pac)
    (route,) = choice.candidates
    assert isinstance(route, ViaProxy)
    assert (route.credentials.user if route.credentials else None) == user


FULL: dict[str, Any] = {
    "auth": "ntlm",
    "failover": ["c"],
    "pac_url": "file:///etc/p.pac",
    "pac_dns": True,
    "rules": RULES,
    "strict": True,
    "allowed": ["a.test", "10.0.0.0/8"],
    "direct_in_cluster": False,
}


def test_the_document_gives_back_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = build(**FULL)
    again = settings_from_document(json.loads(json.dumps(settings_document(settings))))
    assert again == settings
    assert set(more_document(settings.more)) == set(MORE_FIELDS)
    assert "canary" not in json.dumps(settings.as_view())
    assert "canary" not in repr(settings)


def test_a_file_holds_all_of_it(tmp_path: Any) -> None:
    file = tmp_path / "egress.json"
    settings = build(**FULL).for_group("eu")
    file.write_text(json.dumps(settings_document(settings)))
    environ = {"GARRISON_EGRESS_FILE": str(file), "HTTPS_PROXY": "http://hostile.test:1"}
    found = settings_from_environment(environ)
    assert found.more == settings.more
    assert found.proxy == settings.proxy
    assert found.group == "eu"
    assert set(found.sources.values()) == {"GARRISON_EGRESS_FILE"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"http_proxy": 1}', '{"http_proxy": "x"}', '{"revision": "x"}', '{"new": 1}',
     '{"no_proxy": [1]}', '{"password": 5}', '{"rules": [{}]}'],
)  # fmt: skip
def test_an_unreadable_file_is_an_error(tmp_path: Any, text: str) -> None:
    """Never a silent direct connection."""
    file = tmp_path / "egress.json"
    file.write_text(text)
    with pytest.raises(InvalidSettings) as error:
        settings_from_environment({"GARRISON_EGRESS_FILE": str(file)})
    assert "GARRISON_EGRESS_FILE" in str(error.value)
    with pytest.raises(InvalidSettings):
        settings_from_environment({"GARRISON_EGRESS_FILE": str(tmp_path / "none")})


def test_warnings_name_what_is_useless() -> None:
    assert any("Proxy b: nothing uses it" in one for one in build().warnings)
    assert not any("Proxy b" in one for one in build(failover=["b", "c"]).warnings)
    assert any("HTTP Proxy: the PAC file decides" in one
               for one in build(pac_url="https://w.test/p").warnings)  # fmt: skip
    loud = ProxySettings.build(user="u", password=Secret("p"), more={"pac_url": "http://w.test/p"})
    assert any("whoever changes it on the way" in one for one in loud.warnings)
    twice = build(rules=[{"name": "r", "use": "direct", "destinations": ["a.test", "b.a.test"]}])
    assert any("Rule r: b.a.test is not needed" in one for one in twice.warnings)


@pytest.mark.parametrize(
    ("url", "watched"),
    [("https://x.test", True), ("https://10.9.1.1", False), ("https://127.0.0.1", False)],
)
def test_a_chain_on_a_route_made_direct_is_no_interception(url: str, watched: bool) -> None:
    settings, target = build(rules=RULES), Target.parse(url)
    calls = calls_for(target, choose_route(target, settings, "registry"), settings)
    assert {call.watched for call in calls} == {watched}
