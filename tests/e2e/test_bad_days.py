"""Builds that are interrupted, run side by side, or lack something: nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workshop import Workshop

#: The steps of a build as its progress names them, in their order.
STAGES = ("Wheels for", "Training", "Converting", "Measuring", "Running on", "Packing")


def _stop_at(
    workshop: Workshop, cache: Path, out: Path, stage: str, number: int = signal.SIGINT
) -> tuple[int, str]:
    """Runs a build and sends Ctrl-C when a stage begins; returns status and messages."""
    child = subprocess.Popen(
        workshop.command("--out", str(out)),
        cwd=workshop.folder,
        env=workshop.environment(cache),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(600, child.kill)
    watchdog.start()
    seen = []
    try:
        assert child.stderr is not None
        for line in child.stderr:
            seen.append(line)
            if line.startswith(stage):
                # A terminal sends it to the whole foreground group.
                os.killpg(child.pid, number)
                seen.append(child.stderr.read())
                break
        return child.wait(60), "".join(seen)
    finally:
        watchdog.cancel()
        if child.stderr is not None:
            child.stderr.close()


@pytest.fixture(scope="module")
def interrupted_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that every interrupted build of this module shares, as a user's would."""
    return tmp_path_factory.mktemp("interrupted-cache")


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_in_a_stage_leaves_nothing_half_written(
    workshop: Workshop, interrupted_cache: Path, tmp_path: Path, stage: str
) -> None:
    status, messages = _stop_at(workshop, interrupted_cache, tmp_path / "dist", stage)
    assert status == 130, messages
    assert "Traceback" not in messages
    assert list((interrupted_cache / "tmp").iterdir()) == []
    assert not list(tmp_path.rglob("*.pyz*"))


def test_the_next_build_removes_what_a_killed_one_left(
    workshop: Workshop, interrupted_cache: Path, tmp_path: Path
) -> None:
    status, _ = _stop_at(
        workshop, interrupted_cache, tmp_path / "dist", "Packing", number=signal.SIGKILL
    )
    assert status == -signal.SIGKILL
    assert list((interrupted_cache / "tmp").iterdir())
    # An unknown model ends this build at once.
    done = workshop.run(interrupted_cache, "--model", "absent", "--out", str(tmp_path / "dist"))
    assert done.returncode == 3, done.stderr
    assert list((interrupted_cache / "tmp").iterdir()) == []
    assert not list(tmp_path.rglob("*.pyz*"))


@pytest.fixture(scope="module")
def finished(
    workshop: Workshop, interrupted_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """What the build gives after all those interruptions."""
    out = tmp_path_factory.mktemp("finished")
    done = workshop.run(interrupted_cache, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_interrupted_build_can_be_finished(finished: Any) -> None:
    (bundle,) = finished["bundles"]
    assert Path(bundle["path"]).stat().st_size == bundle["bytes"]


def test_two_builds_at_once_share_a_cache_and_agree_with_a_third(
    workshop: Workshop, tmp_path: Path, finished: Any
) -> None:
    # A second cache, so that training, converting and packing are done again.
    cache = tmp_path / "cache"
    children = [
        subprocess.Popen(
            workshop.command("--out", str(tmp_path / name)),
            cwd=workshop.folder,
            env=workshop.environment(cache),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    outputs = [child.communicate(timeout=900) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    hashes = {json.loads(stdout)["bundles"][0]["sha256"] for stdout, _ in outputs}
    assert hashes == {finished["bundles"][0]["sha256"]}
    assert list((cache / "tmp").iterdir()) == []


def test_without_a_network_the_missing_wheels_are_named(workshop: Workshop, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    done = workshop.run(
        tmp_path / "cache",
        *("--out", str(tmp_path / "dist")),
        HTTPS_PROXY=nowhere,
        HTTP_PROXY=nowhere,
        ALL_PROXY=nowhere,
        UV_CACHE_DIR=str(tmp_path / "uv"),
        UV_HTTP_RETRIES="0",
    )
    assert done.returncode == 4, done.stderr
    assert "target cpu" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "dist").exists()
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH without emulator, mmdebstrap and bubblewrap."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "tar", "xz", "env", "uname"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return str(folder)


def test_without_an_emulator_a_build_says_not_run_and_stops(
    workshop: Workshop, interrupted_cache: Path, finished: Any, bare_path: str, tmp_path: Path
) -> None:
    assert finished
    out = tmp_path / "dist"
    done = workshop.run(interrupted_cache, "--out", str(out), target="arm64", PATH=bare_path)
    assert done.returncode == 4, done.stderr
    rows = json.loads(done.stdout)["variants"]
    assert {row["verdict"] for row in rows} == {"not run"}
    assert "edgepack doctor" in done.stderr
    assert "apt install" in rows[0]["reason"]
    assert not out.exists()


def test_without_an_emulator_an_unverified_bundle_must_be_asked_for(
    workshop: Workshop, interrupted_cache: Path, finished: Any, bare_path: str, tmp_path: Path
) -> None:
    assert finished
    done = workshop.run(
        interrupted_cache,
        *("--allow-unverified", "--out", str(tmp_path / "dist")),
        target="arm64",
        PATH=bare_path,
    )
    assert done.returncode == 0, done.stderr
    (bundle,) = json.loads(done.stdout)["bundles"]
    assert "none was run on the target" in bundle["reason"]


def test_doctor_names_what_is_missing_and_the_command(
    workshop: Workshop, bare_path: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgepack.cli.main", "doctor", "--target", "arm64", "--json"],
        cwd=workshop.folder,
        env=workshop.environment(tmp_path, PATH=bare_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert not checks["mmdebstrap"]["ok"]
    assert "apt install" in checks["mmdebstrap"]["fix"]
    assert checks["tensorflow"]["ok"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,x,1\na,x,2\na,x,3\n", "one item only ('x')"),
        ("a,x,1\nnan,y,2\na,z,3\n", "1 of 3 rows have no id"),
    ],
)
def test_a_log_that_cannot_be_used_ends_a_build_with_nothing_written(
    workshop: Workshop, interrupted_cache: Path, tmp_path: Path, rows: str, words: str
) -> None:
    log, out = tmp_path / "clicks.csv", tmp_path / "dist"
    log.write_text("who,what,when\n" + rows)
    columns = ("--session", "who", "--item", "what", "--order", "when")
    done = workshop.run(interrupted_cache, "--data", str(log), *columns, "--out", str(out))
    assert done.returncode == 3, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list((interrupted_cache / "tmp").iterdir()) == []
    assert not out.exists()


def test_an_output_folder_that_cannot_be_written_is_named(
    workshop: Workshop, interrupted_cache: Path, finished: Any, tmp_path: Path
) -> None:
    assert finished
    (tmp_path / "file").touch()
    done = workshop.run(interrupted_cache, "--out", str(tmp_path / "file" / "dist"))
    assert done.returncode in (2, 3), done.stderr
    assert "file/dist" in done.stderr
