"""A lap: one block of every cell of a release, one after the other, in one process.

Each block is SingleStream by LoadGen's rules, for a part of the run's time. It is not aware of
processes, of where blocks are kept or of other releases. Used by `worker`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from edgepack.formats.device import Environment
from edgepack.formats.errors import EdgepackError
from edgepack.formats.report import Duration, GoldenFacts, Scenario
from edgepack.formats.statistics import nearest_rank
from edgepack.formats.tuning import MOST_VALUES, Block, Machine
from edgepack.runner.bench.occupancy import CoreTimes, other_percent
from edgepack.runner.bench.plan import SEED, Plan
from edgepack.runner.bench.samples import Measured
from edgepack.runner.bench.scenarios import run_scenario
from edgepack.runner.bench.trust import Witness, grade_trust
from edgepack.runner.bench.workload import open_workload
from edgepack.runner.choice.measuring import loaded, proven_engine
from edgepack.runner.choice.trials import Trial
from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.engines.contract import Engine
from edgepack.runner.release import Release

_MAX_PROBLEM: Final = 500
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LapPlan:
    """How long a block is.

    Attributes:
        round: Which round, from 0; each round draws another order of the golden inputs.
        block_ns: A block lasts at least this long …
        min_queries: … and has so many answers, but never lasts three times as long.
        warmup_ns: Runs before the first that counts, at least this long.
    """

    round: int
    block_ns: int
    min_queries: int
    warmup_ns: int


@dataclass(frozen=True, slots=True)
class Around:
    """Everything around a lap that a test replaces.

    Attributes:
        clock: Times the answers.
        load: Loads the release with a candidate, checked.
        open_engine: Loads the candidate's model.
        machine: Where it is measured.
        state: Reads the machine's state.
        cores: Reads all cores' ticks.
        own_ns: Reads this process's CPU time.
    """

    clock: Clock
    load: Callable[[str], Release]
    open_engine: Callable[[Release, Trial], Engine]
    machine: Machine
    state: Callable[[], Environment]
    cores: Callable[[], CoreTimes | None]
    own_ns: Callable[[], int]


class Listener(Protocol):
    """Is told what happens, at once: the process may die in the middle of a block."""

    def trying(self, number: int) -> None:
        """A trial's block begins."""
        ...

    def measured(self, number: int, block: Block) -> None:
        """A trial's block has ended, or the trial is out with a problem."""
        ...


def measure_lap(trials: Sequence[Trial], plan: LapPlan, around: Around, listener: Listener) -> None:
    """Measures a block of every trial.

    Args:
        trials: What is measured, in this order.
        plan: How long.
        around: Clock, engines and the machine.
        listener: Is told everything; a fault of a trial is told there and ends only that trial.
    """
    releases: dict[str, Release] = {}
    for number, trial in enumerate(trials):
        listener.trying(number)
        begin = Block(plan.round, around.machine.key, rfc3339(around.clock.utc_now()))
        try:
            release = loaded(releases, around.load, trial.variant)
            block = _measure(release, trial, plan, around, begin)
        except EdgepackError as error:
            block = replace(begin, problem=error.message[:_MAX_PROBLEM])
        listener.measured(number, block)


def _measure(release: Release, trial: Trial, plan: LapPlan, around: Around, begin: Block) -> Block:
    clock = around.clock
    scenario = Plan(
        scenario=Scenario.SINGLE_STREAM,
        duration=Duration.STANDARD,
        warmup_ns=plan.warmup_ns,
        min_duration_ns=plan.block_ns,
        min_samples=plan.min_queries,
        seed=SEED + plan.round,
    )
    # Golden answers are replayed in every block: a lap is a new process, and one that answers
    # wrongly only now and then is out as well.
    with proven_engine(release, trial, around.open_engine, clock, verify=True) as engine:
        workload = open_workload(release, engine, clock)
        before, cores, own_ns = around.state(), around.cores(), around.own_ns()
        begin_wall, begin_ns = clock.utc_now(), clock.monotonic_ns()
        measured = run_scenario(scenario, workload, clock)
        elapsed_ns = clock.monotonic_ns() - begin_ns
        wall_s = (clock.utc_now() - begin_wall).total_seconds()
        own_ns, later, after = around.own_ns() - own_ns, around.cores(), around.state()
    others = other_percent(cores, later, own_ns, elapsed_ns)
    witness = Witness(
        device=around.machine.device,
        # The load is our own from the block before.
        before=replace(before, load_1m=None),
        after=after,
        runs=(),
        golden=GoldenFacts(sha256="0" * 64, cases=1, problems=0, ok=True),
        wall_s=wall_s,
        elapsed_s=elapsed_ns / _NS,
        others_percent=others,
    )
    return _block(begin, measured, others, grade_trust(witness).reasons)


def _block(
    begin: Block, measured: Measured, others: float | None, reasons: tuple[str, ...]
) -> Block:
    samples = measured.end_to_end
    if samples is None:
        raise AssertionError("SingleStream has a latency for each query")
    ordered = sorted(samples.values)
    step = -(-len(ordered) // MOST_VALUES)
    return replace(
        begin,
        queries=samples.total,
        duration_ns=measured.duration_ns,
        p50_ns=nearest_rank(ordered, 0.5),
        p90_ns=nearest_rank(ordered, 0.9),
        sampled_every=samples.every * step,
        values_ns=tuple(samples.values[::step]),
        others_percent=others,
        reasons=reasons,
    )
