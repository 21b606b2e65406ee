"""What Prometheus is told of outgoing connections, and that the reference lists all of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from garrison.console.metrics import COUNTERS, FAMILIES, GAUGES, EgressMeter
from garrison.console.state import AppState
from garrison.database import contacts as rows
from garrison.defender import agent
from garrison.egress import ConnectionRecord, Step
from tests.unit.console.harness import Client

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
NOW = datetime.now(UTC)
GOOD = ConnectionRecord(
    "a.test", 443, "intel", "p.test:1", True, NOW, steps=(Step("tcp", "p.test", True, 30.0, ""),)
)
BAD = ConnectionRecord(
    "b.test", 443, "alerts", "p.test:1", False, NOW, code="egress.proxy_denied", hop="tunnel"
)


def samples(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def test_connections_are_counted_by_purpose_result_hop_and_code(state: AppState) -> None:
    state.meter.count("console", GOOD)
    state.meter.count("defender", BAD)
    state.meter.count(
        "console", ConnectionRecord("a.test", 1, "intel", "direct", True, NOW, opened=False, sent=7)
    )
    with state.db.write() as c:
        rows.add(c, "console", [GOOD, BAD])
    text = (await Client(state).call("GET", "/metrics")).text
    found = samples(text)

    base = "garrison_egress_connections_total"
    assert (
        found[base + '{code="",hop="",purpose="intel",result="ok",route="proxy",source="console"}']
        == 1
    )
    assert (
        found[
            base + '{code="egress.proxy_denied",hop="tunnel",purpose="alerts",result="failed",'
            'route="proxy",source="defender"}'
        ]
        == 1
    )
    hops = 'garrison_egress_hop_seconds_bucket{hop="tcp",le="0.05",result="ok",source="console"}'
    assert found[hops] == 1
    sent = '{direction="sent",purpose="intel",route="direct",source="console"}'
    assert found["garrison_egress_bytes_total" + sent] == 7
    assert found['garrison_egress_proxy_up{proxy="p.test:1"}'] == 1
    assert found['garrison_egress_routes_failing{purpose="alerts"}'] == 1
    of = 'garrison_egress_source_connections_total{group="",result="failed",source="console"}'
    assert found[of] == 1


def test_words_of_a_defender_make_no_series() -> None:
    meter = EgressMeter()
    for number in range(50):
        meter.count(
            "defender",
            ConnectionRecord("x", 1, f"p{number}", f"r{number}", False, NOW, code=f"c{number}",
                             hop=f"h{number}", steps=(Step(f"h{number}", "", True, 1, ""),)),  # type: ignore[arg-type]
        )  # fmt: skip
    counters = [s for m in meter.registry.collect() for s in m.samples]
    assert [s.labels for s in counters if s.name == "garrison_egress_connections_total"] == [
        {"source": "defender", "purpose": "other", "route": "proxy", "result": "failed",
         "hop": "other", "code": "other"}
    ]  # fmt: skip


def test_the_reference_lists_every_metric() -> None:
    listed = set(re.findall(r"^\| `(garrison_\w+)`", DOCS.read_text(encoding="utf-8"), re.M))
    source = Path(agent.__file__).read_text(encoding="utf-8")
    defender = set(re.findall(r'"(garrison_defender_\w+)"', source))
    assert len(defender) > 5
    assert listed == set(COUNTERS) | set(GAUGES) | set(FAMILIES) | defender
