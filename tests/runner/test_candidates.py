from __future__ import annotations

import os
from pathlib import Path

from edgepack.runner.candidates import cache_folder


def test_tensorrts_engines_are_kept_by_model_and_the_oldest_go(tmp_path: Path) -> None:
    for number in range(5):
        folder = cache_folder(tmp_path, f"{number}" * 64)
        assert folder is not None
        (folder / "engine").write_bytes(b"built")
        os.utime(folder, (number, number))
    newest = cache_folder(tmp_path, "9" * 64)
    assert newest is not None
    left = {each.name[0] for each in (tmp_path / "gpu").iterdir()}
    assert left == {"9", "4", "3", "2"}
    again = cache_folder(tmp_path, "2" * 64)
    assert again is not None
    assert (again / "engine").read_bytes() == b"built"
    # The one that was just used is the newest now.
    cache_folder(tmp_path, "8" * 64)
    assert (again / "engine").exists()


def test_a_state_that_cannot_be_written_keeps_nothing_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "gpu").write_text("a file where the folder belongs")
    assert cache_folder(tmp_path, "a" * 64) is None
