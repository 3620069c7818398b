"""Workloads with the real interface that take as long as they are told."""

from __future__ import annotations

from collections.abc import Sequence

from tests.runner.simulators import HandClock


class SteadyWork:
    """A workload whose calls take as long as is said, and a little more for each sample."""

    def __init__(
        self,
        clock: HandClock,
        call_ns: int,
        around_ns: int = 0,
        *,
        max_batch: int = 1,
        sample_ns: int = 0,
    ) -> None:
        self.max_batch = max_batch
        self.sample_ns = sample_ns
        self.batches: list[int] = []
        self.clock = clock
        self.call_ns = call_ns
        self.around_ns = around_ns
        self.samples = 7
        self.ran: list[int] = []

    def run(self, sample: int) -> int:
        self.ran.append(sample)
        self.clock.now_ns += self.call_ns + self.around_ns
        return self.call_ns

    def run_batch(self, samples: Sequence[int]) -> int:
        assert 1 <= len(samples) <= self.max_batch
        self.ran += samples
        self.batches.append(len(samples))
        took_ns = self.call_ns + self.sample_ns * len(samples)
        self.clock.now_ns += took_ns + self.around_ns
        return took_ns
