"""A file has its name only once it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.whole_file import place_whole
from edgepack.formats.errors import ConfigError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"new")
    return path


def test_a_file_is_placed_with_its_mode_and_replaces_an_older_one(
    tmp_path: Path, source: Path
) -> None:
    path = tmp_path / "dist" / "model.tflite"
    place_whole(source, path)
    assert path.stat().st_mode & 0o777 == 0o644
    path.write_bytes(b"old")
    place_whole(source, path, mode=0o755)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o755
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_read_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "dist" / "model.tflite"
    path.parent.mkdir()
    path.write_bytes(b"old")
    with pytest.raises(ConfigError, match=r"model\.tflite cannot be written") as caught:
        place_whole(tmp_path / "absent", path)
    assert "--out" in str(caught.value.hint)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path, source: Path) -> None:
    (tmp_path / "dist").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        place_whole(source, tmp_path / "dist" / "model.tflite")
