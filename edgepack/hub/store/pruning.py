"""Prunes a store now and then while a hub serves on it: a thread that mostly waits.

It is not aware of HTTP. Used by `web.app`; a person's own turn is `edgepack hub prune`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy import Engine

from edgepack.hub.store.keeping import Pruned, Retention, prune

#: After the start: a hub that is started often is to prune all the same, and not at once.
_FIRST_S: Final = 60.0
#: Between two transactions: a report's own takes a few milliseconds and finds the way free.
_PAUSE_S: Final = 0.05
#: Longer than any step of ours; a database that hangs does not keep the hub from ending.
_END_S: Final = 10.0


class Stop(Protocol):
    """A `threading.Event`, or a test's clock."""

    def is_set(self) -> bool:
        """Says whether the end has come."""
        ...

    def set(self) -> None:
        """Ends every wait."""
        ...

    def wait(self, timeout: float) -> bool:
        """Waits for so many seconds or until the end; says whether it has come."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """Is told what happens; the hub's metrics and log listen here."""

    pruned: Callable[[Pruned], None] = field(default=lambda _pruned: None)
    failed: Callable[[Exception], None] = field(default=lambda _error: None)


class Pruner:
    """Prunes every so often; one process of several at a time, the others let their turn go."""

    def __init__(
        self,
        engine: Engine,
        retention: Retention,
        every_s: float,
        now_ms: Callable[[], int],
        *,
        told: Told | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Makes a pruner; `start` starts its thread.

        Args:
            engine: A database at today's tables.
            retention: How long what is kept.
            every_s: Seconds between two turns; the first comes within a minute.
            now_ms: The wall clock.
            told: Is told of each turn.
            stop: Ends the thread; its waits are the pruner's waits.
        """
        self._engine = engine
        self._retention = retention
        self._every_s = every_s
        self._now_ms = now_ms
        self._told = told or Told()
        self._stop: Stop = stop or threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts to wait for the first turn."""
        self._thread = threading.Thread(target=self.run, name="prune", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the transaction that is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_S)
            self._thread = None

    def run(self) -> None:
        """Waits and prunes until it is stopped."""
        wait_s = min(_FIRST_S, self._every_s)
        while not self._stop.wait(wait_s):
            self._turn()
            wait_s = self._every_s

    def _turn(self) -> None:
        try:
            pruned = prune(self._engine, self._retention, self._now_ms(), go_on=self._goes_on)
        except Exception as error:  # noqa: BLE001 - the hub serves on, and the next turn may do
            self._told.failed(error)
            return
        if pruned is not None:
            self._told.pruned(pruned)

    def _goes_on(self) -> bool:
        return not self._stop.wait(_PAUSE_S)
