"""What a benchmark runs over and over: golden inputs through the whole path of an answer.

Real sequences, because random ids make another pattern in the caches. It is not aware of
scenarios or clocks beyond the engine's. Used by `scenarios` through its Protocol.
"""

from __future__ import annotations

from typing import Protocol

from edgepack.formats.errors import BundleError
from edgepack.runner.clock import Clock
from edgepack.runner.engines.contract import Engine
from edgepack.runner.recommender import open_recommender
from edgepack.runner.release import Release
from edgepack.runner.replay import golden_arrays


class Workload(Protocol):
    """A set of samples, each of which can be run."""

    @property
    def samples(self) -> int:
        """How many different samples there are, at least 1."""
        ...

    def run(self, sample: int) -> int:
        """Runs a sample and returns the nanoseconds inside the engine.

        Raises:
            DeviceError: The runtime failed.
        """
        ...


class RankingWorkload:
    """Golden histories of a recommender: item ids in, ranked item ids out (a `Workload`)."""

    def __init__(self, release: Release, engine: Engine, clock: Clock) -> None:
        self._histories = [each.history for each in release.golden.sequences]
        self._recommender = open_recommender(release, engine, clock)
        if not self._histories:
            raise BundleError(f"{release.candidate.golden} holds no golden sequences")

    @property
    def samples(self) -> int:
        """How many golden histories there are."""
        return len(self._histories)

    def run(self, sample: int) -> int:
        """Ranks a history; see `Workload.run`."""
        return self._recommender.rank(self._histories[sample]).compute_ns


class TensorWorkload:
    """Golden inputs of a tensor model (a `Workload`)."""

    def __init__(self, release: Release, engine: Engine, clock: Clock) -> None:
        self._inputs = [golden_arrays(case) for case in release.golden.tensors]
        self._engine = engine
        self._clock = clock
        if not self._inputs:
            raise BundleError(f"{release.candidate.golden} holds no golden tensors")

    @property
    def samples(self) -> int:
        """How many golden cases there are."""
        return len(self._inputs)

    def run(self, sample: int) -> int:
        """Runs a case; see `Workload.run`."""
        start_ns = self._clock.monotonic_ns()
        self._engine.run(self._inputs[sample])
        return self._clock.monotonic_ns() - start_ns


def open_workload(release: Release, engine: Engine, clock: Clock) -> Workload:
    """Makes the workload of a release.

    Args:
        release: Whose golden inputs are run.
        engine: Its candidate, loaded.
        clock: Times the engine.

    Raises:
        BundleError: There are no golden inputs.
    """
    if release.vocabulary is None:
        return TensorWorkload(release, engine, clock)
    return RankingWorkload(release, engine, clock)
