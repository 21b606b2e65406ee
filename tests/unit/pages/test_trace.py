"""Where a connection stopped, as pages say it."""

from __future__ import annotations

from typing import Any

import pytest

from garrison.console.pages import trace
from tests.unit.pages.samples import FINE, NOW, REFUSED


def failing(hop: str, steps: list[str], *, url: str = "https://hooks.slack.test/x") -> Any:
    return {
        **REFUSED,
        "url": url,
        "error": {"code": "egress.x", "message": "m", "hint": "", "who": "network", "hop": hop},
        "trace": [{"hop": s, "target": "t", "ok": s != hop, "ms": 1, "detail": ""} for s in steps],
    }


def test_later_hops_are_not_reached_rather_than_failed() -> None:
    view = trace.trace_view(REFUSED, NOW)
    assert [(hop.name, hop.state) for hop in view.hops] == [
        ("resolve", "done"),
        ("tcp", "done"),
        ("proxy-auth", "fail"),
        ("tunnel", "skip"),
        ("tls", "skip"),
        ("http", "skip"),
    ]
    assert view.head == "Stopped at the proxy."
    assert view.failure is not None
    assert view.failure.actor == "You"
    assert view.failure.answer.startswith("HTTP/1.1 407")


@pytest.mark.parametrize(
    ("hop", "steps", "head", "left"),
    [
        ("tcp", ["resolve", "tcp"], "The proxy was not reached.", ["tunnel", "tls", "http"]),
        ("tunnel", ["resolve", "tcp", "tunnel"], "Stopped at the proxy.", ["tls", "http"]),
        (
            "tls",
            ["resolve", "tcp", "tunnel", "tls"],
            "`hooks.slack.test` is not trusted.",
            ["http"],
        ),
        (
            "http",
            ["resolve", "tcp", "tunnel", "tls", "http"],
            "`hooks.slack.test` was reached, and refused.",
            [],
        ),
    ],
)
def test_verdict_names_where_it_stopped(
    hop: str, steps: list[str], head: str, left: list[str]
) -> None:
    view = trace.trace_view(failing(hop, steps), NOW)
    assert view.head == head
    assert [h.name for h in view.hops if h.state == "skip"] == left


def test_plain_http_by_proxy_has_no_tunnel() -> None:
    view = trace.trace_view(
        failing("proxy-auth", ["resolve", "tcp", "proxy-auth"], url="http://feed.test"), NOW
    )
    assert [h.name for h in view.hops if h.state == "skip"] == ["http"]


def test_good_test_says_who_inspects() -> None:
    view = trace.trace_view(FINE, NOW)
    assert view.ok
    assert view.head == "`hooks.slack.test` answers,"
    assert "“ACME TLS Inspection CA 2”" in view.rest
    assert all(hop.state == "done" for hop in view.hops)


def test_direct_failure_does_not_speak_of_a_proxy() -> None:
    result = {**failing("tcp", ["resolve", "tcp"]), "route": {"proxy": None}}
    view = trace.trace_view(result, NOW)
    assert view.head == "`hooks.slack.test` was not reached."
    assert [h.name for h in view.hops] == ["resolve", "tcp", "tls", "http"]


def test_failures_of_any_shape_are_read() -> None:
    """Stored ones are mappings, the stream's is an object; both may lack fields."""
    assert trace.failure(None) is None
    stored = trace.failure({"code": "images.not_found", "message": "no such image"})
    assert stored is not None
    assert (stored.message, stored.actor, stored.stop) == ("No such image.", "", "")
    assert not stored.about_proxy
    answered = trace.failure({"code": "c", "answer": {"status": 407, "headers": {"Via": "squid"}}})
    assert answered is not None
    assert answered.answer == "407\nVia: squid"


def test_attempt_knows_the_proxy_by_its_first_step() -> None:
    """Deliveries keep steps only; the first address looked up is not the webhook's."""
    result = failing("tcp", ["resolve", "tcp"])
    result["trace"][0]["target"] = "proxy.corp.test"
    view = trace.attempt_view("hooks.slack.test", result, NOW)
    assert view.head == "The proxy was not reached."
    result["trace"][0]["target"] = "hooks.slack.test"
    assert trace.attempt_view("hooks.slack.test", result, NOW).head.startswith("`hooks")
