"""What is measured, and what tells one measurement from another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgepack.build.targets import Site, load_target
from edgepack.build.tune.cells import TunePlan, cells_of, plan_of, runner_digest
from edgepack.build.tune.task import find_python, run_lap
from edgepack.build.tune.tuning import check_host
from edgepack.formats.errors import ConfigError, DeviceError, MissingToolError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.report import Duration
from edgepack.formats.statistics import interval_rank
from edgepack.formats.variants import RuntimeName
from tests.build.tune.cells import PLAN, cell

_ROWS = [cell("tflite-fp32").row, cell("onnx-fp32").row]
_SITE = Site(Path("/site"), None, (), 1, "1" * 64)
_SITES = {RuntimeName.LITERT: _SITE, RuntimeName.ONNXRUNTIME: _SITE}


def _golden(text: bytes = b"answers") -> dict[str, GoldenSet]:
    made = cast("GoldenSet", SimpleNamespace(to_bytes=lambda: text))
    return dict.fromkeys(("tflite-fp32", "onnx-fp32"), made)


def _keys(**changes: Any) -> list[str]:
    known: dict[str, Any] = {
        "rows": _ROWS, "sites": _SITES, "golden": _golden(), "plan": PLAN, "cores": 2,
    }  # fmt: skip
    return [each.key for each in cells_of(**(known | changes))]


def test_every_variant_is_tried_with_what_its_runtime_has() -> None:
    cells = cells_of(_ROWS, _SITES, _golden(), PLAN, cores=2)
    assert [str(each.options) for each in cells] == [
        *("1 thread", "2 threads"),
        *("1 thread", "2 threads", "2 threads, spinning", "2 threads, parallel"),
    ]
    assert len({each.key for each in cells}) == len(cells)


def test_threads_beyond_the_cores_are_left_out_and_none_at_all_is_an_error() -> None:
    cells = cells_of(_ROWS, _SITES, _golden(), PLAN, cores=2, threads=(1, 8))
    assert {each.options.threads for each in cells} == {1}
    with pytest.raises(ConfigError, match="--threads 8: only 2 cores may be used"):
        cells_of(_ROWS, _SITES, _golden(), PLAN, cores=2, threads=(8,))


@pytest.mark.parametrize(
    "changes",
    [
        {"golden": _golden(b"other answers")},
        {"plan": replace(PLAN, rounds=9)},
        {"plan": replace(PLAN, block_ns=PLAN.block_ns + 1)},
        {"sites": dict.fromkeys(_SITES, replace(_SITE, sha256="2" * 64))},
        {"rows": [replace(each, runtime_version="9") for each in _ROWS]},
        {"rows": [replace(each, variant=replace(each.variant, sha256="3" * 64)) for each in _ROWS]},
    ],
)
def test_whatever_a_measurement_depends_on_makes_it_another(changes: dict[str, Any]) -> None:
    assert not set(_keys()) & set(_keys(**changes))


def test_the_measuring_code_is_part_of_it() -> None:
    # What is only for graphics cards travels in one release alone.
    assert runner_digest(RuntimeName.LITERT) != runner_digest(RuntimeName.ONNXRUNTIME_GPU)
    assert runner_digest(RuntimeName.LITERT) == runner_digest(RuntimeName.LITERT)


@pytest.mark.parametrize("duration", list(Duration))
def test_a_plan_has_rounds_enough_for_an_interval_and_queries_for_a_percentile(
    duration: Duration,
) -> None:
    plan = plan_of(duration)
    assert interval_rank(plan.rounds) is not None
    assert plan.rounds * plan.min_queries >= 64


def test_other_rounds_share_the_same_time() -> None:
    plan: TunePlan = plan_of(Duration.STANDARD, 40)
    assert (plan.rounds, plan.min_duration_ns) == (40, 60_000_000_000)


def test_a_target_of_another_cpu_is_refused_with_what_to_do() -> None:
    with pytest.raises(DeviceError, match="emulated times say nothing") as caught:
        check_host(replace(load_target("cpu"), arch="riscv64"))  # type: ignore[arg-type]
    assert "edgepack-runner bench --choose" in str(caught.value.hint)
    assert "--dask" in str(caught.value.hint)


def test_a_target_whose_python_is_not_here_is_refused() -> None:
    import platform

    here = replace(load_target("cpu"), arch=platform.machine(), python="3.99")  # type: ignore[arg-type]
    with pytest.raises(MissingToolError, match=r"no python3\.99 here"):
        check_host(here)


def test_a_lap_is_refused_on_another_kind_of_machine_before_anything_is_unpacked() -> None:
    needs = {"arch": "riscv64", "python": "3.11"}
    told = run_lap(b"no archive at all", "0" * 64, needs, "{}", 1.0)
    assert told["status"] is None
    assert "the target is riscv64" in told["refused"]


def test_a_lap_is_refused_where_the_targets_python_is_not() -> None:
    import platform

    assert find_python("3.99") is None
    needs = {"arch": platform.machine(), "python": "3.99"}
    told = run_lap("/nowhere", "0" * 64, needs, "{}", 1.0)
    assert "it has no python3.99" in told["refused"]


def test_the_task_needs_nothing_but_the_standard_library(repository: Path) -> None:
    import ast
    import sys

    source = (repository / "edgepack" / "build" / "tune" / "task.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert str(node.module).partition(".")[0] in sys.stdlib_module_names, node.module
        if isinstance(node, ast.Import):
            assert all(alias.name in sys.stdlib_module_names for alias in node.names)
