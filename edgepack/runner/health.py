"""How the state folder is: can it be written, and how much room is there.

Serving needs nothing of it; reports do. It is not aware of what is kept there. Used by the
server, which goes on without it and says so, and by `doctor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from edgepack.runner.log import Log

#: Below this the disk counts as full: the largest report, its draft and a few blocks.
FULL_BYTES = 1024 * 1024
#: How often the server looks; a look is one statvfs and writes nothing, as cards wear out.
_LOOK_S = 60.0
_PROBE = ".probe"


@dataclass(frozen=True, slots=True)
class StateHealth:
    """A state folder at one moment.

    Attributes:
        free_bytes: What this user may still write to its disk; None where that is not known.
        problem: Why nothing can be kept, in words; None when all is well.
    """

    free_bytes: int | None
    problem: str | None

    @property
    def writable(self) -> bool:
        """Whether reports can be kept."""
        return self.problem is None


def look_at_state(state: Path | None) -> StateHealth:
    """Looks at a state folder without writing.

    Args:
        state: The folder, which need not exist yet; None where none is known.

    Returns:
        How it is.
    """
    if state is None:
        return StateHealth(None, "no state folder is known")
    place = state
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        disk = os.statvfs(place)
    except OSError as error:
        return StateHealth(None, f"{place} cannot be read: {error.strerror or error}")
    free_bytes = disk.f_bavail * disk.f_frsize
    if disk.f_flag & os.ST_RDONLY:
        problem = f"{place} is on a file system that is mounted read-only"
    elif not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        problem = f"{place} may not be written by this user"
    elif free_bytes < FULL_BYTES or (disk.f_files and not disk.f_favail):
        problem = f"the disk of {place} is full: {free_bytes} bytes are free"
    else:
        problem = None
    return StateHealth(free_bytes, problem)


def try_state(state: Path | None) -> StateHealth:
    """Looks at a state folder and really writes a file there, then removes it.

    Args:
        state: The folder, made where it is missing; None where none is known.

    Returns:
        How it is.
    """
    health = look_at_state(state)
    if state is None or not health.writable:
        return health
    probe = state / f"{_PROBE}.{os.getpid()}"
    try:
        state.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"edgepack\n")
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
    except OSError as error:
        return StateHealth(health.free_bytes, f"{state}: {error.strerror or error}")
    return health


async def watch_state(
    state: Path | None,
    log: Log,
    show: Callable[[StateHealth], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Looks again and again, shows what it sees, and logs each change; ends when cancelled.

    Args:
        state: The folder.
        log: Gets a line when it turns bad and when it is well again.
        show: Gets every look, for the metrics.
        sleep: Waits some seconds.
    """
    before: str | None = None
    while True:
        health = look_at_state(state)
        show(health)
        if (health.problem is None) != (before is None):
            if health.problem is not None:
                log.write("warning", "state cannot be written", problem=health.problem)
            else:
                log.write("info", "state can be written again", free_bytes=health.free_bytes)
        before = health.problem
        await sleep(_LOOK_S)
