"""Replays a release's golden answers: does this box compute what the host computed?

It is not aware of who asks. Used by `check`, `serve` and `bench`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepack.formats.errors import BundleError
from edgepack.formats.golden import GoldenSet, GoldenTensors, check_ranking, check_tensor
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.clock import Clock
from edgepack.runner.engines.contract import Array, Engine
from edgepack.runner.recommender import Recommender, open_recommender
from edgepack.runner.release import Release

#: More than this many sentences help nobody; the first ones name the fault.
_MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """How a replay went: how many golden cases were run, and what was wrong with them."""

    cases: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every case was answered as on the host."""
        return not self.problems


def check_engine(release: Release, engine: Engine) -> list[str]:
    """Compares the loaded model's inputs and outputs with the manifest's.

    Args:
        release: The release.
        engine: Its candidate, loaded.

    Returns:
        What differs; empty when they agree. Names and a fixed batch are the runtime's affair:
        runtimes rename tensors and settle on batch 1.
    """
    candidate = release.candidate
    return [
        *_compare("inputs", candidate.inputs, engine.inputs),
        *_compare("outputs", candidate.outputs, engine.outputs),
    ]


def replay_golden(release: Release, engine: Engine, clock: Clock) -> ReplayOutcome:
    """Runs every golden case of a release.

    Args:
        release: The release.
        engine: Its candidate, loaded.
        clock: Passed on to the recommender.

    Returns:
        What was wrong, at most 20 sentences.

    Raises:
        BundleError: There are no golden cases, or the graph is not what the kind needs.
        DeviceError: The runtime failed.
    """
    golden = release.golden
    cases = len(golden.sequences) + len(golden.tensors)
    if not cases:
        raise BundleError(f"{release.candidate.golden} holds no golden answers")
    problems = check_engine(release, engine)
    if not problems and release.vocabulary is not None:
        problems += _replay_sequences(golden, open_recommender(release, engine, clock))
    if not problems:
        problems += _replay_tensors(golden, engine)
    return ReplayOutcome(cases, tuple(problems[:_MAX_PROBLEMS]))


def golden_arrays(case: GoldenTensors) -> list[Array]:
    """Returns the inputs of a tensor model's golden case as arrays in file order."""
    return [np.array(value.data, dtype=value.dtype).reshape(value.shape) for value in case.inputs]


def _replay_sequences(golden: GoldenSet, recommender: Recommender) -> list[str]:
    problems = []
    for i, expected in enumerate(golden.sequences):
        ranking = recommender.rank(expected.history)
        found = check_ranking(expected, ranking.items, ranking.scores, golden.tolerance)
        problems += [f"golden sequence {i}: {each}" for each in found]
    return problems


def _replay_tensors(golden: GoldenSet, engine: Engine) -> list[str]:
    problems = []
    for i, case in enumerate(golden.tensors):
        outputs = engine.run(golden_arrays(case))
        if len(outputs) != len(case.outputs):
            problems.append(f"golden tensors {i}: {len(outputs)} outputs came back")
            continue
        for expected, output in zip(case.outputs, outputs, strict=True):
            data: list[float] = output.ravel().tolist()
            found = check_tensor(expected, data, golden.tolerance)
            problems += [f"golden tensors {i}: {each}" for each in found]
    return problems


def _compare(what: str, wanted: Sequence[TensorSpec], got: Sequence[TensorSpec]) -> list[str]:
    if len(wanted) != len(got):
        return [f"{what}: the model has {len(got)}, the manifest {len(wanted)}"]
    problems = []
    for i, (want, have) in enumerate(zip(wanted, got, strict=True)):
        if want.dtype != have.dtype or not _agree(want.shape[1:], have.shape[1:]):
            problems.append(
                f"{what}[{i}]: the model has {have.dtype}{list(have.shape)}, the manifest "
                f"{want.dtype}{list(want.shape)}"
            )
    return problems


def _agree(want: tuple[int, ...], have: tuple[int, ...]) -> bool:
    return len(want) == len(have) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(want, have, strict=True)
    )
