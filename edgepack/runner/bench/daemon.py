"""Whether a daemon of the same state folder serves, and whether a benchmark would disturb it.

It is not aware of how the daemon works. Used by `command`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgepack.formats.errors import DeviceError
from edgepack.runner.bench.occupancy import process_ticks
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.clock import Clock
from edgepack.runner.serving_mark import Serving, read_serving

#: A daemon is watched for so long, and is busy when it took more than one tick of 10 ms in it:
#: about ten small answers a second. A lonely tick may be a look at its health.
_WATCH_S: Final = 2.0
_IDLE_TICKS: Final = 1


def check_daemon(
    state: Path | None, system: SystemTree, clock: Clock, *, while_serving: bool
) -> Serving | None:
    """Refuses to measure while a daemon is busy.

    Args:
        state: The state folder, or None.
        system: The file tree that holds the daemon's counters.
        clock: Waits while the daemon is watched.
        while_serving: The user asked for it: nothing is refused.

    Returns:
        The daemon that serves, idle or not; None when there is none.

    Raises:
        DeviceError: It is busy, or cannot be watched.
    """
    serving = read_serving(state)
    if serving is None or while_serving or not _is_busy(serving, system, clock):
        return serving
    port = "" if serving.port is None else f" on port {serving.port}"
    raise DeviceError(
        f"the daemon of this box is answering requests{port}; a benchmark would slow it down",
        hint="wait for a quiet hour, or use bench --while-serving",
    )


def _is_busy(serving: Serving, system: SystemTree, clock: Clock) -> bool:
    if serving.pid is None:
        return True
    before = process_ticks(system, serving.pid)
    clock.sleep(_WATCH_S)
    after = process_ticks(system, serving.pid)
    # Of a process in another container nothing is seen: it may well be busy.
    return before is None or after is None or after - before > _IDLE_TICKS
