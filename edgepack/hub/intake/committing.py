"""Group commit: reports that arrive together share one transaction, and one write to the disk.

A report is answered after its transaction is on disk. One thread writes; the event loop waits.
Writing one report takes nearly as long as writing ten, so a write waits some milliseconds for
those that are just being judged, and never for one that is still on its way.
It is not aware of HTTP or SQL. Used by `web.api`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from edgepack.hub.store.recording import Accepted, Outcome

#: At more the transaction gets long, and with it the wait of whoever comes next.
_LARGEST_BATCH: Final = 128
#: So many are written at once, whoever else is being judged.
_ENOUGH: Final = 32
#: A report waits no longer than this for others that are being judged.
_LONGEST_GATHERING_S: Final = 0.02


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
        self._most_waiting = most_waiting
        #: Held for whatever follows.
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._coming = 0
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def depth(self) -> int:
        """How many reports wait now."""
        return len(self._waiting)

    def start(self) -> None:
        """Starts to write."""
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Writes what waits and ends."""
        if self._thread is not None:
            with self._changed:
                self._stopping = True
                self._changed.notify()
            self._thread.join()
            self._thread = None

    @contextlib.contextmanager
    def coming(self) -> Iterator[None]:
        """Has a write wait for what is put in here; for work that takes a few milliseconds."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                self._notify_if_ripe()

    def put(self, reports: Sequence[Accepted]) -> asyncio.Future[list[Outcome]]:
        """Has reports written, first come, first served.

        Args:
            reports: At least one.

        Returns:
            What becomes of each, known when all of them are on disk. It fails with
            `NotWrittenError` where the store did not take at least one of them.

        Raises:
            BusyError: Too many wait already; none of these was taken.
        """
        if self.depth + len(reports) > self._most_waiting:
            raise BusyError
        loop = asyncio.get_running_loop()
        asked = _Asked(loop, loop.create_future(), len(reports))
        since_s = self._monotonic()
        with self._changed:
            self._waiting.extend(_Waiting(each, asked, since_s) for each in reports)
            self._notify_if_ripe()
        return asked.done

    async def submit(self, reports: Sequence[Accepted]) -> list[Outcome]:
        """Has reports written and waits for it; see `put`.

        Raises:
            BusyError: Too many wait already; none of these was taken.
            NotWrittenError: The store did not take at least one of them.
        """
        return await self.put(reports)

    def _is_ripe(self) -> bool:
        if not self._waiting:
            return False
        if self._stopping or not self._coming or len(self._waiting) >= _ENOUGH:
            return True
        return self._monotonic() - self._waiting[0].since_s >= _LONGEST_GATHERING_S

    def _notify_if_ripe(self) -> None:
        # Whoever is coming tells when it came or went, so that nobody need look at the clock.
        if self._is_ripe():
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._commit(batch)

    def _next_batch(self) -> list[_Waiting]:
        with self._changed:
            while not self._is_ripe():
                if self._stopping:
                    return []
                self._changed.wait()
            count = min(len(self._waiting), _LARGEST_BATCH)
            return [self._waiting.popleft() for _ in range(count)]

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        begin = self._monotonic()
        try:
            outcomes = self._writes.record([each.report for each in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, the senders must hear of it
            self._watching.failed(error)
            if len(batch) == 1:
                batch[0].asked.failures.append(error)
                _tell(batch)
                return
            # One report that the store cannot take must not keep the others out.
            for each in batch:
                self._commit([each])
            return
        self._watching.committed(len(batch), self._monotonic() - begin)
        for each, outcome in zip(batch, outcomes, strict=True):
            each.asked.outcomes.append(outcome)
        _tell(batch)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """The reports of one sender; the writing thread fills in what became of them, in order."""

    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[list[Outcome]]
    count: int
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    @property
    def is_written(self) -> bool:
        """Whether the store has said something about each report."""
        return len(self.outcomes) + len(self.failures) == self.count

    def tell(self) -> None:
        """Wakes the sender; one that has hung up is not told."""
        if self.done.done():
            return
        if self.failures:
            error = NotWrittenError(str(self.failures[0]))
            error.__cause__ = self.failures[0]
            self.done.set_exception(error)
        else:
            self.done.set_result(self.outcomes)


@dataclass(frozen=True, slots=True)
class _Waiting:
    report: Accepted
    asked: _Asked
    since_s: float


def _tell(batch: Sequence[_Waiting]) -> None:
    # Waking the event loop's thread costs more than what it is told: once for all of them.
    ready: dict[asyncio.AbstractEventLoop, dict[_Asked, None]] = {}
    for each in batch:
        if each.asked.is_written:
            ready.setdefault(each.asked.loop, {})[each.asked] = None

    def tell_all(asked: Iterable[_Asked]) -> None:
        for each in asked:
            each.tell()

    for loop, asked in ready.items():
        # The loop is closed when the hub ends; the report is written all the same.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell_all, asked)
