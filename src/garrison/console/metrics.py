"""What `/metrics` tells Prometheus; a registry of its own, so that tests can have many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from garrison.database.contacts import Contacted
from garrison.egress import HOPS, PURPOSES, error_classes

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
Family: TypeAlias = tuple[str, Sequence[tuple[Sequence[str], float]]]
"""Name of one of `FAMILIES`, and its values by label."""


class EgressMeter:
    """Counts outgoing connections, those of the Console and those that Defenders report.

    Any thread. What a Defender says is not believed: an unknown word becomes `other`, so that
    nobody can fill Prometheus with series.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._connections = Counter(
            "garrison_egress_connections",
            COUNTERS["garrison_egress_connections_total"],
            ["source", "purpose", "route", "result", "hop", "code"],
            registry=self.registry,
        )
        self._hops = Histogram(
            "garrison_egress_hop_seconds",
            COUNTERS["garrison_egress_hop_seconds"],
            ["source", "hop", "result"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._bytes = Counter(
            "garrison_egress_bytes",
            COUNTERS["garrison_egress_bytes_total"],
            ["source", "purpose", "route", "direction"],
            registry=self.registry,
        )

    def count(self, source: Literal["console", "defender"], record: Contacted) -> None:
        """Count one record."""
        purpose = _one_of(record.purpose, _PURPOSES)
        route = "direct" if record.route == "direct" else "proxy"
        if not record.opened:
            self._bytes.labels(source, purpose, route, "sent").inc(record.sent)
            self._bytes.labels(source, purpose, route, "received").inc(record.received)
            return
        hop = "" if record.ok else _one_of(record.hop, _HOPS)
        code = "" if record.ok else _one_of(record.code, _CODES)
        self._connections.labels(source, purpose, route, _result(record.ok), hop, code).inc()
        for step in record.steps:
            self._hops.labels(source, _one_of(step.hop, _HOPS), _result(step.ok)).observe(
                step.ms / 1000
            )


class Metrics:
    """Counters of one Console process, and gauges read when asked for."""

    def __init__(
        self,
        gauges: Callable[[], Iterator[tuple[str, float]]],
        meter: EgressMeter | None = None,
        families: Callable[[], Iterator[Family]] = lambda: iter(()),
    ) -> None:
        self._registry = CollectorRegistry()
        self._gauges = gauges
        self._meter = meter or EgressMeter()
        self._requests = Counter(
            "garrison_http_requests",
            COUNTERS["garrison_http_requests_total"],
            ["method", "endpoint", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "garrison_http_request_seconds",
            COUNTERS["garrison_http_request_seconds"],
            ["method", "endpoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._values = {
            name: Gauge(name, text, registry=self._registry) for name, text in GAUGES.items()
        }
        self._registry.register(_Families(families))

    def request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(method, endpoint, str(status)).inc()
        self._seconds.labels(method, endpoint).observe(seconds)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        for name, value in self._gauges():
            self._values[name].set(value)
        return generate_latest(self._registry) + generate_latest(self._meter.registry)


class _Families(Collector):
    """Values with labels that are read when asked for."""

    def __init__(self, read: Callable[[], Iterator[Family]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for name, values in self._read():
            labels, text = FAMILIES[name]
            family: CounterMetricFamily | GaugeMetricFamily = (
                CounterMetricFamily(name, text, labels=labels)
                if name.endswith("_total")
                else GaugeMetricFamily(name, text, labels=labels)
            )
            for named, value in values:
                family.add_metric(named, value)
            yield family


COUNTERS = {
    "garrison_http_requests_total": "Requests answered.",
    "garrison_http_request_seconds": "Time to answer a request.",
    "garrison_egress_connections_total": "Outgoing connections that were opened or failed.",
    "garrison_egress_hop_seconds": "Time that one hop of an outgoing connection took.",
    "garrison_egress_bytes_total": "Bytes of bodies and messages on outgoing connections.",
}
GAUGES = {
    "garrison_defenders": "Enrolled Defenders.",
    "garrison_defenders_connected": "Defenders with a session now.",
    "garrison_defenders_outdated": "Defenders that run older proxy settings than the Console.",
    "garrison_images": "Images known.",
    "garrison_scans_queued": "Scans waiting for a Defender.",
    "garrison_deliveries_waiting": "Alerts written and not yet sent.",
    "garrison_intel_age_seconds": "Age of the advisories; -1 when none are loaded.",
    "garrison_proxy_settings_revision": "Revision of the proxy settings in force.",
}
FAMILIES: dict[str, tuple[tuple[str, ...], str]] = {
    "garrison_egress_proxy_up": (
        ("proxy",),
        "Whether the latest connections came through this proxy: 1, or 0; 0.5 for some of them.",
    ),
    "garrison_egress_routes_failing": (
        ("purpose",),
        "Routes whose last connection failed within 24 hours.",
    ),
    "garrison_egress_source_connections_total": (
        ("source", "group", "result"),
        "Outgoing connections of the Console and of each Defender, as in the list of connections.",
    ),
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PURPOSES = frozenset(PURPOSES)
_HOPS = frozenset(HOPS)
_CODES = frozenset(one.code for one in error_classes())


def _one_of(word: str, known: frozenset[str]) -> str:
    return word if word in known else "other"


def _result(ok: bool) -> str:
    return "ok" if ok else "failed"
