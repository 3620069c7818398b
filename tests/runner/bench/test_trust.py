from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgepack.formats.device import Environment, Frequency, GpuState, Throttle
from edgepack.formats.report import Duration, Grade, Report, Scenario
from edgepack.runner.bench.board import PI_FLAGS, PI_VOLTAGE_ALARM
from edgepack.runner.bench.trust import REASONS, Witness, grade_trust
from edgepack.runner.gpu.nvml import look_at_cards
from tests.runner.bench.reports import quiet_report
from tests.runner.gpu.cards import Card, SimulatedNvml


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return quiet_report(tmp_path_factory.mktemp("quiet"))


def _quiet(report: Report) -> Witness:
    return Witness(report.device, report.before, report.after, report.runs, report.golden, 1.0, 1.0)


def _with_throttle(witness: Witness, source: str, before: int, after: int) -> Witness:
    return replace(
        witness,
        before=replace(witness.before, throttle=(Throttle(source, before),)),
        after=replace(witness.after, throttle=(Throttle(source, after),)),
    )


def _with_method(
    witness: Witness, *, duration: Duration = Duration.STANDARD, scenario: Scenario | None = None
) -> Witness:
    run = witness.runs[0]
    method = replace(run.method, duration=duration, scenario=scenario or run.method.scenario)
    return replace(witness, runs=(replace(run, method=method),))


def _with_frequency(state: Environment, governor: str, khz: int) -> Environment:
    return replace(state, frequency={"policy0": Frequency(governor, khz, 600_000, 1_500_000)})


@pytest.mark.parametrize(
    ("change", "reason", "grade"),
    [
        (lambda w: replace(w, wall_s=30.0), "clock_jump", Grade.X),
        (lambda w: replace(w, device=replace(w.device, emulated=True)), "emulated", Grade.X),
        (
            lambda w: replace(w, after=replace(w.after, throttle=(Throttle("x", 4),))),
            "throttled",
            Grade.C,
        ),
        (
            lambda w: replace(
                w,
                before=replace(w.before, cgroup_throttled=1),
                after=replace(w.after, cgroup_throttled=2),
            ),
            "throttled",
            Grade.C,
        ),
        (lambda w: replace(w, before=replace(w.before, load_1m=2.5)), "background_load", Grade.C),
        (
            lambda w: replace(w, runs=(replace(w.runs[0], valid=False, min_queries_met=False),)),
            "n_below_minimum",
            Grade.C,
        ),
        (
            lambda w: replace(w, before=_with_frequency(w.before, "powersave", 1_500_000)),
            "governor_not_performance",
            Grade.B,
        ),
        (
            lambda w: replace(w, after=_with_frequency(w.after, "performance", 900_000)),
            "freq_drift_gt_5pct",
            Grade.B,
        ),
        (
            lambda w: replace(
                w, after=replace(w.after, temperature_mc={"thermal_zone0:cpu-thermal": 60_000})
            ),
            "temp_rise_gt_10C",
            Grade.B,
        ),
        (
            lambda w: replace(w, runs=(replace(w.runs[0], drift=0.2),)),
            "latency_drift_gt_5pct",
            Grade.B,
        ),
        (
            lambda w: replace(w, device=replace(w.device, virtualised="KVM")),
            "virtualised",
            Grade.B,
        ),
        (lambda w: replace(w, device=replace(w.device, emulated=None)), "emulation_unknown", "X"),
        (lambda w: replace(w, golden=replace(w.golden, ok=False)), "wrong_answers", Grade.X),
        (lambda w: replace(w, others_percent=30.0), "background_load", Grade.C),
        (lambda w: replace(w, daemon_share=0.5), "while_serving", Grade.C),
        (lambda w: replace(w, daemon_share=0.0), "beside_idle_daemon", Grade.B),
        (
            lambda w: replace(w, after=replace(w.after, swap_used=10**8)),
            "swapped",
            Grade.C,
        ),
        (
            lambda w: replace(w, before=replace(w.before, cgroup_cpu_max="50000 100000")),
            "cpu_quota",
            Grade.B,
        ),
        (
            lambda w: replace(w, runs=(replace(w.runs[0], min_duration_met=False),)),
            "run_invalid",
            Grade.C,
        ),
        (
            lambda w: replace(w, runs=(replace(w.runs[0], bound_met=False),)),
            "latency_bound_missed",
            Grade.C,
        ),
        (lambda w: _with_method(w, duration=Duration.QUICK), "short_run", Grade.B),
        (lambda w: replace(w, before=replace(w.before, frequency=None)), "governor_unknown", "B"),
        (
            lambda w: replace(w, after=replace(w.after, temperature_mc=None)),
            "temperature_unknown",
            Grade.B,
        ),
        # Held down before and after alike: no counter grew, and every time is a slow one.
        (lambda w: _with_throttle(w, PI_FLAGS, 0x4, 0x4), "throttled", Grade.C),
        (lambda w: _with_throttle(w, PI_FLAGS, 0x0, 0x40000), "throttled", Grade.C),
        (lambda w: _with_throttle(w, PI_FLAGS, 0x0, 0x1), "under_voltage", Grade.C),
        (lambda w: _with_throttle(w, PI_VOLTAGE_ALARM, 0, 1), "under_voltage", Grade.C),
        (
            lambda w: _with_throttle(w, PI_FLAGS, 0x50000, 0x50000),
            "throttled_since_boot",
            Grade.B,
        ),
        (
            lambda w: _with_throttle(w, "cooling_device1 cpufreq-cpu0", 2, 2),
            "throttled",
            Grade.C,
        ),
        (lambda w: _with_throttle(w, "cpu0 core_throttle_count", 7, 8), "throttled", Grade.C),
    ],
)
def test_each_thing_in_the_way_has_a_reason_and_a_grade(
    report: Report, change: Callable[[Witness], Witness], reason: str, grade: str
) -> None:
    assert grade_trust(_quiet(report)).grade is Grade.A
    trust = grade_trust(change(_quiet(report)))
    assert reason in trust.reasons
    assert trust.grade == grade
    assert REASONS[reason] == grade


def test_what_does_not_slow_the_cpu_is_no_reason(report: Report) -> None:
    quiet = _quiet(report)
    counted = _with_throttle(quiet, "cpu0 core_throttle_count", 7, 7)
    assert grade_trust(counted).grade is Grade.A
    resting = {"devfreq 17000000.gpu": Frequency("nvhost_podgov", 306_000, 306_000, 918_000)}
    policies = quiet.before.frequency or {}
    beside_gpu = replace(
        quiet,
        before=replace(quiet.before, frequency={**policies, **resting}),
        others_percent=3.0,
    )
    assert grade_trust(beside_gpu).grade is Grade.A


def test_server_needs_its_99th_percentile(report: Report) -> None:
    server = _with_method(_quiet(report), scenario=Scenario.SERVER)
    few = replace(server.runs[0], compute=replace(server.runs[0].compute, p99=None))
    assert "n_below_minimum" in grade_trust(replace(server, runs=(few,))).reasons
    assert grade_trust(server).reasons == ()


def _card(**facts: Any) -> GpuState:
    (state,) = look_at_cards(nvml=SimulatedNvml(cards=[Card()])).states
    return replace(state, **facts)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (_card(), _card(throttle_reasons=("hw_thermal_slowdown",)), "gpu_throttled"),
        (_card(), _card(throttle_reasons=("hw_power_brake_slowdown",)), "gpu_throttled"),
        (_card(throttle_reasons=("sw_thermal_slowdown",)), _card(), "gpu_throttled"),
        (_card(throttled_thermal_ns=5), _card(throttled_thermal_ns=10**9), "gpu_throttled"),
        (_card(), _card(throttle_reasons=("sw_power_cap",)), "gpu_power_capped"),
        (_card(throttled_power_ns=5), _card(throttled_power_ns=10**9), "gpu_power_capped"),
        (_card(other_processes=1), _card(), "gpu_shared"),
        (_card(memory_used=2 * 2**30), _card(), "gpu_shared"),
        (_card(), _card(memory_used=2 * 2**30), None),
        (_card(throttle_reasons=("gpu_idle",)), _card(throttle_reasons=("gpu_idle",)), None),
        (_card(throttle_reasons=None), _card(throttled_thermal_ns=None), None),
    ],
)
def test_a_card_that_was_slowed_down_or_shared_spoils_the_times(
    report: Report, before: GpuState, after: GpuState, reason: str | None
) -> None:
    quiet = _quiet(report)
    witness = replace(
        quiet,
        before=replace(quiet.before, gpu=(before,)),
        after=replace(quiet.after, gpu=(after,)),
    )
    found = [each for each in grade_trust(witness).reasons if each.startswith("gpu")]
    assert found == ([] if reason is None else [reason])


def test_a_fall_back_to_the_cpu_is_a_reason_to_look_twice(report: Report) -> None:
    trust = grade_trust(replace(_quiet(report), fallback="no driver"))
    assert "gpu_fallback" in trust.reasons
