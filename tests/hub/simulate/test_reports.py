from __future__ import annotations

import json
from collections import Counter

import pytest

from edgepack.formats.report import Report, Scenario, check_report, parse_report
from edgepack.formats.statistics import LogHistogram
from edgepack.hub.simulate.boxes import HOSTILE_TEXTS, Trouble
from edgepack.hub.simulate.timeline import Plan, benchmarks_of, make_fleet, report_of
from edgepack.runner.bench.trust import Witness, grade_trust

_PLAN = Plan(seed=7, devices=60, days=20, end_ms=1_790_000_000_000)


@pytest.fixture(scope="module")
def reports() -> list[tuple[Trouble | None, Report]]:
    """All of the fleet's, and every kind of trouble among them: above a thousand."""
    return [
        (box.trouble, report_of(_PLAN, planned))
        for box in make_fleet(_PLAN)
        for planned in benchmarks_of(_PLAN, box)
    ]


def test_a_thousand_reports_are_what_the_schema_asks_for(
    reports: list[tuple[Trouble | None, Report]],
) -> None:
    assert len(reports) > 1_000
    for trouble, report in reports:
        assert check_report(json.loads(report.to_bytes())) == [], trouble


def test_a_runner_would_grade_the_same_facts_as_the_report_does(
    reports: list[tuple[Trouble | None, Report]],
) -> None:
    for trouble, report in reports:
        jump_s = 90.0 if trouble is Trouble.JUMPING_CLOCK else 0.0
        witness = Witness(
            device=report.device,
            before=report.before,
            after=report.after,
            runs=report.runs,
            golden=report.golden,
            wall_s=14.0 + jump_s,
            elapsed_s=14.0,
            others_percent=report.cpu.other_percent,
            fallback=report.runtime.provider_fallback,
        )
        assert grade_trust(witness) == report.trust, trouble


def test_every_grade_and_every_trouble_can_be_seen(
    reports: list[tuple[Trouble | None, Report]],
) -> None:
    assert {report.trust.grade for _, report in reports} == {"A", "B", "C", "X"}
    assert {trouble for trouble, _ in reports} == {None, *Trouble}
    reasons = Counter(each for _, report in reports for each in report.trust.reasons)
    assert {"throttled", "emulated", "gpu_fallback", "wrong_answers", "clock_jump"} <= set(reasons)
    assert any(run.errors for _, report in reports for run in report.runs)


def test_a_distribution_is_true_to_itself(reports: list[tuple[Trouble | None, Report]]) -> None:
    for _, report in reports[::17]:
        for run in report.runs:
            for each in (run.end_to_end, run.compute, run.queue):
                if each is None:
                    continue
                assert sum(count for _, count in each.histogram) == each.count
                lowest = [low for low, _ in each.histogram]
                assert lowest == sorted(lowest)
                assert LogHistogram.bucket_of(each.min_ns) == LogHistogram.bucket_of(lowest[0])
                assert LogHistogram.bucket_of(each.max_ns) == LogHistogram.bucket_of(lowest[-1])
                told = [each.p50, each.p75, each.p90, each.p95, each.p99, each.p999]
                known = [value for value in told if value is not None]
                assert known == sorted(known)
                assert all(each.min_ns <= value <= each.max_ns for value in known)


def test_end_to_end_takes_longer_than_the_engine_alone(
    reports: list[tuple[Trouble | None, Report]],
) -> None:
    for _, report in reports:
        for run in report.runs:
            if run.end_to_end is not None:
                assert run.end_to_end.mean_ns > run.compute.mean_ns
            if run.method.scenario is Scenario.SERVER:
                assert run.queue is not None


def test_hostile_texts_come_through_a_report_unchanged(
    reports: list[tuple[Trouble | None, Report]],
) -> None:
    boards = {
        parse_report(report.to_bytes()).device.board
        for trouble, report in reports
        if trouble is Trouble.HOSTILE
    }
    assert boards
    assert boards <= set(HOSTILE_TEXTS)


def test_a_report_of_a_fleet_is_not_larger_than_those_of_real_boxes(
    reports: list[tuple[Trouble | None, Report]],
) -> None:
    sizes = sorted(len(report.to_bytes()) for _, report in reports)
    assert 8_000 < sizes[len(sizes) // 2] < 25_000
