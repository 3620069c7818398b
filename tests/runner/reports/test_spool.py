from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

import pytest

from edgepack.formats.errors import DeviceError
from edgepack.runner.reports.spool import Spool


def _id(number: int) -> str:
    return str(uuid.UUID(int=number))


def _ids(spool: Spool) -> list[str]:
    return [each.report_id for each in spool.waiting()]


def _full_disk(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    """Makes the next fsyncs fail as a full disk does."""
    real, left = os.fsync, [failures]

    def fsync(descriptor: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_drops_the_oldest_report_for_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(_id(1), b"one")
    spool.add(_id(2), b"two")
    _full_disk(monkeypatch, 1)
    assert spool.add(_id(3), b"three") == 1
    assert _ids(spool) == [_id(2), _id(3)]


def test_a_disk_that_stays_full_is_an_error_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _full_disk(monkeypatch, 1000)
    with pytest.raises(DeviceError, match="No space left"):
        Spool(tmp_path / "spool").add(_id(1), b"one")
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeviceError, match="cannot be kept"):
        Spool(tmp_path / "file" / "spool").add(_id(1), b"one")


def test_a_report_larger_than_the_spool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="the spool holds 10"):
        Spool(tmp_path, max_bytes=10).add(_id(1), b"x" * 11)


def test_a_power_cut_before_the_rename_leaves_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    spool = Spool(tmp_path)
    monkeypatch.setattr(os, "replace", cut)
    # A power cut runs no clean-up either.
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(PowerCutError):
        spool.add(_id(1), b"one")
    assert spool.waiting() == []
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_power_cut_left_behind_is_cleared_away(tmp_path: Path) -> None:
    # No process has this id: Linux's largest is 2^22.
    abandoned = tmp_path / ".0000000001-x.json.99999999.tmp"
    abandoned.write_bytes(b"half")
    mine = tmp_path / f".other.{os.getpid()}.tmp"
    mine.write_bytes(b"half")
    Spool(tmp_path).add(_id(1), b"one")
    assert not abandoned.exists()
    assert mine.exists()


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
