"""Group commit: reports that arrive together share one transaction, and one write to the disk.

A report is answered after its transaction is on disk. One thread writes; the event loop waits.
It is not aware of HTTP or SQL. Used by `web.api`.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from edgepack.hub.store.recording import Accepted, Outcome

#: At more the transaction gets long, and with it the wait of whoever comes next.
_LARGEST_BATCH: Final = 128
_STOP: Final = None


class Writes(Protocol):
    """What writes a batch durably, such as `edgepack.hub.store.recording.Recorder`."""

    def record(self, batch: Sequence[Accepted]) -> list[Outcome]:
        """Writes reports; all of them are on disk when it returns, or none."""
        ...


class BusyError(Exception):
    """More reports wait than the hub takes; the sender is to come back."""


class NotWrittenError(Exception):
    """The store did not take a report; the sender is to come back."""


@dataclass(frozen=True, slots=True)
class Watching:
    """Is told what happens; the hub's metrics listen here."""

    committed: Callable[[int, float], None] = field(default=lambda _count, _seconds: None)
    failed: Callable[[Exception], None] = field(default=lambda _error: None)


class GroupCommitter:
    """Collects reports and writes them in batches."""

    def __init__(
        self,
        writes: Writes,
        monotonic: Callable[[], float],
        *,
        most_waiting: int = 1000,
        watching: Watching | None = None,
    ) -> None:
        """Makes a committer; `start` starts its thread.

        Args:
            writes: Writes a batch.
            monotonic: Seconds, for measuring how long a batch took.
            most_waiting: Reports that may wait; more are told to come back.
            watching: Is told of each batch.
        """
        self._writes = writes
        self._monotonic = monotonic
        self._watching = watching or Watching()
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._most_waiting = most_waiting
        self._thread: threading.Thread | None = None

    @property
    def depth(self) -> int:
        """How many reports wait now."""
        return self._waiting.qsize()

    def start(self) -> None:
        """Starts to write."""
        self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Writes what waits and ends."""
        if self._thread is not None:
            self._waiting.put(_STOP)
            self._thread.join()
            self._thread = None

    async def submit(self, reports: Sequence[Accepted]) -> list[Outcome]:
        """Has reports written.

        Args:
            reports: At least one.

        Returns:
            What became of each; all of them are on disk.

        Raises:
            BusyError: Too many wait already; none of these was taken.
            NotWrittenError: The store did not take at least one of them.
        """
        if self.depth + len(reports) > self._most_waiting:
            raise BusyError
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(report, loop, loop.create_future()) for report in reports]
        for each in waiting:
            self._waiting.put(each)
        results = await asyncio.gather(*(each.done for each in waiting), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise NotWrittenError(str(result)) from result
        return [result for result in results if isinstance(result, Outcome)]

    def _work(self) -> None:
        while (first := self._waiting.get()) is not _STOP:
            batch = [first]
            stopping = False
            while len(batch) < _LARGEST_BATCH:
                try:
                    each = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if each is _STOP:
                    stopping = True
                    break
                batch.append(each)
            self._commit(batch)
            if stopping:
                return

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        begin = self._monotonic()
        try:
            outcomes = self._writes.record([each.report for each in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, the senders must hear of it
            self._watching.failed(error)
            if len(batch) == 1:
                batch[0].fail(error)
                return
            # One report that the store cannot take must not keep the others out.
            for each in batch:
                self._commit([each])
            return
        self._watching.committed(len(batch), self._monotonic() - begin)
        for each, outcome in zip(batch, outcomes, strict=True):
            each.succeed(outcome)


@dataclass(frozen=True, slots=True)
class _Waiting:
    report: Accepted
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Outcome]

    def succeed(self, outcome: Outcome) -> None:
        self._tell(lambda: self.done.set_result(outcome))

    def fail(self, error: Exception) -> None:
        self._tell(lambda: self.done.set_exception(error))

    def _tell(self, act: Callable[[], None]) -> None:
        def tell() -> None:
            # A sender that has hung up is not told.
            if not self.done.done():
                act()

        # The loop is closed when the hub ends; the report is written all the same.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(tell)
