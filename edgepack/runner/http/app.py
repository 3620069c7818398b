"""Answers requests: routes, the bearer token, errors, counting. No sockets, no threads.

It is not aware of connections, parsing or time-outs, which are `protocol`'s, nor of where a job
runs, which is `server`'s. Used by `serving` and, without any socket, by tests.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from edgepack.runner.clock import Clock
from edgepack.runner.http.auth import Guard
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.messages import RefusalError, Response, error_response
from edgepack.runner.http.metrics import Metrics
from edgepack.runner.http.routes import Routes
from edgepack.runner.http.wire import Request
from edgepack.runner.live.models import LiveModels
from edgepack.runner.log import Log

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
        default_deadline_ns: How long a recommendation may take that does not say; or None.
        stopping: Set when the server is on its way out; `/healthz` says so.
        reload: Begins to look what is current now and to serve it; None where nothing can.
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
        self.stopping = False
        self.reload: Callable[[], None] | None = None
        self.last_job_ns = clock.monotonic_ns()
        self._guard = guard

    def answer(self, request: Request) -> Response | Job:
        """Answers a request, or returns what the model has to do for it; it never raises.

        Args:
            request: A whole request.

        Returns:
            The answer (for HEAD that of GET, whose body the caller leaves out), or a job for
            `run` or `late`.
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
        if isinstance(answer, Job):
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
        return self._compute(job, lambda: job.run(waited_ns))

    def late(self, job: Job) -> Response:
        """Returns the answer of a job whose deadline passed, not counted yet."""
        return self._compute(job, job.late or _too_late)

    def count(self, job: Job, response: Response) -> None:
        """Counts the answer that a job's client gets."""
        self.last_job_ns = self.clock.monotonic_ns()
        self.metrics.count_request(job.label, response.status)

    def _compute(self, job: Job, compute: Callable[[], Response]) -> Response:
        try:
            return compute()
        except RefusalError as refusal:
            return refusal.response()
        except Exception as error:  # noqa: BLE001 - one bad request may not end the daemon
            return self._bug(job.label, error)

    def _bug(self, label: str, error: Exception) -> Response:
        self.log.write_rarely("error", "bug", route=label, error=repr(error)[:500])
        return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")


def _too_late() -> Response:
    return error_response(HTTPStatus.GATEWAY_TIMEOUT, "the deadline passed")
