"""What is known about the box beside its requests: drift, reports that wait, what is served.

Everything is read when Prometheus asks. It is not aware of HTTP. Used by
`exposition` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgepack.formats.variants import RuntimeName
from edgepack.runner.drift.counters import DriftCounters
from edgepack.runner.live.models import LiveModels
from edgepack.runner.reports.sender import SenderState

_UNKNOWN_ITEMS = "unknown_items"


class ModelsCollector(Collector):
    """Which releases are served."""

    def __init__(self, models: LiveModels) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yields the families Prometheus reads."""
        info = GaugeMetricFamily(
            "edgepack_model_info",
            "What is served; 0 when it was unloaded",
            labels=("model", "version", "variant", "runtime", "precision", "label"),
        )
        for label, live in self._models.all():
            candidate, runtime = live.release.candidate, live.release.manifest.runtime.name
            about = (live.name, live.version, live.variant, str(runtime), str(candidate.precision))
            info.add_metric((*about, label), int(live.engine is not None))
        yield info
        # A canary may have the name and the version of what it stands beside; its label differs.
        engines = [
            (label, live, live.engine)
            for label, live in self._models.all()
            if live.engine is not None
        ]
        computing = GaugeMetricFamily(
            "edgepack_engine_info",
            "What computes",
            labels=("model", "version", "provider", "label"),
        )
        fallback = GaugeMetricFamily(
            "edgepack_gpu_fallback",
            "1 when the CPU computes although the bundle asks for a GPU",
            labels=("model", "version", "label"),
        )
        for label, live, engine in engines:
            computing.add_metric((live.name, live.version, engine.provider, label), 1)
            if live.release.manifest.runtime.name is RuntimeName.ONNXRUNTIME_GPU:
                fallen = int(engine.fallback is not None)
                fallback.add_metric((live.name, live.version, label), fallen)
        yield computing
        if fallback.samples:
            yield fallback


class DriftCollector(Collector):
    """How far the traffic is from what the model was made for."""

    def __init__(self, counters: Callable[[], DriftCounters | None]) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Yields the families Prometheus reads; what cannot be told yet is left out."""
        ratio = GaugeMetricFamily(
            "edgepack_drift_unknown_items_ratio", "Share of unknown items in recent histories"
        )
        distance = GaugeMetricFamily(
            "edgepack_drift_distance_ratio",
            "Jensen-Shannon distance of recent traffic from the bundle's reference, 0 to 1",
            labels=("feature",),
        )
        observations = GaugeMetricFamily(
            "edgepack_drift_observations", "Values behind a drift figure", labels=("feature",)
        )
        counters = self._counters()
        for reading in () if counters is None else counters.readings():
            observations.add_metric((reading.feature,), reading.count)
            if reading.value is None:
                continue
            if reading.feature == _UNKNOWN_ITEMS:
                ratio.add_metric((), reading.value)
            else:
                distance.add_metric((reading.feature,), reading.value)
        yield from (ratio, distance, observations)


class ReportsCollector(Collector):
    """Reports on their way to the hub."""

    def __init__(self, state: Callable[[], SenderState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yields the families Prometheus reads; what cannot be told yet is left out."""
        state = self._state()
        waiting = GaugeMetricFamily("edgepack_reports_waiting", "Reports that wait to be sent")
        if state.waiting is not None:
            waiting.add_metric((), state.waiting)
        failures = GaugeMetricFamily(
            "edgepack_report_send_failures", "Failed tries to send in a row"
        )
        failures.add_metric((), state.failures)
        yield from (waiting, failures)
        for name, about, count in (
            ("edgepack_reports_accepted", "Reports the hub took", state.accepted),
            ("edgepack_reports_refused", "Reports the hub will never take", state.refused),
            ("edgepack_reports_dropped", "Reports dropped for want of room", state.dropped),
        ):
            family = CounterMetricFamily(name, about)
            if count is not None:
                family.add_metric((), count)
            yield family
