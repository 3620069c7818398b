"""What both tensor protocols counted, for each release: requests, rows, calls and durations.

It is not aware of how it is shown; `v2.statistics` does that. Used by `turn`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgepack.runner.live.model import LiveModel
from edgepack.runner.rows import Call


@dataclass(slots=True)
class Total:
    """How often something happened and how long it took altogether, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, duration_ns: int) -> None:
        """Counts one more."""
        self.count += 1
        self.ns += duration_ns


@dataclass(frozen=True, slots=True)
class Spent:
    """Where a request's time went, in nanoseconds, and its rows.

    Attributes:
        queue: Waiting for the model.
        reading: From bytes to arrays.
        rows: How many rows it had.
        inside: Inside the engine, for whoever shared the call.
        writing: From arrays to bytes.
    """

    queue: int
    reading: int
    rows: int
    inside: int
    writing: int


@dataclass(slots=True)
class ModelStatistics:
    """One release's totals since the server started.

    Attributes:
        last_ms: When the last request was answered, in milliseconds since 1970.
        rows: Rows answered.
        success: Requests that were answered.
        fail: Requests that got to the model and were not.
        queue: Waiting for the model.
        reading: From bytes to arrays.
        infer: Inside the engine, one for each call, however many requests shared it.
        writing: From arrays to bytes.
        batches: Calls of the engine by their rows.
    """

    last_ms: int = 0
    rows: int = 0
    success: Total = field(default_factory=Total)
    fail: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    reading: Total = field(default_factory=Total)
    infer: Total = field(default_factory=Total)
    writing: Total = field(default_factory=Total)
    batches: dict[int, Total] = field(default_factory=dict)


class TensorStatistics:
    """The totals of every release that answered; the model's thread and the loop both count."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelStatistics] = {}
        self._lock = threading.Lock()

    def of(self, live: LiveModel) -> ModelStatistics:
        """Returns a release's totals."""
        return self._models.setdefault((live.release.id, live.variant), ModelStatistics())

    def count_success(self, live: LiveModel, spent: Spent, now_ms: int) -> None:
        """Counts a request that was answered."""
        with self._lock:
            totals = self.of(live)
            totals.last_ms = now_ms
            totals.queue.add(spent.queue)
            totals.reading.add(spent.reading)
            totals.writing.add(spent.writing)
            totals.rows += spent.rows
            totals.success.add(spent.queue + spent.reading + spent.inside + spent.writing)

    def count_calls(self, live: LiveModel, calls: Sequence[Call]) -> None:
        """Counts calls of the engine, each once."""
        with self._lock:
            totals = self.of(live)
            for rows, duration_ns in calls:
                totals.infer.add(duration_ns)
                totals.batches.setdefault(rows, Total()).add(duration_ns)

    def count_failure(self, live: LiveModel, duration_ns: int) -> None:
        """Counts a request that got to the model and was not answered."""
        with self._lock:
            self.of(live).fail.add(duration_ns)
