"""The spool on a disk that loses its power at every step, fills up, or may not be written."""

from __future__ import annotations

import contextlib
import errno
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack.formats.errors import DeviceError
from edgepack.runner.reports.spool import Spool
from tests.runner.disks import PowerCutError, SimulatedDisk

_FOLDER = Path("/state/spool")
_MAX_COUNT = 3


def _id(number: int) -> str:
    return str(uuid.UUID(int=number))


def _data(report_id: str) -> bytes:
    return f'{{"report_id":"{report_id}"}}'.encode() * 3


def _open(disk: SimulatedDisk) -> Spool:
    return Spool(_FOLDER, max_count=_MAX_COUNT, files=disk)


def _ids(spool: Spool) -> list[str]:
    return [each.report_id for each in spool.waiting()]


@dataclass
class Ledger:
    """What the spool's user was told, which is what must hold."""

    begun: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    removing: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)

    def add(self, spool: Spool, number: int) -> None:
        report_id = _id(number)
        self.begun.append(report_id)
        spool.add(report_id, _data(report_id))
        if report_id not in self.accepted:
            self.accepted.append(report_id)

    def remove_oldest(self, spool: Spool) -> None:
        waiting = spool.waiting()
        if waiting:
            self.removing.add(waiting[0].report_id)
            spool.remove(waiting[0])
            self.removed.add(waiting[0].report_id)

    def check(self, spool: Spool) -> None:
        """Every accepted report waits or was counted; nothing else is there."""
        waiting = spool.waiting()
        ids = [each.report_id for each in waiting]
        assert ids == sorted(ids), "the order of adding"
        assert len({each.sequence for each in waiting}) == len(ids)
        assert set(ids) <= set(self.begun)
        assert not self.removed & set(ids), "a report that was taken does not come back"
        for each in waiting:
            assert spool.read(each) == _data(each.report_id)
        lost = set(self.accepted) - self.removing - set(ids)
        assert spool.dropped() == len(lost), "dropped and counted, exactly once"


def _busy_weeks(spool: Spool, ledger: Ledger) -> None:
    for number in (1, 2, 3, 4):
        ledger.add(spool, number)
    ledger.remove_oldest(spool)
    ledger.add(spool, 5)
    ledger.add(spool, 5)
    ledger.add(spool, 6)
    for _ in range(4):
        ledger.remove_oldest(spool)
    ledger.add(spool, 7)


def _steps_of(work: Callable[[Spool, Ledger], None]) -> int:
    disk = SimulatedDisk()
    work(_open(disk), Ledger())
    return len(disk.steps)


@pytest.mark.parametrize("cut_at", range(_steps_of(_busy_weeks) + 1))
def test_whatever_step_the_power_goes_at_no_accepted_report_is_lost_or_half(cut_at: int) -> None:
    disk, ledger = SimulatedDisk(), Ledger()
    disk.cut_at = cut_at
    try:
        _busy_weeks(_open(disk), ledger)
    except PowerCutError:
        pass
    else:
        assert cut_at == len(disk.steps)
    found = 0
    for after in disk.after_power_cut():
        found += 1
        spool = _open(after)
        ledger.check(spool)
        before, dropped = _ids(spool), spool.dropped()
        spool.add(_id(99), _data(_id(99)))
        assert _ids(spool) == [*before, _id(99)][-_MAX_COUNT:]
        assert spool.dropped() == dropped + (len(before) == _MAX_COUNT)
        assert not [name for name in after.names(_FOLDER) if name.endswith(".tmp")]
        assert len(after.names(_FOLDER)) <= _MAX_COUNT + 1
    assert found >= 1


_WORK = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove"]), st.integers(0, 60)),
    min_size=1,
    max_size=12,
)


@given(lives=st.lists(_WORK, min_size=1, max_size=4), data=st.data())
@settings(max_examples=150)
def test_a_box_that_loses_its_power_again_and_again_keeps_its_reports(
    lives: list[list[tuple[str, int]]], data: st.DataObject
) -> None:
    disk, ledger, number = SimulatedDisk(), Ledger(), 0
    for work in lives:
        spool = _open(disk)
        for verb, steps_left in work:
            # Most work is done in peace; the power goes a few steps into the rest.
            disk.cut_at = len(disk.steps) + steps_left if steps_left < 12 else None
            try:
                if verb == "add":
                    number += 1
                    ledger.add(spool, number)
                else:
                    ledger.remove_oldest(spool)
            except PowerCutError:
                disk = data.draw(st.sampled_from(list(disk.after_power_cut())))
                break
        disk.cut_at = None
        spool = _open(disk)
        ledger.check(spool)
        # One that was in the middle of it and is there has been accepted after all.
        ledger.accepted += [each for each in _ids(spool) if each not in ledger.accepted]
        ledger.removed |= ledger.removing - set(_ids(spool))
        ledger.removing = set(ledger.removed)


def _filled(disk: SimulatedDisk, count: int = _MAX_COUNT) -> Ledger:
    ledger = Ledger()
    for number in range(1, count + 1):
        ledger.add(_open(disk), number)
    return ledger


def _fault_at(step: int, fault: int) -> Callable[[int, str], int | None]:
    return lambda number, line: fault if number == step else None


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_fault_at_any_one_step_loses_nothing_that_is_not_counted(fault: int) -> None:
    step, done = -1, False
    while not done:
        step += 1
        disk = SimulatedDisk()
        ledger = _filled(disk)
        start = len(disk.steps)
        disk.fault_at = _fault_at(start + step, fault)
        with contextlib.suppress(DeviceError):
            ledger.add(_open(disk), 4)
        done = len(disk.steps) <= start + step
        disk.fault_at = lambda number, line: None
        ledger.check(_open(disk))
        assert len(_ids(_open(disk))) >= _MAX_COUNT - 1
        ledger.add(_open(disk), 5)
        ledger.check(_open(disk))
    assert step > 8


def test_on_a_full_disk_the_oldest_make_room_for_the_newest() -> None:
    disk = SimulatedDisk()
    ledger = _filled(disk)
    # Two reports, the ledger and one temporary file.
    disk.capacity = 4 * 4096
    ledger.add(_open(disk), 4)
    ledger.check(_open(disk))
    assert _ids(_open(disk))[-1] == _id(4)


@pytest.mark.parametrize("verb", ["create", "write", "fsync"])
def test_a_disk_that_stays_full_costs_no_more_reports_than_would_have_made_room(verb: str) -> None:
    disk = SimulatedDisk()
    spool = Spool(_FOLDER, files=disk)
    for number in range(1, 21):
        spool.add(_id(number), b"x" * 4000)
    disk.fault_at = lambda number, line: errno.ENOSPC if line.startswith(verb) else None
    with pytest.raises(DeviceError, match="No space left") as caught:
        spool.add(_id(21), b"x" * 4000)
    assert caught.value.hint is not None
    assert "free some space" in caught.value.hint
    assert 14 <= len(spool.waiting()) <= 16
    assert not [name for name in disk.names(_FOLDER) if name.endswith(".tmp")]


def test_a_fault_that_room_would_not_cure_costs_no_older_report() -> None:
    disk = SimulatedDisk()
    ledger = _filled(disk, 2)
    disk.fault_at = lambda number, line: errno.EIO if line.startswith("write .0") else None
    with pytest.raises(DeviceError, match="Input/output error"):
        _open(disk).add(_id(3), b"{}")
    assert _ids(_open(disk)) == [_id(1), _id(2)]
    ledger.check(_open(disk))


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_not_be_written_keeps_what_it_has(fault: int) -> None:
    disk = SimulatedDisk()
    ledger = _filled(disk)
    disk.fault_at = lambda number, line: fault
    spool = _open(disk)
    with pytest.raises(DeviceError, match="cannot be kept") as caught:
        spool.add(_id(4), b"{}")
    assert caught.value.hint is not None
    assert "--state DIR" in caught.value.hint
    with pytest.raises(DeviceError, match="cannot be kept"):
        spool.remove(spool.waiting()[0])
    ledger.check(spool)


def test_a_report_that_the_disk_tore_is_recognised_removed_and_counted() -> None:
    disk = SimulatedDisk()
    _filled(disk)
    spool = _open(disk)
    torn = spool.waiting()[1]
    for left in (b"", _data(torn.report_id)[:-1], bytes(torn.size_bytes)):
        disk.tear(torn.path, left)
        assert spool.read(torn) is None
    assert spool.remove_torn() == 1
    assert _ids(spool) == [_id(1), _id(3)]
    assert spool.dropped() == 1
    spool.add(_id(4), b"{}")
    assert _ids(spool) == [_id(1), _id(3), _id(4)]


def test_adding_sweeps_torn_reports_away() -> None:
    disk = SimulatedDisk()
    _filled(disk)
    disk.tear(_open(disk).waiting()[2].path, b"{")
    _open(disk).add(_id(4), b"{}")
    assert _ids(_open(disk)) == [_id(1), _id(2), _id(4)]
    assert _open(disk).dropped() == 1


def test_a_ledger_that_is_no_ledger_starts_anew() -> None:
    disk = SimulatedDisk()
    _filled(disk, 5)
    assert _open(disk).dropped() == 2
    disk.tear(_FOLDER / "dropped", b"\xffmany")
    assert _open(disk).dropped() == 0
    assert _ids(_open(disk)) == [_id(3), _id(4), _id(5)]


def test_a_place_in_the_order_is_never_given_again_while_it_matters() -> None:
    disk = SimulatedDisk()
    ledger = _filled(disk, 5)
    for _ in range(3):
        ledger.remove_oldest(_open(disk))
    ledger.add(_open(disk), 6)
    # Had it the place of a dropped one, it would count as dropped itself.
    assert _ids(_open(disk)) == [_id(6)]
