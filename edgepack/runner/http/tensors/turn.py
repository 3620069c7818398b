"""One request of a tensor protocol on its way through the model.

It is not aware of wire forms: what makes the answer out of tensors is passed in. Used by `v2`
and `tfs`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NoReturn

from edgepack.formats.errors import DeviceError
from edgepack.runner.engines.contract import Array, Engine
from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job, Part
from edgepack.runner.http.messages import RefusalError, Response
from edgepack.runner.http.tensors.histories import item_ids
from edgepack.runner.http.tensors.statistics import Spent, TensorStatistics
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.signature import ITEMS, TEXT
from edgepack.runner.rows import Call

#: Reading a larger body holds up the event loop for longer than a thread costs.
_LARGE_BODY_BYTES = 16 * 1024
#: What a byte of JSON costs to read and a number to write, roughly, on a slow core.
_NS_PER_BYTE = 50
_NS_PER_ELEMENT = 300


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
        reading_ns: How long it took to make its tensors ready.
        wait_ns: How long the client wants to wait, or None.
    """

    app: App
    statistics: TensorStatistics
    live: LiveModel
    engine: Engine
    feed: Feed
    write: Write
    start_ns: int
    reading_ns: int
    wait_ns: int | None = None

    def job(self, request: Request) -> Job:
        """Returns the work for the model."""
        rows = self.live.signature.rows(self.feed.arrays)
        written_ns = rows * self.live.signature.answer_elements * _NS_PER_ELEMENT
        due_ns = None if self.wait_ns is None else self.start_ns + self.wait_ns
        job = Job(self.live, rows, self.run, self.late, due_ns, request, written_ns)
        if self.live.sizes.most > 1:
            job.part = self._part(rows)
        return job

    def _part(self, rows: int) -> Part:
        shapes = tuple(array.shape[1:] for array in self.feed.arrays)
        return Part(
            rows, shapes, lambda: self.feed.arrays, self.finish, self.statistics.count_calls
        )

    def run_unless_late(self, waited_ns: int) -> Response:
        """Does what `run` does, or `late` where the client has waited too long already."""
        if self.wait_ns is None or self._since_start() < self.wait_ns:
            return self.run(waited_ns)
        return self.late()

    def run(self, waited_ns: int) -> Response:
        """Runs the model and makes the answer.

        Raises:
            RefusalError: 500 when the runtime failed; what `write` refuses.
        """
        calls: list[Call] = []
        signature = self.live.signature
        try:
            arrays = signature.run(
                self.engine,
                self.feed.arrays,
                self.app.clock.monotonic_ns,
                lambda rows, duration_ns: calls.append(Call(rows, duration_ns)),
            )
        except DeviceError as error:
            self.statistics.count_failure(self.live, self._since_start())
            raise self._failed(error) from error
        self.statistics.count_calls(self.live, calls)
        self.app.metrics.of(self.live).observe_calls(calls)
        return self._answer(arrays, waited_ns, sum(call.duration_ns for call in calls))

    def finish(self, outputs: Sequence[Array], waited_ns: int, spent_ns: int) -> Response:
        """Makes the answer out of the request's own rows of a call that others share.

        Args:
            outputs: In the engine's order.
            waited_ns: How long it has waited for the model.
            spent_ns: How long the engine took.

        Raises:
            RefusalError: As `run`.
        """
        arrays = [outputs[i] for i in self.live.signature.positions]
        return self._answer(arrays, waited_ns, spent_ns)

    def _answer(self, arrays: Sequence[Array], waited_ns: int, spent_ns: int) -> Response:
        now_ns = self.app.clock.monotonic_ns
        ready_ns = now_ns()
        try:
            response = self.write(self._outputs(arrays))
        except RefusalError:
            self.statistics.count_failure(self.live, self._since_start())
            raise
        end_ns = now_ns()
        rows = self.live.signature.rows(self.feed.arrays)
        spent = Spent(waited_ns, self.reading_ns, rows, spent_ns, end_ns - ready_ns)
        now_ms = int(self.app.clock.utc_now().timestamp() * 1000)
        self.statistics.count_success(self.live, spent, now_ms)
        self.app.metrics.of(self.live).observe_request(end_ns - self.start_ns, waited_ns)
        return response

    def late(self) -> NoReturn:
        """Refuses a request whose deadline passed.

        Raises:
            RefusalError: 504, always.
        """
        self.statistics.count_failure(self.live, self._since_start())
        raise RefusalError(HTTPStatus.GATEWAY_TIMEOUT, "the deadline passed")

    def _since_start(self) -> int:
        return self.app.clock.monotonic_ns() - self.start_ns

    def _failed(self, error: DeviceError) -> RefusalError:
        self.app.log.write_rarely("error", "inference failed", error=error.message)
        return RefusalError(
            HTTPStatus.INTERNAL_SERVER_ERROR, f"the model could not compute this: {error}"
        )

    def _outputs(self, arrays: Sequence[Array]) -> list[OutputTensor]:
        signature, vocabulary = self.live.signature, self.live.release.vocabulary
        outputs = []
        try:
            for spec, array in zip(signature.outputs, arrays, strict=True):
                if self.feed.text and vocabulary is not None and spec.name == ITEMS:
                    ids = item_ids(vocabulary, array)
                    outputs.append(OutputTensor(spec.name, TEXT, array.shape, ids))
                else:
                    outputs.append(OutputTensor(spec.name, spec.dtype, array.shape, array))
        except DeviceError as error:
            raise self._failed(error) from error
        return outputs


def begin_job(live: LiveModel, request: Request, begin: Callable[[], Turn]) -> Job:
    """Returns the work of a request; a large body is read where the model runs.

    Args:
        live: The model it is for.
        request: What came.
        begin: Reads the request's tensors; may refuse.

    Raises:
        RefusalError: What `begin` refuses of a small body; of a large one the job does.
    """
    if len(request.body) <= _LARGE_BODY_BYTES:
        return begin().job(request)
    reading_ns = len(request.body) * _NS_PER_BYTE
    return Job(
        live,
        1,
        lambda waited_ns: begin().run_unless_late(waited_ns),
        None,
        None,
        request,
        reading_ns,
    )
