"""What Prometheus reads; the only file that imports `prometheus_client`.

Base units, `_total` on counters, and no ids of items, users or devices in any label. It is not
aware of HTTP. Used by `app`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector

from edgepack.runner.recommender import Answer, Fallback

#: 50 us, a small model's raw call, to 1 s, where a shopper has gone.
_BUCKETS_S = (
    0.00005,
    0.0001,
    0.0002,
    0.0003,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
)
_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class ModelLabels:
    """The labels of every model metric."""

    model: str
    version: str
    runtime: str
    precision: str

    def as_mapping(self) -> Mapping[str, str]:
        """Returns label name and value."""
        return {
            "model": self.model,
            "version": self.version,
            "runtime": self.runtime,
            "precision": self.precision,
        }


class Metrics:
    """The server's metrics in a registry of their own."""

    def __init__(self, labels: ModelLabels) -> None:
        # When a series began is what Prometheus sees by itself; it would double the output.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        values = labels.as_mapping()
        names = tuple(values)
        self._registry = registry
        self._requests = Counter(
            "edgepack_http_requests", "HTTP requests answered", ("route", "code"), registry=registry
        )
        self._request_counters: dict[tuple[str, int], Counter] = {}
        self._connections = Gauge(
            "edgepack_http_connections", "Open HTTP connections", registry=registry
        )
        self._ready = Gauge(
            "edgepack_ready", "1 when the release is verified and served", registry=registry
        )
        self._recommend = Histogram(
            "edgepack_recommend_duration_seconds",
            "Time to answer a recommendation, without the network",
            names,
            registry=registry,
            buckets=_BUCKETS_S,
        ).labels(**values)
        self._inference = Histogram(
            "edgepack_inference_duration_seconds",
            "Time inside the inference runtime",
            names,
            registry=registry,
            buckets=_BUCKETS_S,
        ).labels(**values)
        self._history = Counter(
            "edgepack_history_items", "Items in histories", names, registry=registry
        ).labels(**values)
        self._unknown = Counter(
            "edgepack_unknown_items",
            "Items in histories that the model does not know",
            names,
            registry=registry,
        ).labels(**values)
        fallbacks = Counter(
            "edgepack_fallback_answers",
            "Answers of popular items instead of the model's",
            (*names, "reason"),
            registry=registry,
        )
        self._fallbacks = {why: fallbacks.labels(**values, reason=str(why)) for why in Fallback}

    def count_request(self, route: str, status: int) -> None:
        """Counts an answered request; `route` is from the server's own table."""
        counter = self._request_counters.get((route, status))
        if counter is None:
            counter = self._requests.labels(route=route, code=str(status))
            self._request_counters[route, status] = counter
        counter.inc()

    def observe_answer(self, answer: Answer, history_length: int, duration_ns: int) -> None:
        """Counts a recommendation and the time it took."""
        self._recommend.observe(duration_ns / _NS_PER_S)
        if answer.compute_ns is not None:
            self._inference.observe(answer.compute_ns / _NS_PER_S)
        self._history.inc(history_length)
        if answer.unknown:
            self._unknown.inc(answer.unknown)
        if answer.fallback is not None:
            self._fallbacks[answer.fallback].inc()

    def set_connections(self, count: int) -> None:
        """Tells how many connections are open."""
        self._connections.set(count)

    def set_ready(self, *, ready: bool) -> None:
        """Tells whether the release is verified and served."""
        self._ready.set(int(ready))

    def exposition(self) -> tuple[bytes, str]:
        """Returns what Prometheus reads and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
