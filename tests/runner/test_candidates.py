from __future__ import annotations

import os
from pathlib import Path

from edgepack.runner.candidates import KEPT_CACHES, cache_folder


def _hash(number: int) -> str:
    return f"{number:02d}" * 32


def _built(state: Path, number: int) -> Path:
    """Makes a folder that was used at the second `number`, with an engine in it."""
    folder = cache_folder(state, _hash(number))
    assert folder is not None
    (folder / "engine").write_bytes(b"built")
    os.utime(folder, (number, number))
    return folder


def test_tensorrts_engines_are_kept_by_model_and_the_oldest_go(tmp_path: Path) -> None:
    folders = [_built(tmp_path, number) for number in range(KEPT_CACHES + 1)]
    newest = cache_folder(tmp_path, _hash(90))
    assert newest is not None
    left = set((tmp_path / "gpu").iterdir())
    assert left == {newest, *folders[2:]}
    again = cache_folder(tmp_path, _hash(2))
    assert again == folders[2]
    assert (again / "engine").read_bytes() == b"built"
    # The one that was just used is the newest now.
    cache_folder(tmp_path, _hash(91))
    assert (again / "engine").exists()
    assert not folders[3].exists()


def test_a_choice_over_three_candidates_of_a_canary_leaves_those_of_two_older_releases(
    tmp_path: Path,
) -> None:
    older = [_built(tmp_path, number) for number in range(6)]
    canary = [_built(tmp_path, number) for number in range(6, 9)]
    assert all((each / "engine").exists() for each in (*older, *canary))


def test_a_state_that_cannot_be_written_keeps_nothing_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "gpu").write_text("a file where the folder belongs")
    assert cache_folder(tmp_path, "a" * 64) is None
