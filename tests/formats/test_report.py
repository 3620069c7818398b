from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.choice import Choice, ChoiceKey, ChoiceRow, Choices, parse_choices
from edgepack.formats.device import DeviceFacts, Environment
from edgepack.formats.errors import BundleError
from edgepack.formats.options import EngineOptions
from edgepack.formats.report import (
    MAX_REPORT_BYTES,
    BundleFacts,
    ColdFacts,
    CpuFacts,
    Distribution,
    Duration,
    GoldenFacts,
    Grade,
    MemoryFacts,
    MethodFacts,
    ModelFacts,
    RateProbe,
    Report,
    RunFacts,
    RuntimeFacts,
    Scenario,
    Trust,
    check_report,
    parse_report,
)
from edgepack.formats.variants import Format, Precision, RuntimeName


def _silent(names: str) -> dict[str, Any]:
    listed = names.split()
    return {**dict.fromkeys(listed), "missing": dict.fromkeys(listed, "not told")}


def _distribution() -> Distribution:
    return Distribution(
        count=70,
        min_ns=1,
        max_ns=9,
        mean_ns=4,
        std_ns=2,
        p50=4,
        p75=6,
        p90=8,
        early_stopping={},
        histogram=((1, 30), (4, 40)),
        **_silent("p95 p99 p999"),
    )


def _report() -> Report:
    run = RunFacts(
        MethodFacts(
            Scenario.SINGLE_STREAM, Duration.QUICK, 10, 1, 2, 3, 64, 70, 1, 1, "golden", "e" * 64
        ),
        end_to_end=_distribution(),
        compute=_distribution(),
        samples_per_second=100.0,
        drift=-0.01,
        valid=True,
        min_duration_met=True,
        min_queries_met=True,
        **_silent("queue over_latency bound_met"),
    )
    device = _silent(
        "kernel os_release libc arch python board cpu_model cpu_implementer cpu_part cpu_flags "
        "cores_online cores_allowed memory_total container virtualised gpu"
    )
    state = Environment(
        **_silent(
            "frequency temperature_mc throttle load_1m memory_available swap_total swap_used "
            "cgroup_cpu_max cgroup_memory_max cgroup_throttled uptime_s clock_synced power_mode gpu"
        )
    )
    return Report(
        report_id="0b5f6d0c-7f0e-4c3e-9a52-1f6d0a1b2c3d",
        created="2026-11-23T09:15:02.125Z",
        device_id=None,
        edgepack="0.1.0",
        bundle=BundleFacts("a" * 64, "arm64", "b" * 64),
        model=ModelFacts(
            "session",
            "1.2.0",
            "recommender",
            "sasrec",
            "tflite-fp32",
            Format.TFLITE,
            Precision.FP32,
            "c" * 64,
            100,
            None,
            20,
            217,
            100,
        ),
        runtime=RuntimeFacts(RuntimeName.LITERT, "2.3.0", "XNNPACK", 1),
        cold=ColdFacts(1, 2, 3, 4, 5),
        runs=(run,),
        memory=MemoryFacts(1, 2, 3, 4, 5, 0),
        cpu=CpuFacts(1, 2, 99.5, 3, 4, other_percent=1.5),
        device=DeviceFacts(emulated=False, **device),
        before=state,
        after=state,
        golden=GoldenFacts("d" * 64, 8, 0, ok=True),
        trust=Trust(Grade.B, ("short_run",)),
    )


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_report().to_bytes())
    return loaded


def _put(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        *parents, last = path.split(".")
        for name in parents:
            target = target[int(name) if name.isdigit() else name]
        if value is ...:
            del target[last]
        else:
            target[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_put("schema", "edgepack.report/2"), "schema"),
        (_put("schema", ...), "schema"),
        (_put("report_id", "7"), "report_id"),
        (_put("created", "yesterday"), "created"),
        (_put("bundle", ...), "bundle"),
        (_put("bundle.id", "A" * 64), "bundle.id"),
        (_put("model.sha256", "g" * 64), "model.sha256"),
        (_put("model.size_bytes", -1), "model.size_bytes"),
        (_put("model.size_bytes", "100"), "model.size_bytes"),
        (_put("model.size_bytes", True), "model.size_bytes"),
        (_put("model.format", "tflight"), "model.format"),
        (_put("model.name", "x" * 201), "model.name"),
        (_put("cold.init_ns", None), "cold.init_ns"),
        (_put("cold.init_ns", 1.5), "cold.init_ns"),
        (_put("cold.warm_load_ns", None), "cold.warm_load_ns"),
        (_put("runs", {}), "runs"),
        (_put("runs.0.valid", 1), "runs[0].valid"),
        (_put("runs.0.queue", {}), "runs[0].queue.count"),
        (_put("runs.0.compute.p90", None), "runs[0].compute.p90"),
        (_put("runs.0.compute.missing", {}), "runs[0].compute.p95"),
        (_put("runs.0.compute.histogram", [[1, 2, 3]]), "runs[0].compute.histogram[0]"),
        (_put("runs.0.compute.histogram", [[0, 1]] * 5001), "runs[0].compute.histogram"),
        (_put("runs.0.samples_per_second", float("inf")), "runs[0].samples_per_second"),
        (_put("device.emulated", True), "trust.grade"),
        (_put("device.emulated", None), "device.emulated"),
        (_put("before.load_1m", None), ""),
        (_put("before.missing", {}), "before.frequency"),
        (_put("trust.grade", "D"), "trust.grade"),
        (_put("trust.reasons", "short_run"), "trust.reasons"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    document: dict[str, Any], change: Callable[[dict[str, Any]], None], where: str
) -> None:
    assert check_report(document) == []
    change(document)
    places = [problem.where for problem in check_report(document)]
    assert where in places if where else places == []


@pytest.mark.parametrize("value", [None, [], "report", 7])
def test_what_is_not_an_object_is_no_report(value: object) -> None:
    assert check_report(value) != []


def test_every_problem_is_told_at_once(document: dict[str, Any]) -> None:
    document["model"]["name"] = 7
    del document["golden"]
    document["runtime"]["name"] = "litret"
    problems = check_report(document)
    assert {each.where for each in problems} == {"model.name", "golden", "runtime.name"}
    assert "did you mean 'litert'" in str(problems)


def test_fields_of_a_newer_runner_are_no_problem(document: dict[str, Any]) -> None:
    document["power"] = {"watts": 3.5}
    document["model"]["opset"] = 17
    document["before"]["fan_rpm"] = None
    assert check_report(document) == []


def test_a_report_of_the_first_runners_is_still_read(document: dict[str, Any]) -> None:
    """They knew no Server scenario, no options and no choice."""
    for part, names in {
        "method": ("arrival", "target_qps", "latency_bound_ns", "bound_source", "probes"),
        "run": ("over_latency", "bound_met"),
    }.items():
        run = document["runs"][0]
        for name in names:
            del (run["method"] if part == "method" else run)[name]
    del document["choice"], document["runtime"]["options"], document["cpu"]["other_percent"]
    for name in ("over_latency", "bound_met"):
        document["runs"][0]["missing"].pop(name, None)
    old = parse_report(json.dumps(document).encode())
    assert old.choice is None
    assert old.runtime.options is None
    assert (old.runs[0].method.arrival, old.runs[0].method.probes) == (None, ())


def test_a_report_carries_a_choice_and_what_the_server_scenario_tried() -> None:
    options = EngineOptions(2)
    key = ChoiceKey("f" * 64, RuntimeName.LITERT, "2.3.0", "6.1", None, 4)
    row = ChoiceRow("tflite-fp32", options, (5, 6), 5, 0.1)
    choice = Choice("2026-11-23T09:15:02.125Z", key, "tflite-fp32", options, "fastest", (row,))
    report = _report()
    run = report.runs[0]
    method = replace(
        run.method,
        scenario=Scenario.SERVER,
        arrival="poisson",
        target_qps=99.5,
        latency_bound_ns=5,
        bound_source="the target's p99 budget",
        probes=(RateProbe(200.0, 50, 9, passed=False),),
    )
    run = replace(run, method=method, queue=_distribution(), over_latency=1, bound_met=True)
    served = replace(report, runs=(run,), choice=choice)
    assert parse_report(served.to_bytes()) == served
    assert parse_choices(Choices((choice,)).to_bytes()) == Choices((choice,))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser_of_a_choice(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_choices(data)


def test_a_report_that_is_wrong_does_not_parse(document: dict[str, Any]) -> None:
    document["model"]["name"] = 7
    with pytest.raises(BundleError, match=r"model\.name: got an integer, expected a string"):
        parse_report(json.dumps(document).encode())


def test_a_report_too_long_is_not_even_looked_at() -> None:
    with pytest.raises(BundleError, match="at most"):
        parse_report(b" " * (MAX_REPORT_BYTES + 1))


def test_a_report_reads_back_as_itself() -> None:
    report = _report()
    assert parse_report(report.to_bytes()) == report


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@given(st.data())
def test_no_value_anywhere_breaks_the_check(data: st.DataObject) -> None:
    document = json.loads(_report().to_bytes())
    altered = copy.deepcopy(document)
    place = altered
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(_JSON)
        break
    check_report(altered)


def _with_drift(**changes: Any) -> dict[str, Any]:
    feature = {"edges": [1.0], "expected": [0.5, 0.5], "counts": [600, 400], "distance": 0.1}
    drift = {
        "since": "2026-11-23T09:00:00Z",
        "until": "2026-11-24T09:00:00Z",
        "histories": 1000,
        "empty_histories": 0,
        "items": 3000,
        "unknown_items": 30,
        "features": {"top_score": {**feature, **changes.pop("feature", {})}},
        **changes,
    }
    document: dict[str, Any] = json.loads(_report().to_bytes())
    return {**document, "drift": drift}


def test_a_report_from_before_there_was_drift_can_be_read() -> None:
    document = json.loads(_report().to_bytes())
    del document["drift"]
    assert check_report(document) == []
    assert parse_report(json.dumps(document).encode()).drift is None


def test_a_report_may_carry_drift() -> None:
    document = _with_drift()
    assert check_report(document) == []
    drift = parse_report(json.dumps(document).encode()).drift
    assert drift is not None
    assert drift.features["top_score"].counts == (600, 400)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        (_with_drift(since="yesterday"), "drift.since"),
        (_with_drift(unknown_items=-1), "drift.unknown_items"),
        (_with_drift(feature={"counts": [1000]}), "drift.features.top_score"),
        (_with_drift(feature={"expected": [1.0]}), "drift.features.top_score"),
        (_with_drift(feature={"distance": None}), "drift.features.top_score.distance"),
    ],
)
def test_drift_that_makes_no_sense_is_named(document: dict[str, Any], where: str) -> None:
    assert [each.where for each in check_report(document)] == [where]
