from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from edgepack.formats.report import Report
from edgepack.hub.simulate.boxes import Trouble
from edgepack.hub.simulate.classes import BOX_CLASSES, RELEASES
from edgepack.hub.simulate.timeline import (
    DAY_MS,
    Plan,
    benchmarks_of,
    deliveries,
    make_fleet,
    release_at,
    report_of,
)

_PLAN = Plan(seed=3, devices=60, days=14, end_ms=1_790_000_000_000)


def test_the_same_seed_is_the_same_fleet_to_the_byte() -> None:
    first, second = (
        [report_of(_PLAN, each).to_bytes() for each in benchmarks_of(_PLAN, make_fleet(_PLAN)[5])]
        for _ in range(2)
    )
    assert first == second
    other = replace(_PLAN, seed=4)
    assert report_of(other, next(benchmarks_of(other, make_fleet(other)[5]))).to_bytes() != first[0]


def test_a_report_does_not_depend_on_when_it_is_made() -> None:
    planned = list(benchmarks_of(_PLAN, make_fleet(_PLAN)[0]))
    in_order = [report_of(_PLAN, each).report_id for each in planned]
    random.Random(1).shuffle(planned)
    shuffled = {each.number: report_of(_PLAN, each).report_id for each in planned}
    assert in_order == [shuffled[number] for number in sorted(shuffled)]


@pytest.mark.parametrize("devices", [12, 13, 40, 500])
def test_from_a_dozen_boxes_on_every_kind_and_every_trouble_is_there(devices: int) -> None:
    fleet = make_fleet(replace(_PLAN, devices=devices))
    assert len(fleet) == devices
    assert {box.kind.key for box in fleet} == {kind.key for kind in BOX_CLASSES}
    if devices >= 20:
        assert {box.trouble for box in fleet} == {None, *Trouble}
    assert len({box.device_id for box in fleet}) == devices


@pytest.mark.parametrize("devices", [0, 1, 2, 11])
def test_a_small_fleet_is_an_honest_one(devices: int) -> None:
    fleet = make_fleet(replace(_PLAN, devices=devices))
    assert [box.trouble for box in fleet] == [None] * devices


def test_the_classes_make_up_a_whole_fleet() -> None:
    assert sum(kind.share for kind in BOX_CLASSES) == pytest.approx(1.0)


def test_every_benchmark_arrives_exactly_once_but_for_what_is_sent_twice() -> None:
    fleet = make_fleet(_PLAN)
    arrived = Counter(
        (planned.box.number, planned.number)
        for each in deliveries(_PLAN, fleet)
        if not each.again
        for planned in each.reports
    )
    made = [(box.number, each.number) for box in fleet for each in benchmarks_of(_PLAN, box)]
    assert arrived == Counter(made)
    again = [each for each in deliveries(_PLAN, fleet) if each.again]
    assert {each.reports[0].box.trouble for each in again} == {Trouble.SENDS_TWICE}


def test_nothing_arrives_before_it_was_measured_and_all_arrives_in_order() -> None:
    found = deliveries(_PLAN, make_fleet(_PLAN))
    assert [each.at_ms for each in found] == sorted(each.at_ms for each in found)
    for each in found:
        assert all(planned.moment.created_ms <= each.at_ms for planned in each.reports)


def test_a_box_whose_network_is_lost_sends_days_late_and_in_a_burst() -> None:
    fleet = [box for box in make_fleet(_PLAN) if box.trouble is Trouble.LOST_NETWORK]
    late = [
        each.at_ms - each.reports[0].moment.created_ms
        for each in deliveries(_PLAN, fleet)
        if len(each.reports) > 1
    ]
    assert late
    assert max(late) > DAY_MS


def test_a_silent_box_stops_and_a_wrong_clock_is_years_off() -> None:
    for box in make_fleet(_PLAN):
        planned = list(benchmarks_of(_PLAN, box))
        if box.trouble is Trouble.GOES_SILENT:
            assert len(planned) < 0.75 * _PLAN.days
        else:
            assert len(planned) >= _PLAN.days - 1
        if box.trouble is Trouble.WRONG_CLOCK:
            assert all(abs(each.moment.clock_ms) > 300 * DAY_MS for each in planned)


def test_releases_reach_the_boxes_one_after_the_other() -> None:
    fleet = make_fleet(_PLAN)
    for share in (0.0, 0.3, 0.6, 1.0):
        for box in fleet:
            installed = release_at(box, share)
            assert installed.begins <= share
    assert {release_at(box, 1.0).version for box in fleet} == {RELEASES[-1].version}
    assert len({release_at(box, 0.31).version for box in fleet}) == 2


def _median_ns(reports: list[Report]) -> float:
    found = [run.compute.p50 for report in reports for run in report.runs[:1]]
    return statistics.median(each for each in found if each is not None)


def test_one_release_is_a_regression_on_arm_and_the_next_mends_it() -> None:
    plan = replace(_PLAN, devices=40, days=30)
    by_version: dict[tuple[str, str], list[Report]] = defaultdict(list)
    for box in make_fleet(plan):
        if box.kind.key == "rpi5" and box.trouble is None and box.runtime == 0:
            for planned in benchmarks_of(plan, box):
                report = report_of(plan, planned)
                by_version[report.model.version, report.model.precision].append(report)
    before, bad, after = (
        _median_ns(by_version[version, "static-int8"]) for version in ("1.1.0", "1.2.0", "1.2.1")
    )
    assert bad > 1.15 * before
    assert after < 1.05 * before


def test_passive_boxes_throttle_in_hot_afternoons_more_than_at_night() -> None:
    plan = replace(_PLAN, devices=150, days=20)
    hot = Counter[str]()
    for box in make_fleet(plan):
        if box.kind.key == "rpi4" and box.trouble is None:
            for planned in benchmarks_of(plan, box):
                room = planned.moment.room_mc
                throttled = "throttled" in report_of(plan, planned).trust.reasons
                name = "hot" if room > 31_000 else "cool" if room < 22_000 else "between"
                hot[f"{name} throttled"] += throttled
                hot[name] += 1
    assert hot["hot throttled"] / hot["hot"] > 5 * hot["cool throttled"] / hot["cool"]
