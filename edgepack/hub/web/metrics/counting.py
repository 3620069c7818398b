"""What the hub counts while it works, and the text Prometheus reads.

It is not aware of HTTP nor of where reports come from. Used by the web application and by intake,
which is handed the `Metrics` of its process.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

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

from edgepack import __version__

#: 1 ms, a report into a warm SQLite file, to 10 s, where a box has given up.
SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
#: Reports of one transaction: 1, 2, 4 … 512.
BATCH: Final = tuple(1 << i for i in range(10))


class Taken(StrEnum):
    """What became of a report that was taken in: it is NEW, or it was SEEN before."""

    NEW = "new"
    SEEN = "seen"


class Refusal(StrEnum):
    """Why a report was not taken in; each goes with one HTTP status."""

    MALFORMED = "malformed"  # 400: no JSON, no gzip, cut off
    UNAUTHENTICATED = "unauthenticated"  # 401: no token, or one the hub does not know
    FORBIDDEN = "forbidden"  # 403: a token that may not, or another device's report
    CONFLICT = "conflict"  # 409: the same id with other bytes
    TOO_LARGE = "too_large"  # 413
    UNSUPPORTED = "unsupported"  # 415: another content type or encoding
    INVALID = "invalid"  # 422: JSON, but no report
    RATE_LIMITED = "rate_limited"  # 429: the device sends too much
    BUSY = "busy"  # 503: the queue is full
    STORE = "store"  # 503: the store could not write

    @classmethod
    def of_status(cls, status: int) -> Refusal:
        """Returns what a status of HTTP says; a 503 is BUSY, since STORE is known by its error."""
        return _BY_STATUS.get(status, cls.MALFORMED)


_BY_STATUS: Final = {
    401: Refusal.UNAUTHENTICATED,
    403: Refusal.FORBIDDEN,
    409: Refusal.CONFLICT,
    413: Refusal.TOO_LARGE,
    415: Refusal.UNSUPPORTED,
    422: Refusal.INVALID,
    429: Refusal.RATE_LIMITED,
    503: Refusal.BUSY,
}


class Metrics:
    """One process's numbers.

    Attributes:
        requests: HTTP requests answered, by `route`, `method` and `code`.
        request_duration: Their time, by `route` and `method`.
        requests_in_progress: HTTP requests being answered.
    """

    def __init__(self) -> None:
        # When a series began is what Prometheus sees by itself; it would double the output.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        here = self._registry
        self.requests = Counter(
            "edgepack_hub_http_requests",
            "HTTP requests answered",
            ("route", "method", "code"),
            registry=here,
        )
        self.request_duration = Histogram(
            "edgepack_hub_http_request_duration_seconds",
            "Time to answer an HTTP request, without the network",
            ("route", "method"),
            buckets=SECONDS,
            registry=here,
        )
        self.requests_in_progress = Gauge(
            "edgepack_hub_http_requests_in_progress", "HTTP requests being answered", registry=here
        )
        self._reports = Counter(
            "edgepack_hub_reports",
            "Reports taken in: new ones, and ones that were seen before",
            ("outcome",),
            registry=here,
        )
        self._refused = Counter(
            "edgepack_hub_reports_refused", "Reports not taken in", ("reason",), registry=here
        )
        self._ingest = Histogram(
            "edgepack_hub_ingest_duration_seconds",
            "Time from a body that has been read to reports that are on disk",
            buckets=SECONDS,
            registry=here,
        )
        self._batch = Histogram(
            "edgepack_hub_commit_reports",
            "Reports of one transaction",
            buckets=BATCH,
            registry=here,
        )
        self._commit = Histogram(
            "edgepack_hub_commit_duration_seconds",
            "Time of one transaction, until it is on disk",
            buckets=SECONDS,
            registry=here,
        )
        self._commit_failures = Counter(
            "edgepack_hub_commit_failures", "Transactions that failed", registry=here
        )
        self._queue = Gauge(
            "edgepack_hub_queue_reports", "Reports that wait for their transaction", registry=here
        )
        self._queue_limit = Gauge(
            "edgepack_hub_queue_limit_reports", "Reports that may wait at most", registry=here
        )
        self._pruned = Counter(
            "edgepack_hub_pruned_rows", "Rows dropped since they are old", ("kind",), registry=here
        )
        self._prune_failures = Counter(
            "edgepack_hub_prune_failures", "Turns of dropping that failed", registry=here
        )
        self._prune_moment = Gauge(
            "edgepack_hub_prune_timestamp_seconds",
            "When this process last dropped what is old; 0: not yet",
            registry=here,
        )
        # A series that is not there yet has no rate; the first refusal would go unseen.
        for outcome in Taken:
            self._reports.labels(outcome)
        for reason in Refusal:
            self._refused.labels(reason)
        Gauge(
            "edgepack_hub_build_info",
            "Always 1; which program this is",
            ("version", "python"),
            registry=here,
        ).labels(__version__, platform.python_version()).set(1)

    def count_taken(self, outcome: Taken, reports: int = 1) -> None:
        """Counts reports that were taken in."""
        self._reports.labels(outcome).inc(reports)

    def count_refused(self, reason: Refusal, reports: int = 1) -> None:
        """Counts reports that were not."""
        self._refused.labels(reason).inc(reports)

    def observe_ingest(self, duration_s: float) -> None:
        """Counts a body of one or many reports: from having been read to being on disk."""
        self._ingest.observe(duration_s)

    def observe_commit(self, reports: int, duration_s: float) -> None:
        """Counts a transaction that is on disk."""
        self._batch.observe(reports)
        self._commit.observe(duration_s)

    def count_commit_failure(self, _error: Exception) -> None:
        """Counts a transaction that failed; nothing of it is on disk. The error is for the log."""
        self._commit_failures.inc()

    def count_pruned(self, now_ms: int, rows: Mapping[str, int]) -> None:
        """Counts what a turn of dropping has dropped.

        Args:
            now_ms: When it ended.
            rows: How many, by what they are.
        """
        for kind, count in rows.items():
            self._pruned.labels(kind).inc(count)
        self._prune_moment.set(now_ms / 1000)

    def count_prune_failure(self) -> None:
        """Counts a turn of dropping that failed; the error is for the log."""
        self._prune_failures.inc()

    def watch_queue(self, depth: Callable[[], int], limit: int) -> None:
        """Says where the queue's depth is read when Prometheus asks.

        Args:
            depth: Reports that wait now; called from any thread.
            limit: Reports that may wait at most.
        """
        self._queue.set_function(depth)
        self._queue_limit.set(limit)

    def add(self, collector: Collector) -> None:
        """Adds numbers that are read when Prometheus asks."""
        self._registry.register(collector)

    def exposition(self) -> tuple[bytes, str]:
        """Returns what Prometheus reads and its content type; may take as long as a query."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
