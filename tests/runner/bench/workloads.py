"""Workloads with the real interface that take as long as they are told."""

from __future__ import annotations

from tests.runner.simulators import HandClock


class SteadyWork:
    """A workload whose samples each take as long as is said."""

    def __init__(self, clock: HandClock, call_ns: int, around_ns: int = 0) -> None:
        self.clock = clock
        self.call_ns = call_ns
        self.around_ns = around_ns
        self.samples = 7
        self.ran: list[int] = []

    def run(self, sample: int) -> int:
        self.ran.append(sample)
        self.clock.now_ns += self.call_ns + self.around_ns
        return self.call_ns
