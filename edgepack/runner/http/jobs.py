"""Answers that are not there at once, as values: where and when their work runs is the server's.

Used by the routes that run or load a model, by `app` and by `server`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass

from edgepack.runner.engines.contract import Array
from edgepack.runner.http.messages import Response
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel
from edgepack.runner.rows import Call

#: Up to this a job in the event loop delays others less than handing it to a thread, which
#: costs about 100 us there and back.
INLINE_LIMIT_NS = 300_000


@dataclass(slots=True, eq=False)
class Part:
    """What a job brings to a call of the engine that it may share with others.

    Attributes:
        rows: Its rows, at least 1.
        shapes: The extents of a row of each input: only jobs with equal ones go together.
        inputs: Makes its arrays, one for each input in file order.
        finish: Computes the answer from its own rows of the outputs in file order; may raise
            `RefusalError`. Its other arguments are how long the job has waited and how long the
            engine took, in nanoseconds.
        count: Counts the calls that were made; called once for all jobs that have the same one.
    """

    rows: int
    shapes: Hashable
    inputs: Callable[[], list[Array]]
    finish: Callable[[Sequence[Array], int, int], Response]
    count: Callable[[LiveModel, Sequence[Call]], None] | None = None


@dataclass(slots=True, eq=False)
class Job:
    """Work for the model, parsed and checked.

    Attributes:
        live: Whose engine it needs; the engine is never called by two threads at once.
        calls: How often it calls the engine, so that its time can be told beforehand.
        run: Computes the answer by itself; may raise `RefusalError`. Its argument is how long
            the job has waited, in nanoseconds.
        late: Makes the answer for when the deadline passed; None where there is no deadline.
        deadline_ns: The clock's reading by which the answer must be on its way, or None.
        request: The request it came from.
        beside_ns: How long it is expected to take outside the engine, where that is not little.
        part: What it brings to a shared call; None where it is run by itself.
        label: The route's name in metrics, filled in by the app.
        queued_ns: The clock's reading when it was handed to the model's thread.
        abandoned: Set when nobody waits for the answer any more.
    """

    live: LiveModel
    calls: int
    run: Callable[[int], Response]
    late: Callable[[], Response] | None
    deadline_ns: int | None
    request: Request
    beside_ns: float = 0.0
    part: Part | None = None
    label: str = ""
    queued_ns: int = 0
    abandoned: bool = False

    @property
    def expected_ns(self) -> float:
        """How long it takes, going by the warm-up's median."""
        if self.part is not None:
            return self.live.expected_ns(self.part.rows) + self.beside_ns
        return self.calls * self.live.median_ns + self.beside_ns


@dataclass(slots=True, eq=False)
class Later:
    """An answer that waits for something other than the model, such as a release to be loaded.

    Attributes:
        wait: Waits and makes the answer; may raise `RefusalError`.
        label: The route's name in metrics, filled in by the app.
    """

    wait: Callable[[], Awaitable[Response]]
    label: str = ""
