"""The one thread that runs jobs which would hold up the event loop, and its bounded queue.

One thread, because an engine is not made for two and a box has few cores. Jobs for an engine that
takes several rows in one call go together when they wait together (`batching` says which): in the
thread, and in the event loop where several short ones came at once. Everything here but `_drain`
and what it calls is called by the event loop only. It is not aware of connections. Used by
`server`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from edgepack.formats.errors import DeviceError
from edgepack.runner.http.app import App
from edgepack.runner.http.batching import Rules, choose
from edgepack.runner.http.jobs import INLINE_LIMIT_NS, Job
from edgepack.runner.http.messages import Response, error_response
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.timing import measure_again

_NS_PER_S = 1e9
Respond = Callable[[Response], None]


@dataclass(slots=True, eq=False)
class _Entry:
    """A job in the queue (a `Waiting`); a watchdog's try and new measuring have no job.

    Whoever waits for a try has it in `tried`; nobody waits for measuring.
    """

    live: LiveModel
    job: Job | None
    respond: Respond | None = None
    timer: asyncio.TimerHandle | None = None
    tried: asyncio.Future[bool] | None = None
    queued_ns: int = 0
    due_ns: int | None = None
    group: Hashable | None = None
    rows: int = 1


#: What became of an entry: its answer, whether the model answered a try, or what went wrong.
_Result = Response | bool | BaseException | None


_OUR_FAULT = error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")


class ModelThread:
    """Runs jobs one after the other, beside the event loop."""

    def __init__(self, app: App, limit: int, delay_ns: int = 0) -> None:
        """Makes the thread's queue; the thread starts with the first job.

        Args:
            app: Runs the jobs.
            limit: The most jobs that may wait.
            delay_ns: How long the first job of a call may be held back for others to join it.
        """
        self._app = app
        self._limit = limit
        self._delay_ns = delay_ns
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._pending = 0
        self._retired: list[LiveModel] = []
        #: Models whose calls are to be measured again.
        self._outdated: list[LiveModel] = []
        #: Short jobs that came in this turn of the event loop, to be run at its end.
        self._gathered: list[_Entry] = []
        self._changed = threading.Condition()
        # These are the thread's as well, under the condition's lock.
        self._queue: list[_Entry] = []
        self._in_call = 0
        self._running = False
        self._closed = False

    def submit(self, job: Job, respond: Respond) -> Response | None:
        """Queues a job.

        Args:
            job: Work for the model.
            respond: Gets the answer, unless it is returned here.

        Returns:
            None, or at once the refusal of a job for which there is no room.
        """
        # A full call holds the place of one: the next one may fill up while it runs.
        # What was gathered in this turn of the loop waits for nobody and holds none.
        waiting = self._pending - len(self._gathered) - max(self._in_call - 1, 0)
        if waiting >= self._limit:
            return error_response(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{waiting} requests already wait for the model",
                (("Retry-After", "1"),),
            )
        self._count(job.live, 1)
        entry = self._entry(job, respond)
        if entry.group is None or self._running or self._delay_ns or not _is_short(job):
            self._enqueue([entry])
            return None
        # A turn of the event loop takes up everything that has come: it goes together.
        self._gathered.append(entry)
        if len(self._gathered) == 1:
            self._loop.call_soon(self._run_gathered)
        return None

    async def try_model(self, live: LiveModel) -> bool:
        """Runs a model once, behind the jobs that wait; whether it answered."""
        self._count(live, 1)
        tried: asyncio.Future[bool] = self._loop.create_future()
        self._enqueue([_Entry(live, None, tried=tried, queued_ns=self._now_ns())])
        try:
            return await tried
        finally:
            self._let_go(live)

    def retire(self, live: LiveModel) -> None:
        """Unloads a model that is in service no more, as soon as no job needs it."""
        if live.pending:
            if live not in self._retired:
                self._retired.append(live)
        else:
            live.unload()
            self._app.metrics.leave(live)

    def close(self) -> None:
        """Ends the thread after the call it is at; what waits is not answered any more."""
        with self._changed:
            self._closed = True
            left, self._queue = [*self._gathered, *self._queue], []
            self._gathered = []
            self._changed.notify()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._finish(left, [None] * len(left))

    def _entry(self, job: Job, respond: Respond) -> _Entry:
        entry = _Entry(job.live, job, respond)
        entry.queued_ns = job.queued_ns = self._now_ns()
        if job.deadline_ns is not None:
            entry.due_ns = job.deadline_ns
            left_s = max(job.deadline_ns - entry.queued_ns, 0) / _NS_PER_S
            entry.timer = self._loop.call_later(left_s, self._expire, entry, job)
        if job.part is not None:
            entry.group = (id(job.live), job.part.shapes)
            entry.rows = job.part.rows
        return entry

    def _enqueue(self, entries: Sequence[_Entry], *, first: bool = False) -> None:
        with self._changed:
            at = 0 if first else len(self._queue)
            self._queue[at:at] = entries
            starts, self._running = not self._running, True
            if not starts and self._delay_ns:
                self._changed.notify()
        if starts:
            self._executor.submit(self._drain)

    def _run_gathered(self) -> None:
        """Runs the short jobs that came together, here as long as that is short itself."""
        entries, self._gathered = self._gathered, []
        left_ns: float = INLINE_LIMIT_NS
        while entries and not self._running:
            live = entries[0].live
            taken, _ = choose(entries, self._rules(live), self._now_ns())
            batch, others = _split(entries, taken)
            left_ns -= live.expected_ns(sum(entry.rows for entry in batch))
            left_ns -= sum(entry.job.beside_ns for entry in batch if entry.job is not None)
            if left_ns < 0:
                break
            entries = others
            self._finish(batch, self._run_guarded(batch))
        if entries:
            self._enqueue(entries)

    def _drain(self) -> None:
        """Runs what waits, in the thread, until nothing does."""
        while batch := self._next():
            results = self._run_guarded(batch)
            try:
                self._loop.call_soon_threadsafe(self._finish, batch, results)
            except RuntimeError:
                # The loop is closed: nobody waits for answers any more.
                return

    def _next(self) -> list[_Entry]:
        """Returns the entries of the next call; none when nothing waits."""
        with self._changed:
            while self._queue and not self._closed:
                now_ns = self._now_ns()
                choice = choose(self._queue, self._rules(self._queue[0].live), now_ns)
                if choice.wait_until_ns is None:
                    batch, self._queue = _split(self._queue, choice.taken)
                    self._in_call = len(batch)
                    return batch
                self._changed.wait((choice.wait_until_ns - now_ns) / _NS_PER_S)
            self._running, self._in_call = False, 0
            return []

    def _run_guarded(self, batch: Sequence[_Entry]) -> Sequence[_Result]:
        """Runs a call; a fault of ours fails its jobs and not all that come after them."""
        try:
            return self._run(batch)
        except Exception as error:  # noqa: BLE001 - the thread must go on
            self._app.log.write("error", "a call failed outside the model", error=repr(error))
            return [error] * len(batch)

    def _run(self, batch: Sequence[_Entry]) -> list[_Result]:
        if batch[0].job is None:
            return [self._without_job(entry) for entry in batch]
        now_ns = self._now_ns()
        jobs = [each.job for each in batch if each.job is not None and not each.job.abandoned]
        waited_ns = [now_ns - job.queued_ns for job in jobs]
        if len(jobs) > 1:
            answers = self._app.run_together(jobs, waited_ns)
        else:
            answers = [self._app.run(*each) for each in zip(jobs, waited_ns, strict=True)]
        given = {id(job): answer for job, answer in zip(jobs, answers, strict=True)}
        return [given.get(id(entry.job)) for entry in batch]

    def _rules(self, live: LiveModel) -> Rules:
        return Rules(live.sizes.most, self._delay_ns, live.expected_ns)

    def _expire(self, entry: _Entry, job: Job) -> None:
        job.abandoned = True
        self._deliver(entry, job, self._app.late(job))

    def _finish(self, batch: Sequence[_Entry], results: Sequence[_Result]) -> None:
        # Before any answer is sent: with it a client's next request may come.
        for entry in batch:
            if entry.timer is not None:
                entry.timer.cancel()
            if entry.tried is None:
                self._let_go(entry.live)
        for live in {id(entry.live): entry.live for entry in batch}.values():
            self._watch(live)
        for entry, result in zip(batch, results, strict=True):
            if entry.job is None:
                _settle(entry, result)
            elif not entry.job.abandoned:
                answer = _OUR_FAULT if isinstance(result, BaseException) else result
                if isinstance(answer, Response):
                    self._deliver(entry, entry.job, answer)

    def _watch(self, live: LiveModel) -> None:
        """Has a model's calls measured again where its card failed, before the next call."""
        if not live.outdated:
            self._outdated = [each for each in self._outdated if each is not live]
        elif live not in self._outdated and not self._closed:
            self._outdated.append(live)
            self._count(live, 1)
            self._enqueue([_Entry(live, None, queued_ns=self._now_ns())], first=True)

    def _without_job(self, entry: _Entry) -> bool | BaseException:
        live = entry.live
        if entry.tried is not None:
            return _try(live)
        try:
            measure_again(live, self._app.clock)
        except DeviceError as error:
            self._app.log.write("warning", "calls not measured again", reason=error.message)
            return False
        median_us = round(live.median_ns / 1000, 1)
        self._app.log.write("info", "calls measured again", median_us=median_us)
        return True

    def _deliver(self, entry: _Entry, job: Job, response: Response) -> None:
        self._app.count(job, response)
        if entry.respond is None:
            return
        try:
            entry.respond(response)
        except Exception as error:  # noqa: BLE001 - what one connection has is not the others'
            self._app.log.write_rarely("error", "bug", route=job.label, error=repr(error)[:500])

    def _let_go(self, live: LiveModel) -> None:
        self._count(live, -1)
        if live in self._retired and not live.pending:
            self._retired.remove(live)
            self.retire(live)

    def _count(self, live: LiveModel, change: int) -> None:
        live.pending += change
        self._pending += change
        self._app.metrics.pending = self._pending

    def _now_ns(self) -> int:
        return self._app.clock.monotonic_ns()


def _is_short(job: Job) -> bool:
    return job.live.inline and job.expected_ns <= INLINE_LIMIT_NS


def _split(entries: Sequence[_Entry], taken: Sequence[int]) -> tuple[list[_Entry], list[_Entry]]:
    """Returns the entries at some places, and the others."""
    places = set(taken)
    others = [entry for place, entry in enumerate(entries) if place not in places]
    return [entries[place] for place in taken], others


def _try(live: LiveModel) -> bool | BaseException:
    try:
        return live.answers()
    except Exception as error:  # noqa: BLE001 - it is raised again where it was asked
        return error


def _settle(entry: _Entry, result: _Result) -> None:
    """Tells whoever waits for a try what became of it."""
    if entry.tried is None or entry.tried.done():
        return
    if isinstance(result, bool):
        entry.tried.set_result(result)
    elif isinstance(result, BaseException):
        entry.tried.set_exception(result)
    else:
        entry.tried.cancel()
