"""Runs a child process under limits and says in words how it ended.

Converters and foreign runtimes crash, hang and eat memory; a child of its own turns each of
these into a value. It is not aware of what the child does. Used by every part of the build side
that starts a program.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgepack.formats.errors import MissingToolError

#: Longest wait between two looks at a child's memory.
_POLL_S = 0.1
#: The most that is kept of each output stream; the end matters most.
_OUTPUT_LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child process ended.

    Attributes:
        returncode: Its exit status; negative when a signal ended it.
        timed_out: It was stopped because the time limit passed.
        memory_exceeded: It was stopped because its resident memory passed the limit.
        stdout: The last megabyte it wrote there.
        stderr: The last megabyte it wrote there.
        peak_rss_bytes: Largest resident memory seen of the child and its descendants.
        elapsed_s: Wall-clock seconds.
    """

    returncode: int
    timed_out: bool
    memory_exceeded: bool
    stdout: str
    stderr: str
    peak_rss_bytes: int
    elapsed_s: float

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.returncode == 0 and not self.timed_out and not self.memory_exceeded

    @property
    def signal(self) -> str | None:
        """The signal that ended it, such as `SIGSEGV`.

        A shell, an emulator or a sandbox in between reports a signal as status 128 + n.
        """
        number = -self.returncode if self.returncode < 0 else self.returncode - 128
        try:
            return signal.Signals(number).name
        except ValueError:
            return None

    def describe(self) -> str:
        """Says how it ended, such as `"crashed with SIGSEGV"`."""
        if self.timed_out:
            return f"stopped after {self.elapsed_s:.3g} s, its time limit"
        if self.memory_exceeded:
            return f"stopped at {self.peak_rss_bytes / 2**20:.0f} MiB, its memory limit"
        if self.signal is not None:
            return f"crashed with {self.signal}"
        return "succeeded" if self.returncode == 0 else f"ended with status {self.returncode}"


def run_limited(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    memory_bytes: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    end_gently_s: float = 0.0,
) -> ChildResult:
    """Runs a program to its end or to its limits.

    Args:
        argv: The program and its arguments.
        timeout_s: Wall-clock limit in seconds.
        memory_bytes: Limit of the resident memory of the child and its descendants.
        env: The whole environment of the child; the caller's by default.
        cwd: Its working directory.
        stdin: Bytes for its standard input; empty by default.
        end_gently_s: How long a child that has to be stopped gets to end by itself, in seconds.

    Returns:
        How it ended.

    Raises:
        MissingToolError: The program is not there.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with tempfile.TemporaryFile() as source:
            source.write(stdin or b"")
            source.seek(0)
            child = _start(argv, source, out, err, env, cwd)
        try:
            timed_out, memory_exceeded, peak = _watch(child, started + timeout_s, memory_bytes)
        finally:
            # Also on Ctrl-C: nothing the child started may outlive it.
            _ask_to_end(child, end_gently_s)
            _kill_group(child)
        return ChildResult(
            returncode=child.returncode,
            timed_out=timed_out,
            memory_exceeded=memory_exceeded,
            stdout=_tail(out),
            stderr=_tail(err),
            peak_rss_bytes=peak,
            elapsed_s=time.monotonic() - started,
        )


def _start(
    argv: Sequence[str | Path],
    source: IO[bytes],
    out: IO[bytes],
    err: IO[bytes],
    env: Mapping[str, str] | None,
    cwd: Path | None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=source,
            stdout=out,
            stderr=err,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise MissingToolError(
            f"cannot start {argv[0]}: {error.strerror}",
            hint="`edgepack doctor` says which tools are missing and how to install them",
        ) from error


def _watch(
    child: subprocess.Popen[bytes], deadline: float, memory_bytes: int | None
) -> tuple[bool, bool, int]:
    """Waits; returns timed out, memory exceeded, peak resident bytes."""
    peak = 0
    wait_s = 0.005
    while True:
        try:
            child.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            peak = max(peak, _resident_bytes(child.pid))
            if memory_bytes is not None and peak > memory_bytes:
                return False, True, peak
            if time.monotonic() > deadline:
                return True, False, peak
            wait_s = min(wait_s * 2, _POLL_S)
        else:
            return False, False, peak


def _resident_bytes(pid: int) -> int:
    import psutil

    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _ask_to_end(child: subprocess.Popen[bytes], wait_s: float) -> None:
    if wait_s and child.poll() is None:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(timeout=wait_s)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _tail(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _OUTPUT_LIMIT))
    return stream.read().decode("utf-8", errors="replace")
