from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from edgepack.runner.daemon.background import ScheduledBench
from edgepack.runner.log import Log
from edgepack.runner.settings import BenchSection
from tests.runner.simulators import HandClock


class SimulatedProcess:
    """A program that runs until it is told to end or ends by itself after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.terminated = False
        self.pid = 0

    async def wait(self) -> int:
        while self.looks > 0 and not self.terminated:
            self.looks -= 1
            await asyncio.sleep(0)
        return -15 if self.terminated else 0

    def terminate(self) -> None:
        self.terminated = True


class Desk:
    """A schedule with a clock turned by hand."""

    def __init__(self, state: Path, **settings: float) -> None:
        self.clock = HandClock()
        self.log = io.StringIO()
        self.last_ns = self.clock.now_ns
        self.commands: list[Sequence[str]] = []
        self.process = SimulatedProcess(3)
        self.failure: OSError | None = None
        self.followed = 0
        self.schedule = ScheduledBench(
            BenchSection(**settings),  # type: ignore[arg-type]
            state,
            ["edgepack-runner", "bench"],
            lambda: self.last_ns,
            self.follow,
            self.clock,
            Log(self.log, self.clock),
            start=self.start,
            sleep=self.sleep,
        )

    async def follow(self) -> None:
        self.followed += 1

    async def start(self, command: Sequence[str]) -> asyncio.subprocess.Process:
        if self.failure is not None:
            raise self.failure
        self.commands.append(command)
        return cast("asyncio.subprocess.Process", self.process)

    async def sleep(self, duration_s: float) -> None:
        self.clock.now_ns += int(duration_s * 1e9)
        await asyncio.sleep(0)

    def run_for(self, looks: int) -> None:
        async def run() -> None:
            task = asyncio.ensure_future(self.schedule.run())
            for _ in range(looks):
                await asyncio.sleep(0)
            task.cancel()

        asyncio.run(run())


def test_without_a_setting_nothing_is_ever_due(tmp_path: Path) -> None:
    assert not Desk(tmp_path).schedule.is_due()


def test_the_first_benchmark_waits_for_a_quiet_box(tmp_path: Path) -> None:
    desk = Desk(tmp_path, every_days=7, idle_s=300)
    desk.run_for(3)
    assert not desk.commands
    desk.run_for(40)
    assert desk.commands == [["edgepack-runner", "bench"]]
    assert "benchmark done" in desk.log.getvalue()
    assert desk.followed == 1


def test_the_next_one_is_due_after_its_days(tmp_path: Path) -> None:
    desk = Desk(tmp_path, every_days=7)
    asyncio.run(desk.schedule.measure())
    assert not desk.schedule.is_due()
    desk.clock.wall += timedelta(days=6.9)
    assert not desk.schedule.is_due()
    desk.clock.wall += timedelta(days=0.2)
    assert desk.schedule.is_due()


def test_a_mark_from_a_clock_that_was_far_ahead_does_not_silence_the_box(tmp_path: Path) -> None:
    desk = Desk(tmp_path, every_days=7)
    asyncio.run(desk.schedule.measure())
    desk.clock.wall -= timedelta(days=4000)
    assert desk.schedule.is_due()


@pytest.mark.parametrize("mark", [b"", b"soon", b"2026-01-01", b"\xff" * 100])
def test_a_damaged_mark_counts_as_none(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "benched").write_bytes(mark)
    assert Desk(tmp_path, every_days=7).schedule.is_due()


def test_a_request_ends_the_benchmark_and_it_is_made_another_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path, every_days=7)
    desk.process = SimulatedProcess(1000)

    async def run() -> None:
        task = asyncio.ensure_future(desk.schedule.measure())
        for _ in range(5):
            await asyncio.sleep(0)
        desk.last_ns += 1
        await task

    asyncio.run(run())
    assert desk.process.terminated
    assert desk.followed == 0
    assert desk.schedule.is_due()
    assert "ended for a request" in desk.log.getvalue()


def test_a_program_that_cannot_be_started_is_told_and_does_not_end_the_daemon(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, every_days=7)
    desk.failure = OSError("no such file")
    asyncio.run(desk.schedule.measure())
    assert "no such file" in desk.log.getvalue()
    assert desk.schedule.is_due()
