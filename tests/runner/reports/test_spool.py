from __future__ import annotations

import errno
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from edgepack.formats.errors import DeviceError
from edgepack.runner.durable import LOCAL, FileSystem
from edgepack.runner.reports.spool import Spool
from tests.runner.disks import SimulatedDisk


def _id(number: int) -> str:
    return str(uuid.UUID(int=number))


def _ids(spool: Spool) -> list[str]:
    return [each.report_id for each in spool.waiting()]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeviceError, match="cannot be kept"):
        Spool(tmp_path / "file" / "spool").add(_id(1), b"one")


def test_a_report_larger_than_the_spool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="the spool holds 10"):
        Spool(tmp_path, max_bytes=10).add(_id(1), b"x" * 11)


def test_what_a_power_cut_left_behind_is_cleared_away(tmp_path: Path) -> None:
    abandoned = tmp_path / ".0000000001-x.json.99999999.tmp"
    abandoned.write_bytes(b"half")
    Spool(tmp_path).add(_id(1), b"one")
    assert not abandoned.exists()


def test_files_that_are_not_reports_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    spool = Spool(tmp_path)
    spool.add(_id(1), b"one")
    assert _ids(spool) == [_id(1)]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_oldest_go_first_when_there_are_too_many(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_count=3)
    for number in range(1, 6):
        spool.add(_id(number), b"x")
    assert _ids(spool) == [_id(3), _id(4), _id(5)]
    assert spool.dropped() == 2


def test_the_oldest_go_first_when_they_are_too_large(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=100)
    for number in range(1, 4):
        spool.add(_id(number), b"x" * 40)
    assert _ids(spool) == [_id(2), _id(3)]
    assert sum(each.size_bytes for each in spool.waiting()) <= 100


def test_the_same_report_twice_waits_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add(_id(1), b"one")
    assert spool.add(_id(1), b"one") == 0
    assert _ids(spool) == [_id(1)]


def test_a_spool_that_was_never_made_is_empty(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "none")
    assert spool.waiting() == []
    assert spool.dropped() == 0


def test_a_report_that_is_gone_reads_as_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add(_id(1), b"one")
    report = spool.waiting()[0]
    assert spool.read(report) == b"one"
    spool.remove(report)
    assert spool.read(report) is None
    spool.remove(report)


def test_two_that_add_at_once_neither_lose_nor_double_a_report(tmp_path: Path) -> None:
    def add(first: int) -> None:
        spool = Spool(tmp_path, max_count=20)
        for number in range(first, first + 15):
            spool.add(_id(number), b"x")

    threads = [threading.Thread(target=add, args=(first,)) for first in (100, 200, 300)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    spool = Spool(tmp_path, max_count=20)
    waiting = spool.waiting()
    assert len({each.sequence for each in waiting}) == len(waiting) == 20
    assert len({each.report_id for each in waiting}) == 20
    assert spool.dropped() == 25
    assert waiting[-1].sequence == 45


@pytest.mark.parametrize("simulated", [False, True])
def test_the_simulated_disk_answers_as_the_boxs_own(tmp_path: Path, simulated: bool) -> None:
    files: FileSystem = SimulatedDisk() if simulated else LOCAL
    spool = Spool(tmp_path / "state" / "spool", max_count=2, files=files)
    for number in range(1, 5):
        spool.add(_id(number), b"x" * number)
    spool.remove(spool.waiting()[0])
    (last,) = spool.waiting()
    assert (last.report_id, last.sequence, last.size_bytes) == (_id(4), 4, 4)
    assert spool.read(last) == b"xxxx"
    assert spool.dropped() == 2
    assert {each.split("-")[0] for each in files.names(tmp_path / "state" / "spool")} == (
        {"0000000004", "dropped"} | (set() if simulated else {".lock"})
    )
    with pytest.raises(FileNotFoundError):
        files.names(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        files.size(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "nowhere", 10)
    files.remove(tmp_path / "nowhere")


def test_a_file_that_lies_where_the_spool_should_is_an_empty_spool(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    assert Spool(tmp_path / "spool").waiting() == []


def test_a_spool_that_cannot_be_read_says_so() -> None:
    class Closed(SimulatedDisk):
        def names(self, directory: Path) -> list[str]:
            raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(DeviceError, match="Permission denied"):
        Spool(Path("/spool"), files=Closed()).waiting()


def test_a_lock_that_is_never_let_go_of_is_an_error_in_words() -> None:
    class Held(SimulatedDisk):
        def locked(self, path: Path) -> Any:
            raise TimeoutError(errno.ETIMEDOUT, "another process does not let go of it")

    with pytest.raises(DeviceError, match="does not let go of it"):
        Spool(Path("/spool"), files=Held()).add(_id(1), b"one")
