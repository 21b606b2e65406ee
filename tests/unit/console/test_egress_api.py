"""The list of hosts, the allow-list and health, by API and command line alike."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from garrison.cli.main import build
from garrison.console.state import AppState
from garrison.database import contacts
from garrison.egress import ConnectionRecord
from tests.unit.console.harness import Client, token_for

NOW = datetime.now(UTC)
GOOD = ConnectionRecord("feed.test", 443, "intel", "p.test:1", True, NOW - timedelta(days=9))
BAD = ConnectionRecord(
    "hooks.test", 443, "alerts", "p.test:1", False, NOW, code="egress.proxy_auth_refused",
    who="you", hop="proxy-auth", message="refused", hint="Enter it again.",
)  # fmt: skip


@pytest.fixture
def client(state: AppState) -> Client:
    with state.db.write() as c:
        contacts.add(c, "console", [GOOD, BAD])
    return Client(state, token_for(state, "auditor"))


async def get(client: Client, path: str) -> Any:
    answer = await client.call("GET", f"/api/v1/egress/{path}")
    assert answer.status == 200, answer.text
    return answer.json


async def test_connections_are_filtered(client: Client) -> None:
    async def hosts(query: str) -> list[str]:
        return [item["host"] for item in (await get(client, f"connections?{query}"))["items"]]

    since = (NOW - timedelta(days=1)).isoformat().replace("+", "%2B")
    assert await hosts("") == ["feed.test", "hooks.test"]
    assert await hosts(f"since={since}") == await hosts("failing=true") == ["hooks.test"]
    assert await hosts("purpose=intel") == await hosts("search=FEED") == ["feed.test"]


async def test_the_allow_list_has_four_forms(client: Client) -> None:
    items = (await get(client, "allow-list"))["items"]
    assert [(each["host"], each["from"], each["result"]) for each in items] == [
        ("feed.test", ["Console"], "ok"),
        ("hooks.test", ["Console"], "egress.proxy_auth_refused"),
    ]
    plain = await client.call("GET", "/api/v1/egress/allow-list?format=hosts")
    assert (plain.text, plain.headers["content-type"]) == (
        "feed.test\nhooks.test\n",
        "text/plain; charset=utf-8",
    )
    assert (await get(client, "allow-list?via=direct"))["items"] == []
    assert (await client.call("GET", "/api/v1/egress/allow-list?format=exe")).status == 422


async def test_health_names_the_last_failure(client: Client) -> None:
    found = await get(client, "health")
    alerts = next(each for each in found["purposes"] if each["purpose"] == "alerts")
    assert (alerts["state"], alerts["failing"]) == ("fails", 1)
    assert alerts["last_failure"] == {
        "code": "egress.proxy_auth_refused", "message": "refused", "hint": "Enter it again.",
        "who": "you", "hop": "proxy-auth", "evidence": None,
    }  # fmt: skip
    (proxy,) = found["proxies"]
    assert (proxy["proxy"], proxy["state"]) == ("p.test:1", "fails")
    assert [each["state"] for each in found["routes"]] == ["fails", "unused"]


def run(state: AppState, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(build("egress"), ["egress", *words, "--data", str(state.data)])
    assert result.exit_code == code, result.output
    return result.stdout


async def test_the_command_line_says_the_same(client: Client) -> None:
    state = client.state
    assert run(state, "connections", "--since", "1d", "--format", "hosts") == "hooks.test\n"
    assert "acl garrison_hosts dstdomain" in run(state, "connections", "--format", "squid")
    table = run(state, "connections").splitlines()
    assert table[0].split()[:4] == ["Destination", "From", "Why", "Route"]
    assert table[1].split()[:3] == ["feed.test:443", "console", "intel"]
    listed = json.loads(run(state, "connections", "--json"))["items"]
    assert [each["host"] for each in listed] == ["feed.test", "hooks.test"]
    health = json.loads(run(state, "health", "--json", code=1))
    assert health["proxies"][0]["state"] == "fails"
    assert "egress.proxy_auth_refused" in run(state, "health", code=1)
