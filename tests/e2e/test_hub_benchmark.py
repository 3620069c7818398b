"""benchmarks/hub at a small size: all of it runs, and what it says adds up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]


def _run(module: str, cache: Path, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.hub.{module}", *map(str, arguments), "--json"],
        cwd=_REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(_REPOSITORY), "EDGEPACK_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["failed"] == {}, row
        assert row["reports"] > 0, row
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert 0 <= row["own_cpu"] < 1.5


def test_a_hub_and_mlflow_take_the_same_reports_side_by_side(cache_dir: Path) -> None:
    found = _run(
        *("ingest", cache_dir, "--seconds", 12, "--rounds", 1, "--boxes", 40, "--connections", 2)
    )
    _check_rows(found["rounds"])
    assert set(found["best"]) == {"edgepack hub", "MLflow", "MLflow, fewer fields"}
    assert found["mlflow_fields"]["metrics"] > 200
    assert 20 < found["mlflow_fewer_fields"]["metrics"] < 60


def test_pages_are_timed_and_each_statement_is_explained(cache_dir: Path) -> None:
    found = _run("pages", cache_dir, "--devices", 60, "--days", 3, "--times", 2)
    assert found["rows"]["device"] == 60
    assert {row["status"] for row in found["addresses"]} == {200}, found["addresses"]
    assert all(row["median_ms"] > 0 for row in found["addresses"])
    for name, statements in found["plans"].items():
        assert statements, name
        # What a page reads does not grow with the number of reports.
        assert not [each for each in statements if each["reads_all_of"]], name
    assert any("SEARCH" in line for each in found["plans"]["compare"] for line in each["plan"])


def test_two_processes_are_measured_beside_one(cache_dir: Path) -> None:
    found = _run(
        *("scaling", cache_dir, "--seconds", 1, "--rounds", 1, "--boxes", 40, "--connections", 4)
    )
    _check_rows(found["rounds"])
    assert [row["kind"] for row in found["rounds"]] == [
        "one process, no nginx",
        "one process",
        "two processes",
    ]
    one, two = found["rounds"][1:]
    assert len(one["hub_cores"]) == 1
    # nginx shared the load out: both worked.
    assert all(cores > 0.02 for cores in two["hub_cores"])
    assert found["medians"]["two / one"] > 0
