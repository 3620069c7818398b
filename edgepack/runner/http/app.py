"""Answers requests: routes, the bearer token, errors, counting. No sockets, no threads.

It is not aware of connections, parsing or time-outs, which are `protocol`'s, nor of where a job
runs, which is `server`'s. Used by `serving` and, without any socket, by tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from edgepack.formats.errors import DeviceError
from edgepack.runner.clock import Clock
from edgepack.runner.drift.counters import DriftCounters
from edgepack.runner.engines.contract import Array
from edgepack.runner.http.auth import Guard
from edgepack.runner.http.jobs import Job, Later, Part
from edgepack.runner.http.limits import Limits
from edgepack.runner.http.messages import RefusalError, Response, error_response
from edgepack.runner.http.metrics import Metrics
from edgepack.runner.http.routes import Routes
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.models import LiveModels
from edgepack.runner.log import Log
from edgepack.runner.rows import Call, join_rows, run_rows

#: The label of every path that is not in the table.
_OTHER = "other"


class App:
    """The routes over the models in service.

    Attributes:
        models: What is served.
        metrics: What `/metrics` shows.
        routes: The table; filled by whoever makes the app.
        clock: Times answers and deadlines.
        log: Where failures are written.
        default_deadline_ns: How long a request may take that does not say; or None.
        body_bytes: The most bytes of a body, also of one that was unpacked.
        retire: Unloads a model that takes no new requests, once no job needs it.
        stopping: Set when the server is on its way out; `/healthz` says so.
        reload: Begins to look what is current now and to serve it; what it returns may be waited
            for and says what became of it, such as `refused`. None where nothing can.
        drift: Counts what `stable` is asked and answers; None: nobody does.
        last_job_ns: The clock's reading when the model was last asked for anything.
    """

    def __init__(
        self,
        models: LiveModels,
        metrics: Metrics,
        clock: Clock,
        log: Log,
        *,
        guard: Guard | None = None,
        default_deadline_ns: int | None = None,
    ) -> None:
        self.models = models
        self.metrics = metrics
        self.routes = Routes()
        self.clock = clock
        self.log = log
        self.default_deadline_ns = default_deadline_ns
        self.body_bytes = Limits().body_bytes
        self.retire: Callable[[LiveModel], None] = LiveModel.unload
        self.stopping = False
        self.reload: Callable[[], Awaitable[str]] | None = None
        self.drift: DriftCounters | None = None
        self.last_job_ns = clock.monotonic_ns()
        self._guard = guard

    def answer(self, request: Request) -> Response | Job | Later:
        """Answers a request, or returns what the model has to do for it; it never raises.

        Args:
            request: A whole request.

        Returns:
            The answer (for HEAD that of GET, whose body the caller leaves out), a job for
            `run` or `late`, or what `finish` waits for.
        """
        label = _OTHER
        try:
            match = self.routes.find(request.method, request.path)
            route = match.route
            label = route.label
            if self._guard is not None and not route.public:
                self._guard.check(request.headers)
            answer = route.handler(request, match.parameters)
        except RefusalError as refusal:
            answer = refusal.response()
        except Exception as error:  # noqa: BLE001 - one bad request may not end the daemon
            answer = self._bug(label, error)
        if isinstance(answer, (Job, Later)):
            answer.label = label
            return answer
        self.metrics.count_request(label, answer.status)
        return answer

    def run(self, job: Job, waited_ns: int = 0) -> Response:
        """Runs a job to its answer; it never raises, and may be called by another thread.

        Args:
            job: What `answer` returned.
            waited_ns: How long it has waited for the model.

        Returns:
            The answer, not counted yet: it may come too late to be sent.
        """
        if job.deadline_ns is not None and self.clock.monotonic_ns() >= job.deadline_ns:
            return self.late(job)
        if job.part is not None and job.part.rows > 1:
            return self.run_together((job,), (waited_ns,))[0]
        return self._compute(job, job.run, waited_ns)

    def run_together(self, jobs: Sequence[Job], waited_ns: Sequence[int]) -> list[Response]:
        """Runs the rows of jobs in as few calls as they take; it never raises.

        A call that fails may have failed for one row, so each job is then run by itself.

        Args:
            jobs: Jobs of one model that have a part, with rows of the same shapes.
            waited_ns: How long each has waited for the model.

        Returns:
            The answers, not counted yet.
        """
        live = jobs[0].live
        parts = [job.part for job in jobs if job.part is not None]
        try:
            outputs, calls = self._call(live, parts)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is one job's
            if len(jobs) > 1:
                self.log.write_rarely("warning", "batch failed", error=repr(error)[:500])
            return [
                self._compute(job, job.run, waited)
                for job, waited in zip(jobs, waited_ns, strict=True)
            ]
        self.metrics.of(live).observe_calls(calls)
        for count in {part.count for part in parts}:
            if count is not None:
                count(live, calls)
        spent_ns = sum(call.duration_ns for call in calls)
        answers, begin = [], 0
        for job, part, waited in zip(jobs, parts, waited_ns, strict=True):
            own = [each[begin : begin + part.rows] for each in outputs]
            answers.append(self._compute(job, part.finish, own, waited, spent_ns))
            begin += part.rows
        return answers

    def late(self, job: Job) -> Response:
        """Returns the answer of a job whose deadline passed, not counted yet."""
        return self._compute(job, job.late or _too_late)

    async def finish(self, later: Later) -> Response:
        """Waits for an answer; it never raises.

        Args:
            later: What `answer` returned.

        Returns:
            The answer, counted.
        """
        try:
            response = await later.wait()
        except RefusalError as refusal:
            response = refusal.response()
        except Exception as error:  # noqa: BLE001 - one bad request may not end the daemon
            response = self._bug(later.label, error)
        self.metrics.count_request(later.label, response.status)
        return response

    def count(self, job: Job, response: Response) -> None:
        """Counts the answer that a job's client gets."""
        self.last_job_ns = self.clock.monotonic_ns()
        self.metrics.count_request(job.label, response.status)

    def _call(self, live: LiveModel, parts: Sequence[Part]) -> tuple[list[Array], list[Call]]:
        if live.engine is None:
            raise DeviceError("there is no model to run")
        arrays = [part.inputs() for part in parts]
        joined = arrays[0] if len(arrays) == 1 else join_rows(arrays)
        return run_rows(live.engine, joined, live.sizes, self.clock.monotonic_ns)

    def _compute(self, job: Job, compute: Callable[..., Response], *arguments: Any) -> Response:
        try:
            return compute(*arguments)
        except RefusalError as refusal:
            return refusal.response()
        except Exception as error:  # noqa: BLE001 - one bad request may not end the daemon
            return self._bug(job.label, error)

    def _bug(self, label: str, error: Exception) -> Response:
        self.log.write_rarely("error", "bug", route=label, error=repr(error)[:500])
        return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")


def _too_late() -> Response:
    return error_response(HTTPStatus.GATEWAY_TIMEOUT, "the deadline passed")
