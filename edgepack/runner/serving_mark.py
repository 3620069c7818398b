"""The mark a serving daemon leaves in the state folder: `STATE/serving.json`.

The daemon holds a lock on the file as long as it lives; the kernel lets go of it however the
daemon ends, so what a dead one left behind does not count. It is not aware of HTTP. Written by
`serve`, read by `bench` and `status`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.canonical import canonical_json
from edgepack.runner.clock import Clock, rfc3339

_FILE = "serving.json"
_MAX_BYTES = 4096
#: A reader holds its lock for microseconds, another daemon for years.
_ATTEMPTS = 10
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Serving:
    """A daemon that serves now.

    Attributes:
        pid: Its process id; None when it has not written it yet.
        port: The port it listens on; None likewise.
        started: RFC 3339, UTC; None likewise.
        tls: Whether it speaks TLS.
    """

    pid: int | None
    port: int | None
    started: str | None
    tls: bool = False


@contextlib.contextmanager
def mark_serving(
    state: Path | None, port: int, clock: Clock, *, tls: bool = False
) -> Iterator[bool]:
    """Marks this process as serving for as long as the context lasts.

    Args:
        state: The state folder, made if needed; None marks nothing.
        port: The port that is open.
        clock: Tells when it was started, and waits for readers.
        tls: Whether the port speaks TLS.

    Yields:
        Whether the mark could be left. False when another daemon of the same state folder has
        it, or nothing can be written there: serving is worth more than the mark.
    """
    descriptor = None if state is None else _take(state, clock)
    if descriptor is None:
        yield False
        return
    try:
        mark = {"pid": os.getpid(), "port": port, "started": rfc3339(clock.utc_now()), "tls": tls}
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, canonical_json(mark), 0)
        yield True
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def read_serving(state: Path | None) -> Serving | None:
    """Says whether a daemon of this state folder serves.

    Args:
        state: The state folder, or None.

    Returns:
        The daemon, or None: there is none, or the one that left the mark is dead.
    """
    if state is None:
        return None
    try:
        descriptor = os.open(state / _FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, so that two readers do not take each other for a daemon.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parse(os.pread(descriptor, _MAX_BYTES, 0))
    except OSError:
        # A file system without locks cannot tell the living from the dead.
        return None
    finally:
        os.close(descriptor)
    return None


def _take(state: Path, clock: Clock) -> int | None:
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            clock.sleep(_PAUSE_S)
        except OSError:
            break
        else:
            return descriptor
    os.close(descriptor)
    return None


def _parse(data: bytes) -> Serving:
    try:
        mark = json.loads(data)
    except (ValueError, RecursionError):
        mark = None
    if not isinstance(mark, dict):
        return Serving(None, None, None)
    pid, port, started = mark.get("pid"), mark.get("port"), mark.get("started")
    tls = mark.get("tls")
    return Serving(
        pid=pid if type(pid) is int and pid > 0 else None,
        port=port if type(port) is int else None,
        started=started if isinstance(started, str) else None,
        tls=tls is True,
    )
