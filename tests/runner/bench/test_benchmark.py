from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.formats.errors import DeviceError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.report import Grade, Report, Scenario, check_report, parse_report
from edgepack.runner.bench.command import describe_report
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.engines import Engine
from edgepack.runner.release import Release
from tests.runner.bench.boxes import raspberry_pi_4, write_tree
from tests.runner.bench.reports import Meter, engine_of, measure, quiet_report
from tests.runner.simulators import (
    HISTORIES,
    ITEMS,
    HandClock,
    SimulatedTensorEngine,
    simulated_release,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return quiet_report(tmp_path_factory.mktemp("quiet"))


def test_a_runtime_that_cannot_load_makes_no_report(tmp_path: Path) -> None:
    def refuse(_: Release) -> Engine:
        raise DeviceError("no such op")

    tree = raspberry_pi_4(tmp_path / "box")
    with pytest.raises(DeviceError, match="no such op"):
        measure(simulated_release(tmp_path), HandClock(step_ns=50), refuse, tree=tree)


def test_wrong_answers_are_in_the_report_and_make_its_times_worthless(tmp_path: Path) -> None:
    clock = HandClock(step_ns=50)
    release = simulated_release(tmp_path)
    first = release.golden.sequences[0]
    wrong = replace(first, scores=(first.scores[0] + 1, *first.scores[1:]))
    altered = replace(release, golden=GoldenSet(1e-3, (wrong,)))
    tree = raspberry_pi_4(tmp_path / "box")
    report = measure(altered, clock, engine_of(clock), tree=tree)
    assert (report.golden.ok, report.trust.grade) == (False, Grade.X)
    assert "WRONG" in "\n".join(describe_report(report))


def test_an_emulated_run_is_marked_and_worthless(tmp_path: Path) -> None:
    clock = HandClock(step_ns=50)
    report = measure(
        simulated_release(tmp_path),
        clock,
        engine_of(clock),
        tree=raspberry_pi_4(tmp_path / "box"),
        environment={"EDGEPACK_EMULATED": "1"},
    )
    assert report.device.emulated is True
    assert (report.trust.grade, "emulated" in report.trust.reasons) == (Grade.X, True)
    assert check_report(json.loads(report.to_bytes())) == []


def test_a_system_that_tells_nothing_still_gives_a_valid_report(tmp_path: Path) -> None:
    clock = HandClock(step_ns=50)
    report = measure(
        simulated_release(tmp_path),
        clock,
        engine_of(clock),
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
    report = measure(release, clock, lambda _: SimulatedTensorEngine(), tree=tree)
    assert check_report(json.loads(report.to_bytes())) == []
    assert report.model.vocabulary_sha256 is None


def test_waiting_for_a_choice_is_no_part_of_the_cold_start(tmp_path: Path) -> None:
    ready = []
    for waited_ns in (0, 90_000_000_000):
        clock = HandClock(step_ns=50)
        tree = raspberry_pi_4(tmp_path / "box")
        release = simulated_release(tmp_path / str(waited_ns))
        meter = Meter()
        meter.age_since(clock, 300_000_000)
        clock.now_ns += waited_ns
        report = measure(
            release, clock, engine_of(clock), tree=tree, meter=meter, waited_ns=waited_ns
        )
        assert report.cold.process_start_ns == pytest.approx(300_000_000, abs=1000)
        ready.append(report.cold.time_to_ready_ns)
    assert ready[0] == pytest.approx(ready[1], abs=1000)


def test_a_daemon_that_works_meanwhile_is_a_reason(tmp_path: Path) -> None:
    for pid, ticks, reason in ((7, "5 5", "beside_idle_daemon"), (8, None, "while_serving")):
        clock = HandClock(step_ns=50)
        tree = raspberry_pi_4(tmp_path / "box")
        if ticks is not None:
            stat = f"{pid} (python3) S " + "0 " * 10 + f"{ticks} 0 0"
            write_tree(tmp_path / "box", {f"/proc/{pid}/stat": stat})
        release = simulated_release(tmp_path / reason)
        report = measure(release, clock, engine_of(clock), tree=tree, daemon_pid=pid)
        assert reason in report.trust.reasons


def test_all_three_scenarios_are_measured_in_one_report(tmp_path: Path) -> None:
    clock = HandClock(step_ns=20_000)
    report = measure(
        simulated_release(tmp_path),
        clock,
        engine_of(clock),
        tree=raspberry_pi_4(tmp_path / "box"),
        scenarios=tuple(Scenario),
    )
    assert check_report(json.loads(report.to_bytes())) == []
    assert [run.method.arrival for run in report.runs] == ["closed", "at_once", "poisson"]
    server = report.runs[2]
    assert server.queue is not None
    assert server.method.latency_bound_ns is not None
    assert server.bound_met is True
    text = "\n".join(describe_report(report))
    assert "queries/s with 99 % under" in text
    assert "10 times p90 back to back" in text
