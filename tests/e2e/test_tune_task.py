"""The task of a lap as real processes: how it ends, one at a time, sent as an archive."""

from __future__ import annotations

import io
import json
import platform
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.tune.task import forget_release, run_lap

_NEEDS = {
    "arch": platform.machine(),
    "python": f"{sys.version_info.major}.{sys.version_info.minor}",
}
_DIGEST = "e2e0" * 16
#: A release's worker that does what it is asked for.
_WORKER = """
import json, os, sys, time
def main():
    asked = json.loads(sys.stdin.readline())
    print(json.dumps({"began": time.monotonic(), "release": asked["release"]}), flush=True)
    if "signal" in asked:
        os.kill(os.getpid(), asked["signal"])
    if "say" in asked:
        sys.exit(asked["say"])
    time.sleep(asked.get("sleep_s", 0))
    print(json.dumps({"ended": time.monotonic(), "path": sys.path[:2]}), flush=True)
    return 0
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    package = tmp_path / "release" / "runner" / "edgepack" / "runner" / "tuning"
    package.mkdir(parents=True)
    (package / "worker.py").write_text(_WORKER)
    return tmp_path / "release"


def _lap(release: str | bytes, timeout_s: float = 60, **asked: object) -> dict[str, Any]:
    request = json.dumps({"release": "{release}", **asked})
    return run_lap(release, _DIGEST, _NEEDS, request, timeout_s)


def _said(told: dict[str, Any]) -> dict[str, Any]:
    return {k: v for line in told["output"].splitlines() for k, v in json.loads(line).items()}


def test_a_crash_a_status_and_a_time_that_is_up_are_told_apart(release: Path) -> None:
    crashed = _lap(str(release), signal=11)
    assert crashed["status"] == -11
    assert "began" in _said(crashed)
    failed = _lap(str(release), say="no libfoo.so")
    assert (failed["status"], failed["errors"].strip()) == (1, "no libfoo.so")
    late = _lap(str(release), timeout_s=0.5, sleep_s=600)
    assert late["status"] is None
    assert late["refused"] is None


def test_a_lap_sees_its_release_and_nothing_else_of_this_environment(release: Path) -> None:
    told = _lap(str(release))
    assert told["status"] == 0
    said = _said(told)
    assert said["release"] == str(release)
    assert said["path"] == [f"{release}/runner", f"{release}/site"]


def test_an_archive_is_unpacked_once_and_forgotten(release: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in (each for each in release.rglob("*") if each.is_file()):
            archive.write(path, path.relative_to(release))
        # A name that would leave the folder stays inside it.
        archive.writestr("../../escaped", b"")
    try:
        place = Path(_said(_lap(data.getvalue()))["release"])
        assert place != release
        assert (place / "escaped").is_file()
        made = place.stat().st_ctime_ns
        # Known by its digest: what comes the second time is not even looked at.
        assert Path(_said(_lap(b""))["release"]) == place
        assert place.stat().st_ctime_ns == made
    finally:
        forget_release(_DIGEST)
    assert not place.exists()


def test_one_lap_runs_on_a_machine_at_a_time(release: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        laps = [pool.submit(_lap, str(release), sleep_s=0.3) for _ in range(3)]
        told = sorted((_said(each.result()) for each in laps), key=lambda each: each["began"])
    for before, after in pairwise(told):
        assert before["ended"] <= after["began"]


def test_a_pool_of_processes_runs_laps_as_well(release: Path) -> None:
    request = json.dumps({"release": "{release}"})
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        told = pool.submit(run_lap, str(release), _DIGEST, _NEEDS, request, 60).result(120)
    assert (told["refused"], told["status"]) == (None, 0)
