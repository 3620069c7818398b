from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from edgepack.hub.intake.committing import (
    BusyError,
    GroupCommitter,
    NotWrittenError,
    Watching,
)
from edgepack.hub.intake.submission import Sender, read_report
from edgepack.hub.store.recording import Accepted, Outcome
from tests.hub.reports import DEVICE, NOW_MS, report_bytes


def _accepted(number: int) -> Accepted:
    found = read_report(report_bytes(number), Sender(1, DEVICE), NOW_MS)
    assert isinstance(found, Accepted)
    return found


class _Disk:
    """Writes when it is let go, and cannot write some reports."""

    def __init__(self, *poison: str) -> None:
        self.go = threading.Event()
        self.started = threading.Event()
        self.batches: list[int] = []
        self._poison = poison

    def record(self, batch: Sequence[Accepted]) -> list[Outcome]:
        self.started.set()
        self.go.wait(30)
        self.batches.append(len(batch))
        if any(each.report_id in self._poison for each in batch):
            raise OSError("no room")
        return [Outcome.NEW for _ in batch]


def test_reports_that_come_while_the_disk_is_busy_share_the_next_write() -> None:
    disk = _Disk()
    committer = GroupCommitter(disk, time.monotonic)
    committer.start()

    async def send() -> None:
        first = asyncio.create_task(committer.submit([_accepted(0)]))
        await asyncio.to_thread(disk.started.wait, 30)
        rest = [asyncio.create_task(committer.submit([_accepted(i)])) for i in range(1, 6)]
        while committer.depth < 5:
            await asyncio.sleep(0)
        disk.go.set()
        await asyncio.gather(first, *rest)

    asyncio.run(send())
    committer.stop()
    assert disk.batches == [1, 5]


def test_one_report_that_cannot_be_written_does_not_keep_the_others_out() -> None:
    bad = _accepted(2)
    failures: list[Exception] = []
    disk = _Disk(bad.report_id)
    committer = GroupCommitter(disk, time.monotonic, watching=Watching(failed=failures.append))

    async def send() -> list[object]:
        good = asyncio.create_task(committer.submit([_accepted(1), _accepted(3)]))
        poor = asyncio.create_task(committer.submit([bad]))
        while committer.depth < 3:
            await asyncio.sleep(0)
        committer.start()
        disk.go.set()
        return list(await asyncio.gather(good, poor, return_exceptions=True))

    good, poor = asyncio.run(send())
    committer.stop()
    assert good == [Outcome.NEW, Outcome.NEW]
    assert isinstance(poor, NotWrittenError)
    assert failures


def test_too_many_are_told_to_come_back_and_none_of_them_is_written() -> None:
    disk = _Disk()
    committer = GroupCommitter(disk, time.monotonic, most_waiting=2)

    async def send() -> None:
        with pytest.raises(BusyError):
            await committer.submit([_accepted(i) for i in range(3)])

    asyncio.run(send())
    assert committer.depth == 0


def test_what_waits_is_written_when_the_hub_ends() -> None:
    disk = _Disk()
    disk.go.set()
    committer = GroupCommitter(disk, time.monotonic)

    async def send() -> list[Outcome]:
        task = asyncio.create_task(committer.submit([_accepted(0), _accepted(1)]))
        while committer.depth < 2:
            await asyncio.sleep(0)
        committer.start()
        await asyncio.to_thread(committer.stop)
        return await task

    assert asyncio.run(send()) == [Outcome.NEW, Outcome.NEW]


def test_a_write_waits_for_reports_that_are_being_judged() -> None:
    disk = _Disk()
    disk.go.set()
    committer = GroupCommitter(disk, lambda: 0.0)
    committer.start()

    async def send() -> None:
        with committer.coming():
            first = committer.put([_accepted(0)])
            await asyncio.sleep(0.05)
            assert not first.done()
            with committer.coming():
                second = committer.put([_accepted(1)])
        assert await first == await second == [Outcome.NEW]

    asyncio.run(send())
    committer.stop()
    assert disk.batches == [2]


def test_a_write_does_not_wait_for_long_nor_when_it_has_enough() -> None:
    for clock, reports in ((time.monotonic, 1), (lambda: 0.0, 32)):
        disk = _Disk()
        disk.go.set()
        committer = GroupCommitter(disk, clock)
        committer.start()

        async def send(committer: GroupCommitter = committer, count: int = reports) -> None:
            with committer.coming():
                written = committer.put([_accepted(i) for i in range(count)])
                await asyncio.sleep(0.05)
                # Somebody else comes and goes; the first is still being judged.
                with committer.coming():
                    pass
                assert await written == [Outcome.NEW] * count

        asyncio.run(send())
        committer.stop()
        assert disk.batches == [reports]


def test_many_reports_of_one_sender_are_several_writes_in_order_and_one_answer() -> None:
    disk = _Disk()
    disk.go.set()
    committer = GroupCommitter(disk, time.monotonic)
    reports = [_accepted(0)] * 300

    async def send() -> list[Outcome]:
        many = committer.put(reports)
        one = committer.put([_accepted(1)])
        committer.start()
        found = await many
        # First come, first served: the one came after the many.
        await one
        return found

    assert asyncio.run(send()) == [Outcome.NEW] * 300
    committer.stop()
    assert disk.batches == [128, 128, 45]


def test_a_sender_that_has_hung_up_is_not_told_and_its_report_is_written() -> None:
    disk = _Disk()
    disk.go.set()
    committer = GroupCommitter(disk, time.monotonic)

    async def send() -> list[Outcome]:
        gone = asyncio.create_task(committer.submit([_accepted(0)]))
        await asyncio.sleep(0)
        gone.cancel()
        there = asyncio.create_task(committer.submit([_accepted(1)]))
        await asyncio.sleep(0)
        committer.start()
        return await there

    assert asyncio.run(send()) == [Outcome.NEW]
    committer.stop()
    assert disk.batches == [2]
