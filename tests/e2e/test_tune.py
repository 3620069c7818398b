"""Tuning with real runtimes and processes: measured, killed, gone on with, and on a cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgepack.formats.tuning import TunedMachine, parse_block, parse_tuning
from tests.e2e.builds import Cli
from tests.e2e.workshop import Workshop

_VARIANTS = ("tflite-fp32", "tflite-dynamic-int8")
_WHAT = (
    *("tune", "--model", "tiny", "--target", "cpu", "--runtime", "litert"),
    *(word for name in _VARIANTS for word in ("--variant", name)),
)
_WAIT_S = 600


def _kept(cache: Path) -> dict[Path, int]:
    """Every kept block with the time it was written."""
    files = (cache / "tuned").glob("*/*/*.json")
    return {path: path.stat().st_mtime_ns for path in files}


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _sound(ranked: TunedMachine, rounds: int) -> None:
    assert {cell.variant for cell in ranked.cells} == set(_VARIANTS)
    for cell in ranked.cells:
        assert cell.problem is None
        assert cell.rounds == rounds
        assert cell.p50_ns is not None
        assert cell.p90_early_ns is not None
        assert cell.valid
    assert ranked.choice is not None
    assert ranked.choice.as_fast


@pytest.fixture(scope="module")
def tuned(
    workshop: Workshop, run_cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """One tuning at the smallest size, its folder and what it printed."""
    out = tmp_path_factory.mktemp("tuned")
    ended = run_cli(*_WHAT, "--out", out, "--json", cwd=workshop.folder)
    assert ended.status == 0, ended.stderr
    return out, ended.value


def test_every_row_is_measured_in_every_round_and_one_is_chosen_with_a_reason(
    tuned: tuple[Path, Any],
) -> None:
    out, printed = tuned
    tuning = parse_tuning((out / "tune.json").read_bytes(), what="tune.json")
    assert json.loads((out / "tune.json").read_bytes()) == printed
    (ranked,) = tuning.machines
    _sound(ranked, tuning.rounds)
    threads = {cell.options.threads for cell in ranked.cells}
    assert threads == {count for count in (1, 2, 4) if count <= len(os.sched_getaffinity(0))}
    assert "passed the gate" in ranked.reason
    assert ranked.machine.device.emulated is False
    page = (out / "tune.html").read_text(encoding="utf-8")
    assert ranked.choice is not None
    assert ranked.choice.label in page
    assert "<svg" in page
    # It needs nothing else: every reference is to a part of the page itself.
    assert re.findall(r"(?:src|href)=[\"']?(?!#|[\"']?#)\S{0,40}", page) == []
    assert "<script" not in page
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "pareto.svg").read_bytes().startswith(b"<?xml")


def test_the_same_command_again_reads_what_was_measured(
    tuned: tuple[Path, Any], workshop: Workshop, run_cli: Cli, cache_dir: Path
) -> None:
    before = _kept(cache_dir)
    ended = run_cli(*_WHAT, "--json", cwd=workshop.folder)
    assert ended.status == 0, ended.stderr
    assert _kept(cache_dir) == before
    assert ended.value["machines"] == tuned[1]["machines"]


def test_a_build_packs_what_was_chosen_with_its_options(
    tuned: tuple[Path, Any], workshop: Workshop, run_cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "tune.json"
    tuning = json.loads((tuned[0] / "tune.json").read_bytes())
    # What was not the smallest, with options that are not the default.
    cells = tuning["machines"][0]["cells"]
    place = next(
        i for i, cell in enumerate(cells)
        if cell["variant"] == "tflite-dynamic-int8" and cell["options"]["threads"] > 1
    )  # fmt: skip
    tuning["machines"][0]["chosen"] = place
    file.write_text(json.dumps(tuning))
    build = ("build", *_WHAT[1:], "--tuned", file, "--out", tmp_path / "dist", "--json")
    ended = run_cli(*build, cwd=workshop.folder)
    assert ended.status == 0, ended.stderr
    (bundle,) = ended.value["bundles"]
    assert bundle["chosen"] == "tflite-dynamic-int8"
    assert bundle["reason"].startswith("tuned on ")
    shown = run_cli("inspect", bundle["path"], "--json").value["manifest"]["candidates"][0]
    assert shown["options"] == cells[place]["options"]


def test_a_tuning_of_another_model_is_refused(
    tuned: tuple[Path, Any], workshop: Workshop, run_cli: Cli, tmp_path: Path
) -> None:
    tuning = json.loads((tuned[0] / "tune.json").read_bytes())
    file = tmp_path / "tune.json"
    file.write_text(json.dumps({**tuning, "model_sha256": "0" * 64}))
    build = ("build", *_WHAT[1:], "--tuned", file, "--out", tmp_path / "dist")
    ended = run_cli(*build, cwd=workshop.folder)
    assert ended.status == 3
    assert "another model" in ended.stderr
    assert list(tmp_path.rglob("*.pyz")) == []


@dataclass(frozen=True)
class _Ended:
    """A tuning that was stopped in its middle: its status, and what it had kept by then."""

    status: int
    kept: dict[Path, int]


def _stop(command: tuple[str, ...], number: int, workshop: Workshop, cache: Path) -> _Ended:
    """Starts a tuning, sends it a signal when it has kept a few blocks, and waits for the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgepack.cli.main", *command],
        cwd=workshop.folder,
        env=workshop.environment(cache),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(lambda: len(_kept(cache)) >= 6 or process.poll() is not None, "nothing is kept")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    _wait_for(lambda: not any(each.is_running() for each in family), "a worker was left behind")
    assert all(parse_block(path.read_bytes()) is not None for path in _kept(cache))
    return _Ended(process.returncode, _kept(cache))


@pytest.mark.parametrize(
    ("number", "rounds", "status"), [(signal.SIGKILL, 9, -9), (signal.SIGINT, 11, 130)]
)
def test_a_tuning_that_is_stopped_goes_on_where_it_was_and_leaves_no_worker(
    tuned: tuple[Path, Any],
    workshop: Workshop,
    run_cli: Cli,
    cache_dir: Path,
    number: int,
    rounds: int,
    status: int,
) -> None:
    # What an earlier run of this test kept would leave nothing to measure.
    shutil.rmtree(cache_dir / "tuned")
    command = (*_WHAT, "--rounds", str(rounds), "--json")
    stopped = _stop(command, number, workshop, cache_dir)
    rows = len(tuned[1]["machines"][0]["cells"])
    assert stopped.status == status
    assert 6 <= len(stopped.kept) < rounds * rows

    ended = run_cli(*command, cwd=workshop.folder)
    assert ended.status == 0, ended.stderr
    after = _kept(cache_dir)
    assert len(after) == rounds * rows
    assert {path: after[path] for path in stopped.kept} == stopped.kept
    cells = ended.value["machines"][0]["cells"]
    assert [cell["rounds"] for cell in cells] == [rounds] * rows


#: A package of this name hides the real one: a worker must do without.
_NO_EDGEPACK = "raise ImportError('a worker has no edgepack')\n"
_WORKER = """
import os, sys
cores = sorted(os.sched_getaffinity(0))[: int(sys.argv.pop(1))]
os.sched_setaffinity(0, cores)
from distributed.cli.dask_worker import main
main()
"""


@contextmanager
def _program(*command: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = (folder / "log").open("ab")
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "path"), "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


@contextmanager
def _cluster(folder: Path, *cores: int) -> Iterator[str]:
    """Runs a scheduler and a worker for each number of cores, on loopback."""
    hidden = folder / "path" / "edgepack"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text(_NO_EDGEPACK)
    file = folder / "scheduler.json"
    local = ("--host", "127.0.0.1", "--no-dashboard")
    with ExitStack() as stack:
        scheduler = (
            *("-m", "distributed.cli.dask_scheduler", *local),
            *("--port", "0", "--scheduler-file", str(file)),
        )
        process = stack.enter_context(_program(*scheduler, folder=folder))
        _wait_for(lambda: file.exists() or process.poll() is not None, "no scheduler")
        assert process.poll() is None, (folder / "log").read_text()
        for number, count in enumerate(cores):
            worker = (
                *("-c", _WORKER, str(count), "--scheduler-file", str(file), *local, "--no-nanny"),
                *("--nthreads", "1", "--local-directory", str(folder / f"worker-{number}")),
            )
            stack.enter_context(_program(*worker, folder=folder))
        address = json.loads(file.read_text())["address"]
        _wait_for(lambda: _workers(address) == len(cores), "workers do not come")
        yield address


def _workers(address: str) -> int:
    script = (
        "import sys; from distributed import Client\n"
        "with Client(sys.argv[1], timeout=30) as client:\n"
        "    print(len(client.scheduler_info(n_workers=-1)['workers']))"
    )
    command = [sys.executable, "-c", script, address]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return int(asked.stdout.split()[-1])


def test_two_workers_of_one_machine_share_its_laps(
    tuned: tuple[Path, Any], workshop: Workshop, run_cli: Cli, tmp_path: Path
) -> None:
    cores = len(os.sched_getaffinity(0))
    with _cluster(tmp_path, cores, cores) as address:
        command = (*_WHAT, "--threads", "1", "--rounds", "10", "--dask", address, "--json")
        ended = run_cli(*command, cwd=workshop.folder)
        assert ended.status == 0, ended.stderr + (tmp_path / "log").read_text()
        again = run_cli(*command, cwd=workshop.folder)
    tuning = parse_tuning(ended.stdout.encode(), what="printed")
    (ranked,) = tuning.machines
    _sound(ranked, 10)
    # What workers measured is kept on this host.
    assert again.value["machines"] == ended.value["machines"]


def test_two_machines_are_never_in_one_ranking(
    tuned: tuple[Path, Any], workshop: Workshop, run_cli: Cli, tmp_path: Path
) -> None:
    cores = len(os.sched_getaffinity(0))
    assert cores > 1, "two machines are told apart by their cores here"
    with _cluster(tmp_path, cores, 1) as address:
        command = (*_WHAT, "--rounds", "8", "--dask", address, "--out", tmp_path / "out", "--json")
        ended = run_cli(*command, cwd=workshop.folder)
    assert ended.status == 0, ended.stderr + (tmp_path / "log").read_text()
    machines = parse_tuning(ended.stdout.encode(), what="printed").machines
    assert len(machines) == 2, ended.stderr + (tmp_path / "log").read_text()
    first, second = machines
    assert first.machine.key != second.machine.key
    by_cores = {each.machine.device.cores_allowed: each for each in (first, second)}
    assert set(by_cores) == {cores, 1}
    for each in (first, second):
        _sound(each, 8)
    assert {cell.options.threads for cell in by_cores[1].cells} == {1}
    assert len(list((tmp_path / "out").glob("pareto-*.png"))) == 2


def test_a_cluster_that_is_not_there_is_said_at_once(
    workshop: Workshop, run_cli: Cli, tuned: tuple[Path, Any]
) -> None:
    ended = run_cli(*_WHAT, "--dask", "tcp://127.0.0.1:9", cwd=workshop.folder)
    assert ended.status == 4
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in ended.stderr
    assert "Traceback" not in ended.stderr
