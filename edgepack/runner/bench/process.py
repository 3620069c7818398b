"""What this process takes of the box; the only file that imports `psutil`.

It is not aware of what the process does. Used by `benchmark`.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from typing import Protocol

from edgepack.formats.errors import DeviceError
from edgepack.runner.bench.system import SystemTree

_KIB = 1024
_NS = 1_000_000_000
#: Field 22 of /proc/PID/stat, counted behind the name's closing bracket. Source: proc(5).
_START_TIME_FIELD = 19


@dataclass(frozen=True, slots=True)
class Usage:
    """A process's counters at one moment; None where the system does not tell.

    Attributes:
        rss: Resident bytes.
        pss: Resident bytes, shared pages counted in proportion.
        swap: Swapped bytes.
        user_ns: CPU time in user mode.
        system_ns: CPU time in the kernel.
        voluntary: Voluntary context switches.
        involuntary: Involuntary context switches.
    """

    rss: int | None
    pss: int | None
    swap: int | None
    user_ns: int | None
    system_ns: int | None
    voluntary: int | None
    involuntary: int | None


class ProcessMeter(Protocol):
    """Reads a process's counters."""

    def usage(self) -> Usage:
        """Returns the counters now."""
        ...

    def peak_rss(self) -> int | None:
        """Returns the largest resident size so far in bytes."""
        ...

    def age_ns(self) -> int | None:
        """Returns how long ago the process was started, to 10 ms; None when not told."""
        ...


class ThisProcess:
    """The running process (a `ProcessMeter`)."""

    def __init__(self) -> None:
        try:
            import psutil
        except ImportError as error:
            raise DeviceError(
                f"psutil cannot be imported: {error}",
                hint="pip install 'edgepack[runner]', or run the launcher of a bundle",
            ) from error
        self._psutil = psutil
        self._process = psutil.Process()

    def usage(self) -> Usage:
        """Returns the counters now; see `ProcessMeter.usage`."""
        process = self._process
        try:
            memory = process.memory_full_info()
            rss, pss, swap = memory.rss, memory.pss, memory.swap
        except (self._psutil.Error, OSError, AttributeError):
            rss = pss = swap = None
        try:
            times = process.cpu_times()
            switches = process.num_ctx_switches()
        except (self._psutil.Error, OSError, NotImplementedError):
            return Usage(rss, pss, swap, None, None, None, None)
        return Usage(
            rss=rss,
            pss=pss,
            swap=swap,
            user_ns=int(times.user * _NS),
            system_ns=int(times.system * _NS),
            voluntary=switches.voluntary,
            involuntary=switches.involuntary,
        )

    def peak_rss(self) -> int | None:
        """Returns the largest resident size so far."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
        return peak or None

    def age_ns(self) -> int | None:
        """Returns how long ago the process was started."""
        return process_age_ns(
            SystemTree(), time.clock_gettime_ns(time.CLOCK_BOOTTIME), os.sysconf("SC_CLK_TCK")
        )


def process_age_ns(system: SystemTree, since_boot_ns: int, ticks_per_s: int) -> int | None:
    """Computes how long ago this process was started.

    Args:
        system: The file tree that holds /proc/self/stat.
        since_boot_ns: CLOCK_BOOTTIME now.
        ticks_per_s: The kernel's clock ticks.

    Returns:
        Nanoseconds, to one tick; None when the kernel or an emulator does not tell.
    """
    text = system.text("/proc/self/stat") or ""
    fields = text.rpartition(")")[2].split()
    try:
        started_ticks = int(fields[_START_TIME_FIELD])
    except (IndexError, ValueError):
        return None
    age_ns = since_boot_ns - started_ticks * _NS // ticks_per_s
    return age_ns if started_ticks > 0 and age_ns >= 0 else None
