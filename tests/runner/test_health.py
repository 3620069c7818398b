from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from edgepack.runner import health
from edgepack.runner.health import StateHealth, look_at_state, try_state, watch_state
from edgepack.runner.log import Log
from tests.runner.simulators import HandClock


class _Disk(NamedTuple):
    """What statvfs answers."""

    f_bavail: int
    f_frsize: int
    f_flag: int
    f_files: int
    f_favail: int


def test_a_folder_with_room_is_well_and_left_as_it_was(tmp_path: Path) -> None:
    found = try_state(tmp_path / "state")
    assert found.writable
    assert found.free_bytes
    assert list((tmp_path / "state").iterdir()) == []


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert look_at_state(tmp_path / "a" / "b").writable
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (_Disk(10, 4096, 0, 1000, 500), "is full: 40960 bytes are free"),
        (_Disk(10**6, 4096, 0, 1000, 0), "is full"),
        (_Disk(10**6, 4096, os.ST_RDONLY, 1000, 500), "read-only"),
    ],
)
def test_a_disk_that_takes_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: _Disk, words: str
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    found = look_at_state(tmp_path)
    assert words in str(found.problem)
    assert not found.writable


def test_a_file_in_the_way_and_no_folder_at_all_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "may not be written" in str(try_state(tmp_path / "file" / "state").problem)
    assert try_state(None) == StateHealth(None, "no state folder is known")


def test_each_change_is_logged_once_and_every_look_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = StateHealth(0, "the disk is full")
    well = StateHealth(10**9, None)
    looks = [well, full, full, full, well, well]
    monkeypatch.setattr(health, "look_at_state", lambda _: looks.pop(0))
    stream, shown = io.StringIO(), list[StateHealth]()

    async def sleep(_: float) -> None:
        if not looks:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch_state(tmp_path, Log(stream, HandClock()), shown.append, sleep))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(each["level"], each["event"]) for each in lines] == [
        ("warning", "state cannot be written"),
        ("info", "state can be written again"),
    ]
    assert [each.writable for each in shown] == [True, False, False, False, True, True]
