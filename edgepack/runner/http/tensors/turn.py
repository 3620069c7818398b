"""One request of a tensor protocol on its way through the model.

It is not aware of wire forms: what makes the answer out of tensors is passed in. Used by `v2`
and `tfs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from edgepack.formats.errors import DeviceError
from edgepack.runner.engines.contract import Array, Engine
from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.messages import RefusalError, Response
from edgepack.runner.http.tensors.histories import item_ids
from edgepack.runner.http.tensors.statistics import Spent, TensorStatistics
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.signature import ITEMS, TEXT


@dataclass(frozen=True, slots=True)
class Feed:
    """What a request gives the model, checked.

    Attributes:
        arrays: One array for each input, of its dtype and shape.
        text: Whether item ids were given, and so are wanted.
    """

    arrays: list[Array]
    text: bool = False


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """What the model gave for one output.

    Attributes:
        name: The output's name.
        dtype: numpy's name of the element type, or `bytes`.
        shape: Its extents, rows first.
        values: The numbers, or item ids in row-major order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: Array | list[str]


Write = Callable[[list[OutputTensor]], Response]


@dataclass(frozen=True, slots=True)
class Turn:
    """A request whose tensors are checked.

    Attributes:
        app: Clock, metrics and log.
        statistics: Where it is counted.
        live: The model it is for.
        engine: Its engine, which stays open while the turn is pending.
        feed: What the model gets.
        write: Makes the answer; may refuse.
        start_ns: The clock's reading when the request was taken up.
        read_ns: The clock's reading when its tensors were ready.
    """

    app: App
    statistics: TensorStatistics
    live: LiveModel
    engine: Engine
    feed: Feed
    write: Write
    start_ns: int
    read_ns: int

    def job(self, request: Request, wait_ns: int | None = None) -> Job:
        """Returns the work for the model.

        Args:
            request: Where it came from.
            wait_ns: How long its client wants to wait; the server's own deadline by default.
        """
        wait_ns = self.app.default_deadline_ns if wait_ns is None else wait_ns
        rows = self.live.signature.rows(self.feed.arrays)
        due_ns = None if wait_ns is None else self.start_ns + wait_ns
        return Job(self.live, rows, self.run, self.late, due_ns, request)

    def run(self, waited_ns: int) -> Response:
        """Runs the model and makes the answer.

        Raises:
            RefusalError: 500 when the runtime failed; what `write` refuses.
        """
        now_ns = self.app.clock.monotonic_ns
        calls: list[tuple[int, int]] = []
        try:
            outputs = self._outputs(calls)
            ready_ns = now_ns()
            response = self.write(outputs)
        except RefusalError:
            self.statistics.count_failure(self.live, now_ns() - self.start_ns)
            raise
        end_ns = now_ns()
        spent = Spent(waited_ns, self.read_ns - self.start_ns, tuple(calls), end_ns - ready_ns)
        now_ms = int(self.app.clock.utc_now().timestamp() * 1000)
        self.statistics.count_success(self.live, spent, now_ms)
        metrics = self.app.metrics.of(self.live)
        metrics.observe_request(end_ns - self.start_ns, waited_ns)
        for _, duration_ns in calls:
            metrics.observe_inference(duration_ns)
        return response

    def late(self) -> Response:
        """Refuses a request whose deadline passed.

        Raises:
            RefusalError: 504, always.
        """
        duration_ns = self.app.clock.monotonic_ns() - self.start_ns
        self.statistics.count_failure(self.live, duration_ns)
        raise RefusalError(HTTPStatus.GATEWAY_TIMEOUT, "the deadline passed")

    def _outputs(self, calls: list[tuple[int, int]]) -> list[OutputTensor]:
        signature, vocabulary = self.live.signature, self.live.release.vocabulary
        try:
            arrays = signature.run(
                self.engine,
                self.feed.arrays,
                self.app.clock.monotonic_ns,
                lambda rows, duration_ns: calls.append((rows, duration_ns)),
            )
            outputs = []
            for spec, array in zip(signature.outputs, arrays, strict=True):
                if self.feed.text and vocabulary is not None and spec.name == ITEMS:
                    ids = item_ids(vocabulary, array)
                    outputs.append(OutputTensor(spec.name, TEXT, array.shape, ids))
                else:
                    outputs.append(OutputTensor(spec.name, spec.dtype, array.shape, array))
        except DeviceError as error:
            self.app.log.write_rarely("error", "inference failed", error=error.message)
            raise RefusalError(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"the model could not compute this: {error}"
            ) from error
        return outputs
