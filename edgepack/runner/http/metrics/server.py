"""What Prometheus reads: the server's own metrics, the models' and what others add.

Base units, `_total` on counters, and no ids of items, users or devices in any label. It is not
aware of HTTP. Used by `app` and by the routes.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from edgepack.runner.health import StateHealth
from edgepack.runner.http.metrics.models import ModelCollector, ModelLabels, ModelMetrics
from edgepack.runner.live.model import LiveModel


class _RequestCollector(Collector):
    """Requests by route and status: a dictionary costs a tenth of a `Counter` with labels."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "edgepack_http_requests", "HTTP requests answered", labels=("route", "code")
        )
        for (route, status), count in self.counts.items():
            family.add_metric((route, str(int(status))), count)
        yield family


class Metrics:
    """The server's metrics in a registry of their own."""

    def __init__(self) -> None:
        # When a series began is what Prometheus sees by itself; it would double the output.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._registry = registry
        self._requests = _RequestCollector()
        registry.register(self._requests)
        self._connections = Gauge(
            "edgepack_http_connections", "Open HTTP connections", registry=registry
        )
        self._pending = Gauge(
            "edgepack_pending_requests", "Requests that wait for the model", registry=registry
        )
        self._state_writable = Gauge(
            "edgepack_state_writable",
            "1 when reports can be kept; serving goes on without",
            registry=registry,
        )
        self._state_free = Gauge(
            "edgepack_state_free_bytes", "Free bytes on the disk of the state", registry=registry
        )
        self._ready = Gauge(
            "edgepack_ready", "1 when the release is verified and served", registry=registry
        )
        self._reloads = Counter(
            "edgepack_reloads", "Reloads asked for", ("outcome",), registry=registry
        )
        self._models = ModelCollector()
        registry.register(self._models)
        self._by_live: dict[int, ModelMetrics] = {}

    def add(self, collector: Collector) -> None:
        """Adds metrics that are computed when they are read."""
        self._registry.register(collector)

    def enter(self, live: LiveModel) -> None:
        """Begins to count for a live model; its metrics are there from now on."""
        self._by_live[id(live)] = self._models.of(ModelLabels.of(live))

    def leave(self, live: LiveModel) -> None:
        """Ends to count for a live model; what was counted stays."""
        self._by_live.pop(id(live), None)

    def of(self, live: LiveModel) -> ModelMetrics:
        """Returns a live model's metrics; one that has left counts with its namesakes."""
        return self._by_live.get(id(live)) or self._models.of(ModelLabels.of(live))

    def count_request(self, route: str, status: int) -> None:
        """Counts an answered request; only the event loop does.

        Args:
            route: From the server's own table.
            status: The HTTP status.
        """
        counts = self._requests.counts
        counts[route, status] = counts.get((route, status), 0) + 1

    def count_reload(self, outcome: str) -> None:
        """Counts a reload: `done`, `unchanged` or `refused`."""
        self._reloads.labels(outcome=outcome).inc()

    def set_connections(self, count: int) -> None:
        """Tells how many connections are open."""
        self._connections.set(count)

    def set_pending(self, count: int) -> None:
        """Tells how many requests wait for the model."""
        self._pending.set(count)

    def set_state(self, health: StateHealth) -> None:
        """Tells whether reports can be kept and how much room there is for them."""
        self._state_writable.set(int(health.writable))
        self._state_free.set(health.free_bytes or 0)

    def set_ready(self, *, ready: bool) -> None:
        """Tells whether the release is verified and served."""
        self._ready.set(int(ready))

    def exposition(self) -> tuple[bytes, str]:
        """Returns what Prometheus reads and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
