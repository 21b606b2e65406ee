"""Settings beyond the five in the Console: saved, kept, shown, and what nobody is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from garrison.console import proxy
from garrison.console.pages.history import changes
from garrison.console.proxy import ProxyForm
from garrison.console.state import AppState
from garrison.database import proxy as rows
from garrison.egress import InvalidSettings
from garrison.secret import Secret
from lab.authority import Authority
from tests.unit.console.harness import Client

CANARY = "c4n4ry-p@ss:w/rd%"
URL = "/api/v1/settings/proxy"
BACKUP = {"name": "backup", "address": "https://b.test:2", "user": "bob"}
RULE = {"name": "chat", "use": "proxy", "proxies": ["backup"], "purposes": ["alerts"]}


def save(state: AppState, http_proxy: str = "http://a.test:1", **more: Any) -> proxy.SavedProxy:
    return proxy.save(state, ProxyForm(http_proxy, (), "", "", more=more), "ada")


def password(state: AppState, name: str = "backup") -> str | None:
    found = state.egress.settings.more.proxy(name)
    assert found is not None
    return found.credentials.password.reveal() if found.credentials else None


def test_what_is_absent_stays(state: AppState) -> None:
    save(state, proxies=[{**BACKUP, "password": Secret(CANARY)}], failover=["backup"], rules=[RULE])
    save(state, strict=True, allowed=["a.test"])
    saved = save(state)
    more = saved.settings.more
    assert (more.failover, more.strict, more.allowed.entries[0].text) == (
        ("backup",),
        True,
        "a.test",
    )
    assert [rule.name for rule in more.rules] == ["chat"]
    assert password(state) == CANARY
    assert proxy.current(state).settings == saved.settings
    # And an empty value clears.
    assert save(state, rules=[], failover=[], proxies=[], strict=False).settings.more.rules == ()


def test_a_password_belongs_to_a_name(state: AppState) -> None:
    save(state, proxies=[{**BACKUP, "password": Secret(CANARY)}])
    save(state, proxies=[BACKUP])
    assert password(state) == CANARY
    save(state, proxies=[{**BACKUP, "password": Secret("other")}])
    assert password(state) == "other"
    save(state, proxies=[{**BACKUP, "password": None}])
    assert password(state) == ""
    save(state, proxies=[{**BACKUP, "password": Secret(CANARY)}])
    save(state, proxies=[{**BACKUP, "name": "renamed"}])
    assert password(state, "renamed") == ""


def test_a_password_is_sealed_and_stays_the_same_bytes(state: AppState) -> None:
    save(state, proxies=[{**BACKUP, "password": Secret(CANARY)}])
    with state.db.read() as c:
        first = rows.current(c)
    save(state, pac_dns=True)
    with state.db.read() as c:
        second = rows.current(c)
    assert first is not None
    assert second is not None
    assert CANARY not in json.dumps(first.more)
    assert first.more["proxies"] == second.more["proxies"]


def test_bad_values_change_nothing(state: AppState) -> None:
    with pytest.raises(InvalidSettings) as error:
        save(state, failover=["nobody"], rules=[{"name": "x", "use": "pac"}], pac_url="ftp://x")
    assert {one.field for one in error.value.problems} == {"failover", "pac_url"}
    assert proxy.current(state).revision == 0


def test_history_and_audit_tell_what_changed_and_no_secret(state: AppState, tmp_path: Path) -> None:
    from garrison.database import audit

    authority = Authority(tmp_path / "ca", "A CA")

    save(state)
    save(
        state,
        proxies=[{**BACKUP, "password": Secret(CANARY)}],
        failover=["backup"],
        rules=[RULE],
        destination_ca=[{"destinations": ["r.test"], "ca": authority.pem}],
        pac_url="https://wpad.test/p.pac",
        direct_in_cluster=False,
    )
    save(state, proxies=[{**BACKUP, "password": Secret("n3w-" + CANARY)}])
    with state.db.read() as c:
        entries = audit.page(c, 10).items
        third, second, first = rows.history(c).items
    text = json.dumps([entry.detail for entry in entries], default=str)
    assert CANARY not in text
    assert "BEGIN CERTIFICATE" not in text
    assert all(word in text for word in ("failover", "chat", "wpad.test", "r.test", "backup"))
    assert "password of backup" in text
    said = "\n".join(changes(first, second))
    assert all(word in said for word in ("backup", "chat", "wpad.test", "r.test"))
    assert "cluster" in said
    assert "password" in "\n".join(changes(second, third)).lower()
    assert CANARY not in said + "\n".join(changes(second, third))


async def test_api_takes_and_keeps_it(client: Client) -> None:
    base = {"http_proxy": "http://a.test:1"}
    more = {
        "proxies": [{**BACKUP, "password": CANARY}],
        "failover": ["backup"],
        "rules": [RULE],
        "auth": "digest",
    }
    done = await client.call("PUT", URL, {**base, **more})
    assert done.status == 200, done.text
    assert CANARY not in done.text
    shown = done.json
    assert shown["proxies"] == [{**BACKUP, "auth": "auto", "password_set": True}]
    assert {".svc", "127.0.0.0/8"} <= {one["entry"] for one in shown["builtin"]}
    # A simple script that knows five fields goes on.
    again = (await client.call("PUT", URL, base)).json
    assert (again["auth"], again["failover"]) == ("digest", ["backup"])
    # What was read may be sent back.
    same = await client.call("PUT", URL, again)
    assert same.status == 200, same.text
    assert same.json["proxies"][0]["password_set"]
    gone = await client.call(
        "PUT", URL, {**base, "proxies": [{**BACKUP, "password": None}], "failover": ["backup"]}
    )
    assert not gone.json["proxies"][0]["password_set"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"failover": ["nobody"]}, "failover"),
        ({"rules": [{"name": "x", "use": "tor"}]}, "rules"),
        ({"rules": [{"name": "x", "use": "direct", "destinations": ["10.*"]}]}, "rules"),
        ({"auth": "kerberos"}, "auth"),
        ({"proxies": [{"name": "x"}]}, "proxies"),
        ({"new": 1}, "new"),
    ],
)
async def test_api_names_the_field(client: Client, more: dict[str, Any], field: str) -> None:
    answer = await client.call("PUT", URL, {"http_proxy": "http://a.test:1", **more})
    assert answer.status == 422
    assert any(one["field"].startswith(field) for one in answer.json["errors"])


async def test_explain_by_purpose_and_group(client: Client) -> None:
    rules = [RULE, {"name": "eu", "use": "direct", "groups": ["eu"]}]
    body = {"http_proxy": "http://a.test:1", "proxies": [BACKUP], "rules": rules}
    assert (await client.call("PUT", URL, body)).status == 200

    async def asked(**more: Any) -> dict[str, Any]:
        answer = await client.call(
            "POST", "/api/v1/egress/explain", {"url": "https://x.test/", **more}
        )
        assert answer.status == 200, answer.text
        found: dict[str, Any] = answer.json
        return found

    alerts = await asked(purpose="alerts")
    assert (alerts["proxy"], alerts["decided_by"], alerts["rule"]) == (
        "https://b.test:2",
        "rule",
        "chat",
    )
    assert (await asked())["proxy"] == "http://a.test:1"
    assert (await asked(group="eu"))["route"] == "direct"
    assert (await asked(group="us"))["proxy"] == "http://a.test:1"
    strict = {**body, "strict": True, "allowed": ["y.test"]}
    assert (await client.call("PUT", URL, strict)).status == 200
    refused = await asked()
    assert (refused["route"], refused["decided_by"], refused["candidates"]) == (
        "refused",
        "strict",
        [],
    )
