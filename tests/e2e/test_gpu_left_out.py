"""A real test run of `tests/gpu` with no card to be seen: nothing skipped, and one line why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_NOTHING_COLLECTED = 5
_OPTIONS = ("-p", "no:cacheprovider", "--confcutdir=tests/gpu")


def test_a_run_without_a_card_says_so_and_skips_nothing(repository: Path) -> None:
    # As on a machine that has little but pytest: no conftest above the folder is read.
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *_OPTIONS, "tests/gpu"],
        cwd=repository,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "CI": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == _NOTHING_COLLECTED, ended.stdout + ended.stderr
    (line,) = [each for each in ended.stdout.splitlines() if each.startswith("tests/gpu")]
    assert line.startswith("tests/gpu did not run: ")
    assert "skipped" not in ended.stdout
    assert "no tests ran" in ended.stdout
