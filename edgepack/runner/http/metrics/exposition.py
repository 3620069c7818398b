"""Writes the server's and the models' metrics the way Prometheus reads them.

Base units, `_total` on counters, and no ids of items, users or devices in any label. It is not
aware of HTTP. Used by `server` beside it, at the first scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from edgepack.formats.variants import RuntimeName
from edgepack.runner.http.metrics.box import DriftCollector, ModelsCollector, ReportsCollector
from edgepack.runner.http.metrics.models import (
    BATCH_BOUNDS,
    BUCKETS_S,
    BatchSizes,
    Durations,
    ModelMetrics,
)
from edgepack.runner.http.metrics.server import Metrics

_NS_PER_S = 1e9
_LABELS = ("model", "version", "runtime", "precision")


class Exposition:
    """A registry over the server's numbers, which are read when Prometheus asks."""

    def __init__(self, metrics: Metrics) -> None:
        # When a series began is what Prometheus sees by itself; it would double the output.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        collectors: list[Collector] = [
            ServerCollector(metrics),
            ModelCollector(metrics),
            ModelsCollector(metrics.served),
            DriftCollector(metrics.drift),
        ]
        if metrics.reports is not None:
            collectors.append(ReportsCollector(metrics.reports))
        runtimes = {live.release.manifest.runtime.name for _, live in metrics.served.all()}
        if RuntimeName.ONNXRUNTIME_GPU in runtimes:
            from edgepack.runner.http.metrics.gpu import GpuCollector

            collectors.append(GpuCollector())
        for each in collectors:
            self._registry.register(each)

    def write(self) -> tuple[bytes, str]:
        """Returns the text and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class ServerCollector(Collector):
    """What the server counts and knows."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yields the families Prometheus reads."""
        metrics = self._metrics
        requests = CounterMetricFamily(
            "edgepack_http_requests", "HTTP requests answered", labels=("route", "code")
        )
        for (route, status), count in list(metrics.requests.items()):
            requests.add_metric((route, str(int(status))), count)
        reloads = CounterMetricFamily("edgepack_reloads", "Reloads asked for", labels=("outcome",))
        for outcome, count in list(metrics.reloads.items()):
            reloads.add_metric((outcome,), count)
        yield from (requests, reloads)
        for name, about, value in (
            ("edgepack_http_connections", "Open HTTP connections", metrics.connections),
            ("edgepack_pending_requests", "Requests that wait for the model", metrics.pending),
            ("edgepack_ready", "1 when the release is verified and served", int(metrics.ready)),
        ):
            yield GaugeMetricFamily(name, about, value=value)
        if metrics.state is not None:
            yield GaugeMetricFamily(
                "edgepack_state_writable",
                "1 when reports can be kept; serving goes on without",
                value=int(metrics.state.writable),
            )
            yield GaugeMetricFamily(
                "edgepack_state_free_bytes",
                "Free bytes on the disk of the state",
                value=metrics.state.free_bytes or 0,
            )


class ModelCollector(Collector):
    """What happened at each model."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yields the families Prometheus reads."""
        found = [
            (labels.values(), metrics) for labels, metrics in list(self._metrics.models.items())
        ]
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
        yield _batch_sizes((labels, metrics.batches) for labels, metrics in found)
        yield from _as_triton(found)
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


def _batch_sizes(values: Iterable[tuple[Sequence[str], BatchSizes]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "edgepack_batch_size", "Rows of one call of the inference runtime", labels=_LABELS
    )
    bounds = [*map(str, BATCH_BOUNDS), "+Inf"]
    for labels, sizes in values:
        buckets = list(zip(bounds, map(float, accumulate(sizes.counts)), strict=True))
        family.add_metric(labels, buckets, sizes.sum_rows)
    return family


def _as_triton(found: Iterable[tuple[tuple[str, ...], ModelMetrics]]) -> Iterator[Metric]:
    """Yields rows and calls under the names that dashboards made for Triton look for."""
    # Their counters have no `_total`, which `CounterMetricFamily` would add.
    rows = Metric("nv_inference_count", "Rows that went through the model", "untyped")
    calls = Metric("nv_inference_exec_count", "Calls of the inference runtime", "untyped")
    totals: dict[tuple[str, str], list[int]] = {}
    for (model, version, *_), metrics in found:
        both = totals.setdefault((model, version), [0, 0])
        both[0] += metrics.batches.sum_rows
        both[1] += sum(metrics.batches.counts)
    for (model, version), both in totals.items():
        labels = {"model": model, "version": version}
        for family, value in zip((rows, calls), both, strict=True):
            family.add_sample(family.name, labels, value)
    yield from (rows, calls)


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
