"""What the daemon does beside serving: it measures the box now and then, when nobody is asking.

The benchmark is a process of its own, with the lowest priority; the first request that comes
while it runs ends it, and it is tried again at the next quiet hour. It is not aware of HTTP or of
how a box is measured. Used by `serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.durable import write_durably
from edgepack.runner.log import Log
from edgepack.runner.settings import BenchSection

_MARK = "benched"
_MAX_MARK_BYTES = 64
_LOOK_S = 60.0
#: While a benchmark runs, a request is to be noticed soon.
_WATCH_S = 0.5
_LOWEST_PRIORITY = 19
_NS_PER_S = 1e9

Sleep = Callable[[float], Awaitable[None]]
#: Starts a program; tests pass one that is none.
Start = Callable[[Sequence[str]], Awaitable["asyncio.subprocess.Process"]]


class ScheduledBench:
    """Measures the box every so many days."""

    def __init__(
        self,
        settings: BenchSection,
        state: Path,
        command: Sequence[str],
        last_request_ns: Callable[[], int],
        follow: Callable[[], Awaitable[object]],
        clock: Clock,
        log: Log,
        *,
        start: Start | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Makes a schedule; `run` follows it.

        Args:
            settings: How often, and how quiet it must be.
            state: Where the time of the last one is kept.
            command: The program that measures and spools a report.
            last_request_ns: The clock's reading at the last request for the model.
            follow: Takes over what the benchmark has chosen.
            clock: Tells the time.
            log: Gets a line for each benchmark.
            start: Starts the program.
            sleep: Waits some seconds.
        """
        self._settings = settings
        self._state = state
        self._command = command
        self._last_request_ns = last_request_ns
        self._follow = follow
        self._clock = clock
        self._log = log
        self._start = start or _start_quietly
        self._sleep = sleep

    async def run(self) -> None:
        """Looks once a minute; ends when cancelled."""
        while True:
            await self._sleep(_LOOK_S)
            if self.is_due() and self._is_quiet():
                await self.measure()

    def is_due(self) -> bool:
        """Whether the last benchmark is long enough ago."""
        if self._settings.every_days is None:
            return False
        last = self._read_last()
        if last is None:
            return True
        # A last time that lies ahead was written by a clock that was wrong.
        since = abs(self._clock.utc_now() - last)
        return since >= timedelta(days=self._settings.every_days)

    async def measure(self) -> None:
        """Runs the program, and ends it when a request comes."""
        begin_ns = self._last_request_ns()
        try:
            process = await self._start(self._command)
        except OSError as error:
            self._log.write_rarely("warning", "benchmark not started", reason=str(error))
            return
        ended = asyncio.ensure_future(process.wait())
        try:
            while not ended.done():
                watch = asyncio.ensure_future(self._sleep(_WATCH_S))
                await asyncio.wait((ended, watch), return_when=asyncio.FIRST_COMPLETED)
                watch.cancel()
                if not ended.done() and self._last_request_ns() != begin_ns:
                    self._log.write("info", "benchmark ended for a request")
                    return
            self._log.write("info", "benchmark done", status=ended.result())
            self._write_last()
            if ended.result() == 0:
                await self._follow()
        finally:
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await ended

    def _is_quiet(self) -> bool:
        quiet_ns = self._clock.monotonic_ns() - self._last_request_ns()
        return quiet_ns >= self._settings.idle_s * _NS_PER_S

    def _read_last(self) -> datetime | None:
        try:
            with (self._state / _MARK).open("rb") as file:
                last = datetime.fromisoformat(file.read(_MAX_MARK_BYTES).decode("ascii").strip())
        except (OSError, ValueError):
            return None
        return last if last.tzinfo is not None else None

    def _write_last(self) -> None:
        # On a full disk the benchmark is only made again sooner.
        with contextlib.suppress(OSError):
            moment = rfc3339(self._clock.utc_now())
            write_durably(self._state / _MARK, f"{moment}\n".encode())


async def _start_quietly(command: Sequence[str]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST_PRIORITY)
    return process
