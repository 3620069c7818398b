"""Grades how far a benchmark can be trusted, from what the box was like before and after.

It is not aware of where the facts come from. Used by `benchmark`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgepack.formats.device import DeviceFacts, Environment
from edgepack.formats.report import Duration, GoldenFacts, Grade, RunFacts, Trust

#: A warmer chip throttles sooner. Source: the report's menu of fields, `temp_rise_gt_10C`.
_TEMPERATURE_RISE_MC = 10_000
_FREQUENCY_DRIFT = 0.05
_LATENCY_DRIFT = 0.05
#: Half of the cores busy with something else when the benchmark began.
_LOAD_PER_CORE = 0.5
#: The two clocks may differ by the time one reading takes, and by slow correction.
_CLOCK_JUMP_S = 1.0

#: Reasons that make the times worthless, and those that make them doubtful; all others are
#: things a careful reader should know.
_WORTHLESS = frozenset(("emulated", "emulation_unknown", "clock_jump", "wrong_answers"))
_DOUBTFUL = frozenset(("throttled", "n_below_minimum", "run_invalid", "background_load"))


@dataclass(frozen=True, slots=True)
class Witness:
    """What was seen around the runs.

    Attributes:
        device: What the box is.
        before: Its state before.
        after: Its state after.
        runs: The runs themselves.
        golden: Whether the answers were right.
        wall_s: The wall clock's idea of how long it took.
        elapsed_s: The monotonic clock's.
    """

    device: DeviceFacts
    before: Environment
    after: Environment
    runs: Sequence[RunFacts]
    golden: GoldenFacts
    wall_s: float
    elapsed_s: float


def grade_trust(witness: Witness) -> Trust:
    """Grades a benchmark.

    Args:
        witness: What was seen.

    Returns:
        X when a reason makes the times worthless, C when one makes them doubtful, B when there
        is any other reason, A without one; and the reasons, sorted.
    """
    reasons = {
        *_of_device(witness),
        *_of_environment(witness.before, witness.after, witness.device),
        *_of_runs(witness.runs),
    }
    if reasons & _WORTHLESS:
        grade = Grade.X
    elif reasons & _DOUBTFUL:
        grade = Grade.C
    else:
        grade = Grade.B if reasons else Grade.A
    return Trust(grade, tuple(sorted(reasons)))


def _of_device(witness: Witness) -> Iterable[str]:
    if witness.device.emulated is None:
        yield "emulation_unknown"
    elif witness.device.emulated:
        yield "emulated"
    if witness.device.virtualised is not None:
        yield "virtualised"
    if not witness.golden.ok:
        yield "wrong_answers"
    if abs(witness.wall_s - witness.elapsed_s) > _CLOCK_JUMP_S:
        yield "clock_jump"


def _of_runs(runs: Sequence[RunFacts]) -> Iterable[str]:
    for run in runs:
        if not run.min_queries_met or run.compute.p90 is None:
            yield "n_below_minimum"
        if not run.valid:
            yield "run_invalid"
        if run.method.duration is Duration.QUICK:
            yield "short_run"
        if run.drift is not None and abs(run.drift) > _LATENCY_DRIFT:
            yield "latency_drift_gt_5pct"


def _of_environment(before: Environment, after: Environment, device: DeviceFacts) -> Iterable[str]:
    yield from _of_frequency(before, after)
    yield from _of_temperature(before, after)
    earlier = {each.source: each.value for each in before.throttle or ()}
    for each in after.throttle or ():
        if each.value > earlier.get(each.source, 0):
            yield "throttled"
    if (after.cgroup_throttled or 0) > (before.cgroup_throttled or 0):
        yield "throttled"
    if before.load_1m is not None and before.load_1m > _LOAD_PER_CORE * (device.cores_online or 1):
        yield "background_load"


def _of_frequency(before: Environment, after: Environment) -> Iterable[str]:
    if before.frequency is None or after.frequency is None:
        yield "governor_unknown"
        return
    for policy, state in before.frequency.items():
        if state.governor != "performance":
            yield "governor_not_performance"
        later = after.frequency.get(policy)
        first, last = state.current_khz, later.current_khz if later else None
        if first and last and abs(last / first - 1) > _FREQUENCY_DRIFT:
            yield "freq_drift_gt_5pct"


def _of_temperature(before: Environment, after: Environment) -> Iterable[str]:
    if before.temperature_mc is None or after.temperature_mc is None:
        yield "temperature_unknown"
        return
    for zone, first in before.temperature_mc.items():
        if after.temperature_mc.get(zone, first) - first > _TEMPERATURE_RISE_MC:
            yield "temp_rise_gt_10C"
