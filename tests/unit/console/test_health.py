"""What is said of routes, purposes and proxies, from facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from garrison.console.health import summary
from garrison.database.contacts import Flow
from tests.unit.console.harness import NOW

PROXY = "proxy.test:8080"
OK = Flow(
    node="console",
    node_name="",
    host="feed.test",
    port=443,
    purpose="intel",
    route=PROXY,
    sources=1,
    failing=0,
    at_proxy=0,
    proxy_down=0,
    slow=0,
    slow_ms=0.0,
    connections=9,
    bytes=1000,
    first_seen=NOW - timedelta(days=3),
    last_seen=NOW,
    last_ok_at=NOW,
    last_failed_at=None,
    code="",
    hop="",
    past_code="",
    row=1,
)
AT_PROXY = replace(
    OK,
    host="hooks.test",
    purpose="alerts",
    failing=1,
    at_proxy=1,
    proxy_down=1,
    last_ok_at=NOW - timedelta(hours=2),
    last_failed_at=NOW,
    code="egress.proxy_auth_refused",
    hop="proxy-auth",
    row=2,
)
BEHIND = replace(AT_PROXY, at_proxy=0, proxy_down=0, code="egress.proxy_denied", hop="tunnel")


def states(*flows: Flow) -> tuple[dict[str, str], dict[str, str]]:
    found = summary(flows, NOW)
    purposes: dict[str, str] = {p.purpose: p.state for p in found.purposes if p.state != "unused"}
    return purposes, {p.proxy: p.state for p in found.proxies}


def test_what_works_is_quiet() -> None:
    assert states(OK) == ({"intel": "works"}, {PROXY: "works"})


def test_a_failure_says_where_it_stopped() -> None:
    proxy, behind = (summary([flow], NOW).routes[0] for flow in (AT_PROXY, BEHIND))
    assert (proxy.state, proxy.stopped) == ("fails", "proxy")
    assert (behind.state, behind.stopped) == ("fails", "destination")


def test_a_proxy_is_not_down_because_a_destination_is() -> None:
    assert states(BEHIND) == ({"alerts": "fails"}, {PROXY: "works"})
    assert states(AT_PROXY) == ({"alerts": "fails"}, {PROXY: "fails"})


def test_of_one_machine_the_newest_evidence_holds() -> None:
    """The feed was fetched hours ago by the proxy that refuses the alert now, or the reverse."""
    older = replace(OK, last_seen=NOW - timedelta(hours=1), last_ok_at=NOW - timedelta(hours=1))
    assert states(older, AT_PROXY)[1] == {PROXY: "fails"}
    assert states(OK, replace(AT_PROXY, last_failed_at=NOW - timedelta(minutes=1)))[1] == {
        PROXY: "partly"
    }


def test_some_defenders_may_fail_alone() -> None:
    flow = replace(AT_PROXY, node="d:leipzig", node_name="leipzig", sources=38, failing=3,
                   at_proxy=3, proxy_down=3)  # fmt: skip
    assert states(flow) == ({"alerts": "partly"}, {PROXY: "fails"})
    assert states(replace(flow, last_ok_at=NOW))[1] == {PROXY: "partly"}


def test_what_nobody_uses_does_not_alarm() -> None:
    old = NOW - timedelta(hours=25)
    stale = replace(OK, last_seen=old, last_ok_at=old)
    found = summary([stale], NOW)
    assert [r.state for r in found.routes] == ["unused"]
    assert {p.state for p in found.purposes} == {"unused"}
    assert {p.state for p in found.proxies} == {"unused"}


def test_slow_is_neither_good_nor_bad() -> None:
    assert states(replace(OK, slow=1, slow_ms=1900.0))[0] == {"intel": "slow"}


def test_failing_routes_come_first_and_the_last_failure_is_named() -> None:
    found = summary([OK, replace(OK, past_code="egress.old"), AT_PROXY], NOW)
    assert [r.state for r in found.routes] == ["fails", "works", "works"]
    alerts = next(p for p in found.purposes if p.purpose == "alerts")
    assert (alerts.code, alerts.row, alerts.failing) == ("egress.proxy_auth_refused", 2, 1)
    intel = next(p for p in found.purposes if p.purpose == "intel")
    assert (intel.code, intel.state) == ("", "works")
