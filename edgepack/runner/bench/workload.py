"""What a benchmark runs over and over: golden inputs through the whole path of an answer.

Real sequences, because random ids make another pattern in the caches. It is not aware of
scenarios or clocks beyond the engine's. Used by `scenarios` through its Protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgepack.formats.errors import BundleError
from edgepack.runner.clock import Clock
from edgepack.runner.engines.contract import Engine
from edgepack.runner.recommender import open_recommender
from edgepack.runner.release import Release
from edgepack.runner.replay import golden_arrays
from edgepack.runner.rows import CallSizes, check_batch_size, join_rows, run_rows, sizes_of


class Workload(Protocol):
    """A set of samples, each of which can be run."""

    @property
    def samples(self) -> int:
        """How many different samples there are, at least 1."""
        ...

    @property
    def max_batch(self) -> int:
        """How many samples can be run in one call, at least 1."""
        ...

    def run(self, sample: int) -> int:
        """Runs a sample and returns the nanoseconds inside the engine.

        Raises:
            DeviceError: The runtime failed.
        """
        ...

    def run_batch(self, samples: Sequence[int]) -> int:
        """Runs samples in one call and returns the nanoseconds inside the engine.

        Args:
            samples: At most `max_batch`.

        Raises:
            DeviceError: The runtime failed.
        """
        ...


class RankingWorkload:
    """Golden histories of a recommender: item ids in, ranked item ids out (a `Workload`)."""

    def __init__(self, release: Release, engine: Engine, clock: Clock, sizes: CallSizes) -> None:
        self._histories = [each.history for each in release.golden.sequences]
        self._recommender = open_recommender(release, engine, clock)
        self._engine = engine
        self._clock = clock
        self._sizes = sizes
        if not self._histories:
            raise BundleError(f"{release.candidate.golden} holds no golden sequences")

    @property
    def samples(self) -> int:
        """How many golden histories there are."""
        return len(self._histories)

    def run(self, sample: int) -> int:
        """Ranks a history; see `Workload.run`."""
        return self._recommender.rank(self._histories[sample]).compute_ns

    @property
    def max_batch(self) -> int:
        """How many histories go through in one call."""
        return self._sizes.most

    def run_batch(self, samples: Sequence[int]) -> int:
        """Ranks histories together, to item ids; see `Workload.run_batch`."""
        recommender = self._recommender
        indices, unknown = recommender.encode([self._histories[each] for each in samples])
        outputs, calls = run_rows(self._engine, [indices], self._sizes, self._clock.monotonic_ns)
        for row, count in enumerate(unknown):
            recommender.ranking(outputs, row, count, 0)
        return sum(call.duration_ns for call in calls)


class TensorWorkload:
    """Golden inputs of a tensor model (a `Workload`)."""

    def __init__(self, release: Release, engine: Engine, clock: Clock, sizes: CallSizes) -> None:
        self._sizes = sizes
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

    @property
    def max_batch(self) -> int:
        """How many cases go through in one call."""
        return self._sizes.most

    def run_batch(self, samples: Sequence[int]) -> int:
        """Runs cases together; see `Workload.run_batch`."""
        inputs = join_rows([self._inputs[each] for each in samples])
        _, calls = run_rows(self._engine, inputs, self._sizes, self._clock.monotonic_ns)
        return sum(call.duration_ns for call in calls)


def open_workload(
    release: Release, engine: Engine, clock: Clock, batch_size: int | None = None
) -> Workload:
    """Makes the workload of a release.

    Args:
        release: Whose golden inputs are run.
        engine: Its candidate, loaded.
        clock: Times the engine.
        batch_size: The most samples of one call; None: as many as the candidate takes.

    Raises:
        BundleError: There are no golden inputs.
        ConfigError: The candidate does not take `batch_size` in one call.
    """
    sizes = sizes_of(engine, check_batch_size(release.candidate, batch_size))
    if release.vocabulary is None:
        return TensorWorkload(release, engine, clock, sizes)
    return RankingWorkload(release, engine, clock, sizes)
