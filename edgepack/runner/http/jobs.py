"""Answers that are not there at once, as values: where and when their work runs is the server's.

Used by the routes that run or load a model, by `app` and by `server`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from edgepack.runner.http.messages import Response
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel


@dataclass(slots=True, eq=False)
class Job:
    """Work for the model, parsed and checked.

    Attributes:
        live: Whose engine it needs; the engine is never called by two threads at once.
        calls: How often it calls the engine, so that its time can be told beforehand.
        run: Computes the answer; may raise `RefusalError`. Its argument is how long the job
            has waited, in nanoseconds.
        late: Makes the answer for when the deadline passed; None where there is no deadline.
        deadline_ns: The clock's reading by which the answer must be on its way, or None.
        request: The request it came from.
        beside_ns: How long it is expected to take outside the engine, where that is not little.
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
    label: str = ""
    queued_ns: int = 0
    abandoned: bool = False

    @property
    def expected_ns(self) -> float:
        """How long it takes, going by the warm-up's median."""
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
