"""A model file's pages are given back, and nothing else."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from edgepack.runner.engines import mapped
from edgepack.runner.engines.mapped import give_pages_back, mappings_of

LINES = [
    "7f00-8f00 r--s 00000000 fe:00 12    /models/a b.tflite",
    "9f00-af00 r--p 00000000 fe:00 12    /models/a b.tflite",
    "bf00-cf00 rw-p 00000000 fe:00 12    /models/a b.tflite",
    "df00-ef00 r--p 00000000 fe:00 13    /models/other.tflite",
    "ff00-ff10 r--p 00000000 00:00 0",
]


def test_only_the_files_own_mappings_that_nobody_can_write_are_found() -> None:
    assert mappings_of("/models/a b.tflite", LINES) == [(0x7F00, 0x8F00), (0x9F00, 0xAF00)]


def test_a_file_that_is_missing_small_or_not_mapped_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert give_pages_back(tmp_path / "none.tflite") == 0
    small = tmp_path / "small.tflite"
    small.write_bytes(b"x")
    assert give_pages_back(small) == 0
    monkeypatch.setattr(mapped, "LEAST_BYTES", 1)
    assert give_pages_back(small) == 0


def test_what_was_given_back_is_not_resident_and_reads_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "LEAST_BYTES", 1)
    path = tmp_path / "model.tflite"
    content = bytes(range(256)) * 16 * 64
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert pages[:] == content
        assert _resident(path) == len(content)
        assert give_pages_back(path) == len(content)
        assert _resident(path) == 0
        assert pages[:] == content


def _resident(path: Path) -> int:
    """Resident bytes of a file's mappings in this process."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    ours = False
    for line in lines:
        if "-" in line.split(":")[0].split()[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0
