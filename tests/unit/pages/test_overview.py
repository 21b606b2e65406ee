"""What the start page puts first, and how it says it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from garrison.console.health import summary
from garrison.console.pages import overview
from garrison.database.audit import AuditRow
from garrison.database.contacts import Flow
from garrison.database.defenders import DefenderCounts
from tests.unit.console.harness import NOW, Client, console, signed_in
from tests.unit.console.test_health import AT_PROXY, BEHIND, OK


def items(*flows: Flow) -> list[overview.Item]:
    return overview.route_items(summary(flows, NOW), NOW)


def test_one_cause_is_one_item() -> None:
    """Two destinations behind a proxy that refuses us are not two problems."""
    feed = replace(AT_PROXY, host="feed.test", purpose="intel")
    (item,) = items(AT_PROXY, feed)
    assert item.head == "Console cannot get out: stopped at proxy.test:8080"
    assert item.body == (
        "`egress.proxy_auth_refused`: feed.test and hooks.test cannot be reached that way."
    )
    assert item.since == NOW - timedelta(hours=2)
    assert item.href.startswith("/network/map?route=")


def test_a_destination_is_named_with_who_misses_it() -> None:
    group = replace(BEHIND, node="d:eu", node_name="eu", sources=9, failing=4)
    (item,) = items(BEHIND, group)
    assert (item.head, item.shape) == ("hooks.test cannot be reached", "warn")
    assert item.body == "`egress.proxy_denied` for Console and eu, by proxy.test:8080 to port 443."


def test_slow_is_said_and_good_is_not() -> None:
    assert items(OK) == []
    (item,) = items(replace(OK, slow=1, slow_ms=1900.0))
    assert (item.shape, item.rank) == ("warn", 60)


def test_older_settings_are_told_with_the_revision_in_force() -> None:
    (item,) = overview.fleet_items([], DefenderCounts(412, 412, 1), 41)
    assert item.head == "1 Defender runs older proxy settings"
    assert item.body.startswith("Revision 41 is in force.")


@pytest.mark.parametrize(
    ("action", "target", "detail", "said"),
    [
        ("proxy.save", "settings/proxy", {"revision": 41}, "mira saved proxy revision 41"),
        ("registry.put", "registries/harbor.test", {}, "mira saved registry harbor.test"),
        (
            "token.create",
            "tokens/01a20da4-f1bb-7340-8609-921b78fc1f57",
            {"name": "ci"},
            "mira created API token ci",
        ),
        ("thing.done", "x", {"a": 1}, "mira thing done x a: 1"),
    ],
)
def test_changes_read_as_lines(
    action: str, target: str, detail: dict[str, object], said: str
) -> None:
    assert overview.change(AuditRow(1, NOW, "mira", action, target, detail)) == said


async def test_a_new_console_says_what_to_do_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with console(tmp_path, monkeypatch) as state:
        session = await signed_in(state)
        client = Client(state, headers={"cookie": f"garrison_session={session.cookie}"})
        home = await client.call("GET", "/")
        assert (home.status, home.headers["location"]) == (303, "/overview")
        page = (await client.call("GET", "/overview")).text
    assert page.index("Say how connections leave") < page.index("Scan an image")
    assert "Needs attention" not in page
    assert "Open findings" not in page
    assert '<svg class="map' not in page
