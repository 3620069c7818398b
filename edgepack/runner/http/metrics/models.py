"""What happens at a live model, counted on the way of every answer.

Counting is a few additions under a lock, a tenth of what `prometheus_client`'s own histogram
costs. It is not aware of HTTP or of how Prometheus reads it (`exposition`). Used by `server`
beside it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from edgepack.runner.live.model import LiveModel
from edgepack.runner.recommender import Answer, Fallback
from edgepack.runner.rows import Call

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


#: Rows of one call: 1, 2, 4 … 256.
BATCH_BOUNDS = tuple(1 << i for i in range(9))


class BatchSizes:
    """A histogram of the rows of calls.

    Attributes:
        counts: Calls in each bucket, the last one open.
        sum_rows: The rows of all of them.
    """

    __slots__ = ("counts", "sum_rows")

    def __init__(self) -> None:
        self.counts = [0] * (len(BATCH_BOUNDS) + 1)
        self.sum_rows = 0

    def add(self, rows: int) -> None:
        """Counts one call."""
        self.counts[min((rows - 1).bit_length(), len(BATCH_BOUNDS))] += 1
        self.sum_rows += rows


class ModelMetrics:
    """What has happened at one live model.

    Attributes:
        request: Time to answer a request that runs the model.
        queue: Time a request waited for the model.
        inference: Time of one call of the engine.
        batches: Rows of one call of the engine.
        answers: Histories answered.
        history_items: Items in them.
        unknown_items: Those the model does not know.
        fallbacks: Answers of popular items by reason.
    """

    __slots__ = (
        "_lock",
        "answers",
        "batches",
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
        self.batches = BatchSizes()
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

    def observe_calls(self, calls: Sequence[Call]) -> None:
        """Counts calls of the engine."""
        with self._lock:
            for rows, duration_ns in calls:
                self.inference.add(duration_ns)
                self.batches.add(rows)

    def observe_answer(self, answer: Answer, history_length: int) -> None:
        """Counts the answer to one history."""
        with self._lock:
            if answer.compute_ns is not None:
                self.inference.add(answer.compute_ns)
                # A call of one row, without the call that counts more of them.
                batches = self.batches
                batches.counts[0] += 1
                batches.sum_rows += 1
            self.answers += 1
            self.history_items += history_length
            self.unknown_items += answer.unknown
            if answer.fallback is not None:
                self.fallbacks[answer.fallback] += 1
