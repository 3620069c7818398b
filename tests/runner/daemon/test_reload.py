from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgepack.formats.manifest import FileRecord
from edgepack.runner.daemon.reload import needs_restart
from tests.runner.simulators import write_release


def test_another_model_is_no_reason_for_a_new_process(tmp_path: Path) -> None:
    now = write_release(tmp_path / "a")
    assert not needs_restart(now, write_release(tmp_path / "b", model=b"another model"))


def test_another_runtime_or_runner_is_one(tmp_path: Path) -> None:
    now = write_release(tmp_path)
    newer = replace(now, runtime=replace(now.runtime, version="2.4.0"))
    assert needs_restart(now, newer)
    program = FileRecord("runner/edgepack/runner/main.py", "a" * 64, 10, 0o644)
    changed = replace(program, sha256="b" * 64)
    before = replace(now, files=(*now.files, program))
    assert needs_restart(before, replace(now, files=(*now.files, changed)))
    assert needs_restart(before, now)
