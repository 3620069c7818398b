"""Grades how far a benchmark can be trusted, from what the box was like before and after.

It is not aware of where the facts come from. Used by `benchmark`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgepack.formats.device import DeviceFacts, Environment, Throttle
from edgepack.formats.report import Duration, GoldenFacts, Grade, RunFacts, Scenario, Trust
from edgepack.runner.bench.board import (
    PI_NOW,
    PI_SINCE_BOOT,
    PI_UNDER_VOLTAGE_NOW,
    ThrottleKind,
    throttle_kind,
)
from edgepack.runner.bench.gpu import gpu_reservations

#: A warmer chip throttles sooner. Source: the report's menu of fields, `temp_rise_gt_10C`.
_TEMPERATURE_RISE_MC: Final = 10_000
_FREQUENCY_DRIFT: Final = 0.05
_LATENCY_DRIFT: Final = 0.05
#: Half of the cores busy with something else when the benchmark began.
_LOAD_PER_CORE: Final = 0.5
#: On a box of four cores, two fifths of one core.
_OTHERS_PERCENT: Final = 10.0
#: The two clocks may differ by the time one reading takes, and by slow correction.
_CLOCK_JUMP_S: Final = 1.0
#: The kernel's own idle pages come and go; what a program loses is more.
_SWAP_GROWTH: Final = 4 * 2**20
#: A daemon that took less than this of a core while the scenarios ran was left alone.
_DAEMON_SHARE: Final = 0.01

#: Every reason there is and the best grade a report with it can have: X, its times are
#: worthless; C, doubtful; B, a careful reader should know.
REASONS: Final[Mapping[str, Grade]] = {
    "emulated": Grade.X,
    "emulation_unknown": Grade.X,
    "clock_jump": Grade.X,
    "wrong_answers": Grade.X,
    "throttled": Grade.C,
    "under_voltage": Grade.C,
    "n_below_minimum": Grade.C,
    "run_invalid": Grade.C,
    "latency_bound_missed": Grade.C,
    "background_load": Grade.C,
    "swapped": Grade.C,
    "while_serving": Grade.C,
    "gpu_throttled": Grade.C,
    "gpu_shared": Grade.C,
    "gpu_power_capped": Grade.B,
    "gpu_fallback": Grade.B,
    "beside_idle_daemon": Grade.B,
    "short_run": Grade.B,
    "latency_drift_gt_5pct": Grade.B,
    "throttled_since_boot": Grade.B,
    "cpu_quota": Grade.B,
    "governor_not_performance": Grade.B,
    "governor_unknown": Grade.B,
    "freq_drift_gt_5pct": Grade.B,
    "temp_rise_gt_10C": Grade.B,
    "temperature_unknown": Grade.B,
    "virtualised": Grade.B,
}
_WORST_FIRST: Final = (Grade.X, Grade.C, Grade.B)


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
        others_percent: What other programs took of all cores while the scenarios ran, or None.
        daemon_share: What a daemon that serves the same release took of one core; None when
            there is none.
        fallback: Why the CPU computed although a GPU was asked for; None where that is not so.
    """

    device: DeviceFacts
    before: Environment
    after: Environment
    runs: Sequence[RunFacts]
    golden: GoldenFacts
    wall_s: float
    elapsed_s: float
    others_percent: float | None = None
    daemon_share: float | None = None
    fallback: str | None = None


def grade_trust(witness: Witness) -> Trust:
    """Grades a benchmark.

    Args:
        witness: What was seen.

    Returns:
        The grade of the worst reason (see `REASONS`), A without one; and the reasons, sorted.
    """
    reasons = {
        *_of_device(witness),
        *_of_load(witness),
        *_of_frequency(witness.before, witness.after),
        *_of_temperature(witness.before, witness.after),
        *_of_throttling(witness.before, witness.after),
        *_of_runs(witness.runs),
        *gpu_reservations(witness.before.gpu, witness.after.gpu),
    }
    if witness.fallback is not None:
        reasons.add("gpu_fallback")
    grades = {REASONS[reason] for reason in reasons}
    grade = next((each for each in _WORST_FIRST if each in grades), Grade.A)
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
    if witness.before.cgroup_cpu_max is not None:
        yield "cpu_quota"


def _of_load(witness: Witness) -> Iterable[str]:
    before, after = witness.before, witness.after
    cores = witness.device.cores_online or 1
    if before.load_1m is not None and before.load_1m > _LOAD_PER_CORE * cores:
        yield "background_load"
    if witness.others_percent is not None and witness.others_percent > _OTHERS_PERCENT:
        yield "background_load"
    if (after.swap_used or 0) - (before.swap_used or 0) > _SWAP_GROWTH:
        yield "swapped"
    if witness.daemon_share is not None:
        busy = witness.daemon_share > _DAEMON_SHARE
        yield "while_serving" if busy else "beside_idle_daemon"


def _of_runs(runs: Sequence[RunFacts]) -> Iterable[str]:
    for run in runs:
        p = run.compute.p99 if run.method.scenario is Scenario.SERVER else run.compute.p90
        if not run.min_queries_met or p is None:
            yield "n_below_minimum"
        if not (run.min_queries_met and run.min_duration_met):
            yield "run_invalid"
        if run.bound_met is False:
            yield "latency_bound_missed"
        if run.method.duration is Duration.QUICK:
            yield "short_run"
        if run.drift is not None and abs(run.drift) > _LATENCY_DRIFT:
            yield "latency_drift_gt_5pct"


def _of_throttling(before: Environment, after: Environment) -> Iterable[str]:
    earlier = {each.source: each.value for each in before.throttle or ()}
    for each in (*(before.throttle or ()), *(after.throttle or ())):
        yield from _of_throttle(each, earlier.get(each.source, 0))
    if (after.cgroup_throttled or 0) > (before.cgroup_throttled or 0):
        yield "throttled"


def _of_throttle(throttle: Throttle, earlier: int) -> Iterable[str]:
    value = throttle.value
    match throttle_kind(throttle):
        case ThrottleKind.FLAGS:
            # A flag since boot that was not there before was raised and cleared in between.
            seen = {
                "throttled": value & PI_NOW or value & PI_SINCE_BOOT & ~earlier,
                "under_voltage": value & PI_UNDER_VOLTAGE_NOW,
                "throttled_since_boot": value & PI_SINCE_BOOT,
            }
        case ThrottleKind.ALARM:
            seen = {"under_voltage": value}
        case ThrottleKind.STATE:
            seen = {"throttled": value}
        case ThrottleKind.COUNTER:
            seen = {"throttled": value > earlier}
    return [reason for reason, is_so in seen.items() if is_so]


def _of_frequency(before: Environment, after: Environment) -> Iterable[str]:
    # A GPU's clock goes down when it rests, on purpose; only the CPU's policies are judged.
    policies = {
        name: state
        for name, state in (before.frequency or {}).items()
        if not name.startswith("devfreq")
    }
    if not policies or after.frequency is None:
        yield "governor_unknown"
    for policy, state in policies.items():
        if state.governor != "performance":
            yield "governor_not_performance"
        later = (after.frequency or {}).get(policy)
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
