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
from edgepack.runner.rows import join_rows, run_rows, sizes_of

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
    fixed = [spec.name for spec in (*engine.inputs, *engine.outputs) if spec.shape[:1] != (-1,)]
    if candidate.max_batch > 1 and fixed:
        return [
            f"the manifest says that {candidate.max_batch} rows go through in one call, but the "
            f"model's first extent of {', '.join(fixed)} is fixed"
        ]
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
        What was wrong, at most 20 sentences. A candidate that takes several rows in one call
        answers them together as well, and has to answer each as if it were alone.

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
    if not problems and release.candidate.max_batch > 1:
        problems += _replay_together(release, engine, clock)
    return ReplayOutcome(cases, tuple(problems[:_MAX_PROBLEMS]))


def golden_arrays(case: GoldenTensors) -> list[Array]:
    """Returns the inputs of a tensor model's golden case as arrays in file order."""
    return [np.array(value.data, dtype=value.dtype).reshape(value.shape) for value in case.inputs]


def golden_rows(release: Release, rows: int, begin: int = 0) -> list[Array]:
    """Returns golden inputs as rows of one call.

    Args:
        release: Whose.
        rows: How many; the golden cases are gone through again and again.
        begin: Which case is the first row.

    Returns:
        One array for each input in file order.
    """
    places = range(begin, begin + rows)
    if release.vocabulary is not None:
        length = release.manifest.model.sequence_length or 0
        cases = release.golden.sequences
        encoded = [
            release.vocabulary.encode(cases[i % len(cases)].history, length)[0] for i in places
        ]
        return [np.array(encoded, dtype=np.int32)]
    tensors = release.golden.tensors
    return join_rows([golden_arrays(tensors[i % len(tensors)]) for i in places])


def _replay_together(release: Release, engine: Engine, clock: Clock) -> list[str]:
    """Replays the golden cases in calls of two rows and of the most, beside each other."""
    golden = release.golden
    cases = len(golden.sequences) + len(golden.tensors)
    most = sizes_of(engine, release.candidate.max_batch)
    problems = []
    for rows in sorted({2, most.most}):
        for begin in range(0, cases, rows):
            arrays = golden_rows(release, rows, begin)
            outputs, _ = run_rows(engine, arrays, most, clock.monotonic_ns)
            for row in range(rows):
                case = (begin + row) % cases
                own = [each[row : row + 1] for each in outputs]
                problems += [
                    f"golden case {case} in a call of {rows} rows: {each}"
                    for each in _check_case(release, engine, clock, case, own)
                ]
    return problems


def _check_case(
    release: Release, engine: Engine, clock: Clock, case: int, outputs: Sequence[Array]
) -> list[str]:
    golden = release.golden
    if release.vocabulary is None:
        found: list[str] = []
        for expected, output in zip(golden.tensors[case].outputs, outputs, strict=True):
            found += check_tensor(expected, output.ravel().tolist(), golden.tolerance)
        return found
    ranking = open_recommender(release, engine, clock).ranking(outputs, 0, 0, 0)
    return check_ranking(golden.sequences[case], ranking.items, ranking.scores, golden.tolerance)


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
