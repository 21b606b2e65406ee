"""What `/metrics` tells Prometheus; a registry of its own, so that tests can have many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counters of one Console process, and gauges read when asked for."""

    def __init__(self, gauges: Callable[[], Iterator[tuple[str, float]]]) -> None:
        self._registry = CollectorRegistry()
        self._gauges = gauges
        self._requests = Counter(
            "garrison_http_requests",
            "Requests answered.",
            ["method", "endpoint", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "garrison_http_request_seconds",
            "Time to answer a request.",
            ["method", "endpoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._values = {
            name: Gauge(name, text, registry=self._registry) for name, text in GAUGES.items()
        }

    def request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(method, endpoint, str(status)).inc()
        self._seconds.labels(method, endpoint).observe(seconds)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        for name, value in self._gauges():
            self._values[name].set(value)
        return generate_latest(self._registry)


GAUGES = {
    "garrison_defenders": "Enrolled Defenders.",
    "garrison_defenders_connected": "Defenders with a session now.",
    "garrison_images": "Images known.",
    "garrison_scans_queued": "Scans waiting for a Defender.",
    "garrison_deliveries_waiting": "Alerts written and not yet sent.",
    "garrison_intel_age_seconds": "Age of the advisories; -1 when none are loaded.",
    "garrison_proxy_settings_revision": "Revision of the proxy settings in force.",
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
