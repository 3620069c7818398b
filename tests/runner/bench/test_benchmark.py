from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.formats.device import Environment, Frequency, Throttle
from edgepack.formats.errors import DeviceError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.report import Duration, Grade, Report, check_report, parse_report
from edgepack.runner.bench.benchmark import Identity, Surroundings, measure_release
from edgepack.runner.bench.command import describe_report
from edgepack.runner.bench.process import Usage
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.bench.trust import Witness, grade_trust
from edgepack.runner.engines import Engine
from edgepack.runner.release import Release
from tests.runner.bench.boxes import PI_PLATFORM, raspberry_pi_4
from tests.runner.simulators import (
    HISTORIES,
    ITEMS,
    HandClock,
    SimulatedEngine,
    SimulatedTensorEngine,
    simulated_release,
)

_IDENTITY = Identity("0b5f6d0c-7f0e-4c3e-9a52-1f6d0a1b2c3d", "a" * 32, "0.1.0")


class Meter:
    """A process meter that tells fixed numbers, or nothing."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.looks = 0

    def usage(self) -> Usage:
        if self.silent:
            return Usage(None, None, None, None, None, None, None)
        self.looks += 1
        return Usage(1000 * self.looks, 900, 0, 10**9 * self.looks, 10**6, 5, 6)

    def peak_rss(self) -> int | None:
        return None if self.silent else 5000

    def age_ns(self) -> int | None:
        return None if self.silent else 300_000_000


def _measure(
    release: Release,
    clock: HandClock,
    engine: Callable[[Release], Engine],
    *,
    tree: SystemTree,
    meter: Meter | None = None,
    environment: dict[str, str] | None = None,
    duration: Duration = Duration.QUICK,
) -> Report:
    around = Surroundings(
        clock=clock,
        system=tree,
        here=PI_PLATFORM,
        environment=environment or {},
        clock_synced=lambda: True,
        meter=meter or Meter(),
        open_engine=engine,
        started_ns=clock.now_ns,
    )
    return measure_release(release, duration, _IDENTITY, around)


def _engine_of(clock: HandClock, call_ns: int = 2_000_000) -> Callable[[Release], Engine]:
    def open_simulated(_: Release) -> Engine:
        clock.now_ns += 40_000_000
        return SimulatedEngine(clock=clock, call_ns=call_ns)

    return open_simulated


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A minute's run on a quiet board; only a short run would leave a reason behind."""
    directory = tmp_path_factory.mktemp("quiet")
    clock = HandClock(step_ns=50)
    return _measure(
        simulated_release(directory),
        clock,
        _engine_of(clock),
        tree=raspberry_pi_4(directory / "box"),
        duration=Duration.STANDARD,
    )


def test_a_runtime_that_cannot_load_makes_no_report(tmp_path: Path) -> None:
    def refuse(_: Release) -> Engine:
        raise DeviceError("no such op")

    tree = raspberry_pi_4(tmp_path / "box")
    with pytest.raises(DeviceError, match="no such op"):
        _measure(simulated_release(tmp_path), HandClock(step_ns=50), refuse, tree=tree)


def test_wrong_answers_are_in_the_report_and_make_its_times_worthless(tmp_path: Path) -> None:
    clock = HandClock(step_ns=50)
    release = simulated_release(tmp_path)
    first = release.golden.sequences[0]
    wrong = replace(first, scores=(first.scores[0] + 1, *first.scores[1:]))
    altered = replace(release, golden=GoldenSet(1e-3, (wrong,)))
    tree = raspberry_pi_4(tmp_path / "box")
    report = _measure(altered, clock, _engine_of(clock), tree=tree)
    assert (report.golden.ok, report.trust.grade) == (False, Grade.X)
    assert "WRONG" in "\n".join(describe_report(report))


def test_an_emulated_run_is_marked_and_worthless(tmp_path: Path) -> None:
    clock = HandClock(step_ns=50)
    report = _measure(
        simulated_release(tmp_path),
        clock,
        _engine_of(clock),
        tree=raspberry_pi_4(tmp_path / "box"),
        environment={"EDGEPACK_EMULATED": "1"},
    )
    assert report.device.emulated is True
    assert (report.trust.grade, "emulated" in report.trust.reasons) == (Grade.X, True)
    assert check_report(json.loads(report.to_bytes())) == []


def test_a_system_that_tells_nothing_still_gives_a_valid_report(tmp_path: Path) -> None:
    clock = HandClock(step_ns=50)
    report = _measure(
        simulated_release(tmp_path),
        clock,
        _engine_of(clock),
        tree=SystemTree(tmp_path / "nothing"),
        meter=Meter(silent=True),
    )
    assert check_report(json.loads(report.to_bytes())) == []
    assert report.cold.process_start_ns is None
    assert report.trust.grade is Grade.X
    assert "emulation_unknown" in report.trust.reasons


def test_a_report_is_valid_and_reads_back_as_itself(report: Report) -> None:
    assert check_report(json.loads(report.to_bytes())) == []
    assert parse_report(report.to_bytes()) == report


def test_cold_is_apart_from_warm(report: Report) -> None:
    assert report.cold.process_start_ns == pytest.approx(300_000_000, abs=1000)
    assert report.cold.init_ns == pytest.approx(40_000_000, abs=1000)
    assert report.cold.first_inference_ns == pytest.approx(2_000_000, abs=1000)
    assert report.cold.time_to_ready_ns is not None
    assert report.cold.time_to_ready_ns > 340_000_000
    single = report.runs[0]
    assert single.end_to_end is not None
    assert single.compute.max_ns < 2_100_000


def test_what_the_process_took_is_told(report: Report) -> None:
    assert (report.memory.rss_before_load, report.memory.rss_after_load) == (1000, 2000)
    assert report.cpu.user_ns == 10**9


def test_a_quiet_box_with_nothing_in_the_way_is_graded_a(report: Report) -> None:
    assert (report.trust.grade, report.trust.reasons) == (Grade.A, ())
    assert all(run.valid for run in report.runs)


def test_no_item_id_history_or_host_name_is_in_a_report(report: Report) -> None:
    text = report.to_bytes().decode()
    assert "sku-" not in text
    assert "till-17" not in text
    assert len(HISTORIES) == report.golden.cases
    assert not any(item in text for item in ITEMS)


def test_a_report_is_summed_up_in_words(report: Report) -> None:
    text = "\n".join(describe_report(report))
    assert "session 1.2.0, tflite-dynamic-int8, litert" in text
    assert "p50 2,000 us" in text
    assert "trust         A (no reservations)" in text


def test_a_tensor_model_is_measured_too(tmp_path: Path) -> None:
    release = simulated_release(tmp_path, kind_tensor=True)
    tree = raspberry_pi_4(tmp_path / "box")
    clock = HandClock(step_ns=3_000_000)
    report = _measure(release, clock, lambda _: SimulatedTensorEngine(), tree=tree)
    assert check_report(json.loads(report.to_bytes())) == []
    assert report.model.vocabulary_sha256 is None


def _quiet(report: Report) -> Witness:
    return Witness(report.device, report.before, report.after, report.runs, report.golden, 1.0, 1.0)


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
    ],
)
def test_each_thing_in_the_way_has_a_reason_and_a_grade(
    report: Report, change: Callable[[Witness], Witness], reason: str, grade: Grade
) -> None:
    assert grade_trust(_quiet(report)).grade is Grade.A
    trust = grade_trust(change(_quiet(report)))
    assert reason in trust.reasons
    assert trust.grade is grade
