"""The picture of the routes: what it shows, where lines go, and that many stay readable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from garrison.console.health import RouteHealth, Source, route_health
from garrison.console.pages import egress_map, picture
from garrison.database.contacts import Flow
from tests.unit.console.harness import NOW
from tests.unit.console.test_health import AT_PROXY, BEHIND, OK

SOURCES = {"console": Source("Console"), "d:eu": Source("eu", 40, 2)}
GROUP = replace(OK, node="d:eu", node_name="eu", host="reg.test", purpose="registry", sources=40)


def routes(*flows: Flow) -> list[RouteHealth]:
    return [route_health(flow, NOW) for flow in flows]


def lines(found: Sequence[RouteHealth]) -> list[tuple[str, str]]:
    drawn = picture.picture(found, SOURCES, {})
    return sorted((line.kind, line.label.text if line.label else "") for line in drawn.lines)


def test_what_fails_here_is_told_from_what_was_not_reached() -> None:
    assert lines(routes(AT_PROXY)) == [("fail", "407"), ("miss", "")]
    assert lines(routes(BEHIND)) == [("fail", "403"), ("ok", "")]
    direct = replace(BEHIND, route="direct", code="egress.tls_unknown_ca")
    assert lines(routes(direct)) == [("fail", "tls unknown ca"), ("ok", "")]


def test_some_is_not_all_and_slow_is_neither() -> None:
    part = replace(GROUP, failing=3, at_proxy=3, code="egress.proxy_silent")
    assert lines(routes(part)) == [("ok", ""), ("warn", "3 of 40")]
    behind = replace(part, at_proxy=0)
    assert lines(routes(behind)) == [("ok", ""), ("warn", "3 of 40")]
    slow = replace(OK, slow=1, slow_ms=1900.0)
    assert lines(routes(slow)) == [("warn", ""), ("warn", "1.9 s")]
    old = NOW - timedelta(days=2)
    assert lines(routes(replace(OK, last_seen=old))) == [("idle", ""), ("idle", "")]


def test_nodes_say_how_they_do() -> None:
    drawn = picture.picture(routes(AT_PROXY, GROUP), SOURCES, {"reg.test": "Registry"})
    shapes = {node.title: (node.shape, node.sub) for node in drawn.nodes}
    assert shapes == {
        "Console": ("fail", ""),
        "eu": ("warn", "40 Defenders, 2 silent"),
        "proxy.test:8080": ("warn", "proxy"),
        "hooks.test": ("fail", "alerts"),
        "Registry": ("ok", "reg.test:443"),
    }
    assert "hooks.test fails at proxy.test:8080: 407." in drawn.says


def test_a_busy_line_is_wide_and_all_stay_inside() -> None:
    busy = replace(GROUP, bytes=10**10)
    drawn = picture.picture(routes(OK, busy), SOURCES, {})
    assert max(line.width for line in drawn.lines) == 3.6
    assert min(line.width for line in drawn.lines) < 2.5
    for line in drawn.lines:
        numbers = [float(n) for n in re.findall(r"[\d.]+", line.path)]
        assert all(0 <= x <= drawn.width for x in numbers[::2])
        assert all(0 <= y <= drawn.height for y in numbers[1::2])


def test_many_share_a_node_and_what_fails_keeps_its_own() -> None:
    crowd = [
        replace(GROUP, node=f"d:{n}", node_name=f"group-{n}", host=f"host-{n}.test", bytes=n)
        for n in range(60)
    ]
    bad = replace(crowd[0], failing=40, code="egress.refused", hop="tcp")
    sources = {flow.node: Source(flow.node_name, 8) for flow in crowd}
    drawn = picture.picture(routes(bad, *crowd[1:]), sources, {})
    titles = {node.title for node in drawn.nodes}
    assert len(drawn.nodes) == 10 + 1 + 13
    assert {"group-0", "host-0.test", "51 more sources", "48 more hosts"} <= titles
    assert drawn.height < 800


def test_labels_do_not_cover_each_other() -> None:
    flows = [replace(BEHIND, host=f"h{n}.test") for n in range(4)]
    drawn = picture.picture(routes(*flows), SOURCES, {})
    labels = [line.label for line in drawn.lines if line.label]
    assert len(labels) == 4
    for i, one in enumerate(labels):
        for other in labels[i + 1 :]:
            apart = abs(one.x - other.x) >= (one.width + other.width) / 2 - 1
            assert apart or abs(one.y - other.y) > 17


def test_long_names_keep_both_ends() -> None:
    assert picture.cut("registry.example.test", 30) == "registry.example.test"
    assert picture.cut("a-very-long-name-of-a-registry.example.test", 20) == "a-very-long-…le.test"


def test_a_route_is_named_by_what_it_is() -> None:
    """Its address outlives new connections, and tells purposes apart."""
    one, later, other = routes(OK, replace(OK, connections=99), replace(OK, purpose="alerts"))
    assert picture.route_id(one) == picture.route_id(later) != picture.route_id(other)


def test_the_verdict_counts_what_matters_first() -> None:
    part = replace(GROUP, failing=3, at_proxy=3)
    found = routes(AT_PROXY, part, OK, OK)
    assert egress_map.verdict(found) == "1 route fails, 1 fails for some Defenders, 2 work"
