"""The one thread that runs jobs which would hold up the event loop, and its bounded queue.

One thread, because an engine is not made for two and a box has few cores. Everything here but
`_work` is called by the event loop only. It is not aware of connections. Used by `server`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.messages import Response, error_response
from edgepack.runner.live.model import LiveModel

_NS_PER_S = 1e9
Respond = Callable[[Response], None]


class ModelThread:
    """Runs jobs one after the other, beside the event loop."""

    def __init__(self, app: App, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._pending = 0
        self._retired: list[LiveModel] = []

    def submit(self, job: Job, respond: Respond) -> Response | None:
        """Queues a job.

        Args:
            job: Work for the model.
            respond: Gets the answer, unless it is returned here.

        Returns:
            None, or at once the refusal of a job for which there is no room.
        """
        if self._pending >= self._limit:
            return error_response(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._pending} requests already wait for the model",
                (("Retry-After", "1"),),
            )
        self._count(job.live, 1)
        now_ns = job.queued_ns = self._app.clock.monotonic_ns()
        timer = None
        if job.deadline_ns is not None:
            left_s = max(job.deadline_ns - now_ns, 0) / _NS_PER_S
            timer = self._loop.call_later(left_s, self._expire, job, respond)
        future = self._loop.run_in_executor(self._executor, self._work, job)
        future.add_done_callback(functools.partial(self._done, job, respond, timer))
        return None

    async def try_model(self, live: LiveModel) -> bool:
        """Runs a model once, behind the jobs that wait; whether it answered."""
        self._count(live, 1)
        try:
            return await self._loop.run_in_executor(self._executor, live.answers)
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
        """Ends the thread after the job it is at."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _work(self, job: Job) -> Response | None:
        if job.abandoned:
            return None
        return self._app.run(job, self._app.clock.monotonic_ns() - job.queued_ns)

    def _expire(self, job: Job, respond: Respond) -> None:
        job.abandoned = True
        self._deliver(job, self._app.late(job), respond)

    def _done(
        self,
        job: Job,
        respond: Respond,
        timer: asyncio.TimerHandle | None,
        future: asyncio.Future[Response | None],
    ) -> None:
        if timer is not None:
            timer.cancel()
        self._let_go(job.live)
        response = None if future.cancelled() else future.result()
        if response is not None and not job.abandoned:
            self._deliver(job, response, respond)

    def _deliver(self, job: Job, response: Response, respond: Respond) -> None:
        self._app.count(job, response)
        respond(response)

    def _let_go(self, live: LiveModel) -> None:
        self._count(live, -1)
        if live in self._retired and not live.pending:
            self._retired.remove(live)
            self.retire(live)

    def _count(self, live: LiveModel, change: int) -> None:
        live.pending += change
        self._pending += change
        self._app.metrics.pending = self._pending
