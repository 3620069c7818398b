"""benchmarks/gpu says that it did not run where no card is, and all of it works on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.cards import find_card
from tests.e2e.builds import Cli
from tests.e2e.workshop import Workshop

_REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(workshop: Workshop, run_cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = run_cli(
        *("build", "--model", "tiny", "--target", "gpu"),
        *("--out", tmp_path_factory.mktemp("dist"), "--json"),
        cwd=workshop.folder,
    )
    assert built.status == 0, built.stderr
    return Path(built.value["bundles"][0]["path"])


def _compare(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.compare", *map(str, arguments)],
        cwd=_REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(_REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_where_no_card_is_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    card, why = find_card()
    if card is None:
        done = _compare(tmp_path / "unread.pyz")
        assert (done.returncode, done.stdout) == (4, f"benchmarks.gpu did not run: {why}\n")
    else:
        assert card.bandwidth_bytes_per_s > 1e10


def test_on_a_cpu_all_of_it_runs_over_a_grown_catalogue(bundle: Path) -> None:
    done = _compare(
        *(bundle, "--device", "cpu", "--items", 40_000, "--variant", "onnx-fp16"),
        *("--connections", 4, "--seconds", 0.3, "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["card"] is None
    row = found["40000"]["onnx-fp16"]
    assert {each["batch"] for each in row["calls"]} == {1, 8, 64}
    for kind in ("scoring", "scoring, one stage"):
        assert all(each["table_bytes"] == 40_001 * 8 * 2 for each in row[kind])
    names = set(row["servers"])
    assert {"edgepack-runner", "FastAPI + ONNX Runtime (async)"} <= names
    for loads in row["servers"].values():
        assert all(each["failed"] == 0 and each["requests_per_s"] > 0 for each in loads)
    chosen = row["chosen"]
    assert chosen["variant"] == "onnx-fp16"
    assert chosen["runtime"]["provider"] == "CPUExecutionProvider"
    # On one core there is only one way to run it.
    assert bool(chosen["reason"]) == (len(os.sched_getaffinity(0)) > 1)
