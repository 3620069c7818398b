"""The metrics of a live model: counted on the way of every answer, written out when read.

Counting is a few additions under a lock, a tenth of what `prometheus_client`'s own histogram
costs; what Prometheus reads is made by its families. It is not aware of HTTP. Used by
`server` beside it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

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
_BUCKETS_NS = tuple(round(bound * 1e9) for bound in BUCKETS_S)
_NS_PER_S = 1e9
_LABELS = ("model", "version", "runtime", "precision")


@dataclass(frozen=True, slots=True)
class ModelLabels:
    """The labels of every model metric."""

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
        """Returns the labels' values in the order of their names."""
        return self.model, self.version, self.runtime, self.precision


class Durations:
    """A histogram of durations.

    Attributes:
        counts: Durations in each bucket, the last one open.
        sum_ns: All of them added up.
    """

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_ns = 0

    def add(self, duration_ns: int) -> None:
        """Counts one duration; a bucket holds its upper bound, as Prometheus has it."""
        self.counts[bisect_left(_BUCKETS_NS, duration_ns)] += 1
        self.sum_ns += duration_ns


class ModelMetrics:
    """What has happened at one live model.

    Attributes:
        request: Time to answer a request that runs the model.
        queue: Time a request waited for the model.
        inference: Time of one call of the engine.
        answers: Histories answered.
        history_items: Items in them.
        unknown_items: Those the model does not know.
        fallbacks: Answers of popular items by reason.
    """

    __slots__ = (
        "_lock",
        "answers",
        "fallbacks",
        "history_items",
        "inference",
        "queue",
        "request",
        "unknown_items",
    )

    def __init__(self) -> None:
        self.request = Durations()
        self.queue = Durations()
        self.inference = Durations()
        self.answers = 0
        self.history_items = 0
        self.unknown_items = 0
        self.fallbacks = dict.fromkeys(Fallback, 0)
        # The model's thread and the event loop both count.
        self._lock = threading.Lock()

    def observe_request(self, duration_ns: int, waited_ns: int | None) -> None:
        """Counts a request: its whole time, and its wait where it got to the model."""
        with self._lock:
            self.request.add(duration_ns)
            if waited_ns is not None:
                self.queue.add(waited_ns)

    def observe_inference(self, duration_ns: int) -> None:
        """Counts one call of the engine."""
        with self._lock:
            self.inference.add(duration_ns)

    def observe_answer(self, answer: Answer, history_length: int) -> None:
        """Counts the answer to one history."""
        with self._lock:
            if answer.compute_ns is not None:
                self.inference.add(answer.compute_ns)
            self.answers += 1
            self.history_items += history_length
            self.unknown_items += answer.unknown
            if answer.fallback is not None:
                self.fallbacks[answer.fallback] += 1


class ModelCollector(Collector):
    """All models' metrics, as `prometheus_client` collects them."""

    def __init__(self) -> None:
        self._models: dict[ModelLabels, ModelMetrics] = {}

    def of(self, labels: ModelLabels) -> ModelMetrics:
        """Returns a model's metrics, which begin to be shown."""
        return self._models.setdefault(labels, ModelMetrics())

    def collect(self) -> Iterator[Metric]:
        """Yields the families Prometheus reads."""
        found = [(labels.values(), metrics) for labels, metrics in self._models.items()]
        yield _histogram(
            "edgepack_request_duration_seconds",
            "Time to answer a request that runs the model, without the network",
            ((labels, metrics.request) for labels, metrics in found),
        )
        yield _histogram(
            "edgepack_queue_duration_seconds",
            "Time a request waited for the model",
            ((labels, metrics.queue) for labels, metrics in found),
        )
        yield _histogram(
            "edgepack_inference_duration_seconds",
            "Time inside the inference runtime",
            ((labels, metrics.inference) for labels, metrics in found),
        )
        yield _counter(
            "edgepack_answers",
            "Histories answered",
            ((labels, metrics.answers) for labels, metrics in found),
        )
        yield _counter(
            "edgepack_history_items",
            "Items in histories",
            ((labels, metrics.history_items) for labels, metrics in found),
        )
        yield _counter(
            "edgepack_unknown_items",
            "Items in histories that the model does not know",
            ((labels, metrics.unknown_items) for labels, metrics in found),
        )
        yield _counter(
            "edgepack_fallback_answers",
            "Answers of popular items instead of the model's",
            (
                ((*labels, str(why)), count)
                for labels, metrics in found
                for why, count in metrics.fallbacks.items()
            ),
            (*_LABELS, "reason"),
        )


def _histogram(
    name: str, about: str, values: Iterable[tuple[Sequence[str], Durations]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, about, labels=_LABELS)
    bounds = [*map(repr, BUCKETS_S), "+Inf"]
    for labels, durations in values:
        buckets = list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))
        family.add_metric(labels, buckets, durations.sum_ns / _NS_PER_S)
    return family


def _counter(
    name: str,
    about: str,
    values: Iterable[tuple[Sequence[str], int]],
    labels: Sequence[str] = _LABELS,
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=labels)
    for each, count in values:
        family.add_metric(each, count)
    return family
