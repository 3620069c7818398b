from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.build.training.archive import rewrite_keras_archive, write_archive, write_arrays


def test_an_archive_depends_on_its_content_only(tmp_path: Path) -> None:
    for name, mtime in (("a.zip", 1e9), ("b.zip", 1.5e9)):
        write_archive(tmp_path / name, {"one": b"1", "two": b"2"})
        os.utime(tmp_path / name, (mtime, mtime))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_numpy_reads_what_was_written(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"x": np.arange(6, dtype=np.int32).reshape(2, 3), "y": np.ones(2)}
    write_arrays(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz") as found:
        assert sorted(found) == ["x", "y"]
        assert found["x"].dtype == np.int32
        assert found["x"].tolist() == arrays["x"].tolist()


def keras_file(path: Path, date: str, address: int) -> None:
    config = {"layers": [{"shared_object_id": address}, {"shared_object_id": address + 7}]}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3", "date_saved": date}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", b"weights")


def test_dates_and_addresses_leave_a_keras_file(tmp_path: Path) -> None:
    keras_file(tmp_path / "a.keras", "2026-11-01", 0x7F00)
    keras_file(tmp_path / "b.keras", "2026-11-02", 0x7FFF)
    for name in ("a.keras", "b.keras"):
        rewrite_keras_archive(tmp_path / name)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert archive.read("model.weights.h5") == b"weights"
        assert json.loads(archive.read("metadata.json")) == {"keras_version": "3"}
        layers = json.loads(archive.read("config.json"))["layers"]
    # Different objects stay different.
    assert layers == [{"shared_object_id": 1}, {"shared_object_id": 2}]
