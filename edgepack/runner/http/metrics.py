"""What Prometheus reads; the only file that imports `prometheus_client`.

Base units, `_total` on counters, and no ids of items, users or devices in any label. It is not
aware of HTTP. Used by `app` and by the routes.
"""

from __future__ import annotations

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
from prometheus_client.registry import Collector

from edgepack.runner.health import StateHealth
from edgepack.runner.live.model import LiveModel
from edgepack.runner.recommender import Answer, Fallback

#: 50 us, a small model's raw call, to 1 s, where a shopper has gone.
BUCKETS_S = (
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
_LABELS = ("model", "version", "runtime", "precision")


@dataclass(frozen=True, slots=True)
class ModelLabels:
    """The labels of every model metric, in the order of `_LABELS`."""

    model: str
    version: str
    runtime: str
    precision: str

    @classmethod
    def of(cls, live: LiveModel) -> ModelLabels:
        """Returns a live model's labels."""
        candidate = live.release.candidate
        runtime = live.release.manifest.runtime.name
        return cls(live.name, live.version, str(runtime), str(candidate.precision))

    def values(self) -> tuple[str, str, str, str]:
        """Returns the labels' values."""
        return self.model, self.version, self.runtime, self.precision


class Metrics:
    """The server's metrics in a registry of their own."""

    def __init__(self) -> None:
        # When a series began is what Prometheus sees by itself; it would double the output.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._registry = registry
        self._requests = Counter(
            "edgepack_http_requests", "HTTP requests answered", ("route", "code"), registry=registry
        )
        # Looked up for every request: a plain dictionary costs a tenth of `labels`.
        self._request_counters: dict[tuple[str, int], Counter] = {}
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
        self._families = _ModelFamilies(registry)
        self._models: dict[ModelLabels, ModelMetrics] = {}
        self._by_live: dict[int, ModelMetrics] = {}

    def add(self, collector: Collector) -> None:
        """Adds metrics that are computed when they are read."""
        self._registry.register(collector)

    def enter(self, live: LiveModel) -> None:
        """Begins to count for a live model; its metrics are there from now on."""
        labels = ModelLabels.of(live)
        known = self._models.get(labels)
        if known is None:
            known = self._models[labels] = ModelMetrics(self._families, labels)
        self._by_live[id(live)] = known

    def leave(self, live: LiveModel) -> None:
        """Ends to count for a live model; what was counted stays."""
        self._by_live.pop(id(live), None)

    def of(self, live: LiveModel) -> ModelMetrics:
        """Returns a live model's metrics; one that has left counts with its namesakes."""
        return self._by_live.get(id(live)) or self._models[ModelLabels.of(live)]

    def count_request(self, route: str, status: int) -> None:
        """Counts an answered request; `route` is from the server's own table."""
        counter = self._request_counters.get((route, status))
        if counter is None:
            counter = self._requests.labels(route=route, code=str(int(status)))
            self._request_counters[route, status] = counter
        counter.inc()

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


class _ModelFamilies:
    """The metrics that exist once for each model, still without their labels' values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, help_text: str) -> Histogram:
            return Histogram(name, help_text, _LABELS, registry=registry, buckets=BUCKETS_S)

        def counter(name: str, help_text: str, *more: str) -> Counter:
            return Counter(name, help_text, (*_LABELS, *more), registry=registry)

        self.request = histogram(
            "edgepack_request_duration_seconds",
            "Time to answer a request that runs the model, without the network",
        )
        self.queue = histogram(
            "edgepack_queue_duration_seconds", "Time a request waited for the model"
        )
        self.inference = histogram(
            "edgepack_inference_duration_seconds", "Time inside the inference runtime"
        )
        self.answers = counter("edgepack_answers", "Histories answered")
        self.history = counter("edgepack_history_items", "Items in histories")
        self.unknown = counter(
            "edgepack_unknown_items", "Items in histories that the model does not know"
        )
        self.fallbacks = counter(
            "edgepack_fallback_answers",
            "Answers of popular items instead of the model's",
            "reason",
        )


class ModelMetrics:
    """The metrics of one live model."""

    def __init__(self, families: _ModelFamilies, labels: ModelLabels) -> None:
        values = labels.values()
        self._request = families.request.labels(*values)
        self._queue = families.queue.labels(*values)
        self._inference = families.inference.labels(*values)
        self._answers = families.answers.labels(*values)
        self._history = families.history.labels(*values)
        self._unknown = families.unknown.labels(*values)
        self._fallbacks = {why: families.fallbacks.labels(*values, str(why)) for why in Fallback}

    def observe_request(self, duration_ns: int, waited_ns: int | None) -> None:
        """Counts a request: its whole time, and its wait where it got to the model."""
        self._request.observe(duration_ns / _NS_PER_S)
        if waited_ns is not None:
            self._queue.observe(waited_ns / _NS_PER_S)

    def observe_inference(self, duration_ns: int) -> None:
        """Counts one call of the engine."""
        self._inference.observe(duration_ns / _NS_PER_S)

    def observe_answer(self, answer: Answer, history_length: int) -> None:
        """Counts the answer to one history."""
        if answer.compute_ns is not None:
            self._inference.observe(answer.compute_ns / _NS_PER_S)
        self._answers.inc()
        self._history.inc(history_length)
        if answer.unknown:
            self._unknown.inc(answer.unknown)
        if answer.fallback is not None:
            self._fallbacks[answer.fallback].inc()
