"""How much of the box's cores others took while this process ran.

It is not aware of what this process did. Used by `benchmark` and by the look at a serving daemon.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.runner.bench.system import SystemTree

#: Columns of a `cpu` line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
#: Guest time is in user already. Source: proc(5).
_COLUMNS = 8
_IDLE_COLUMNS = (3, 4)
#: Fields 14 and 15 of /proc/PID/stat, counted behind the name's closing bracket. Source: proc(5).
_USER_TIME_FIELD, _SYSTEM_TIME_FIELD = 11, 12


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """Clock ticks of all cores since boot.

    Attributes:
        busy: Not idle; what a hypervisor took for others counts as busy.
        total: All.
        cores: How many cores there are.
    """

    busy: int
    total: int
    cores: int


def read_core_times(system: SystemTree) -> CoreTimes | None:
    """Reads /proc/stat; None when it is absent or says nothing."""
    lines = (system.text("/proc/stat") or "").splitlines()
    cores = sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines)
    words = lines[0].split() if lines else []
    ticks = [int(word) for word in words[1 : _COLUMNS + 1] if word.isdigit()]
    if not words or words[0] != "cpu" or len(ticks) != _COLUMNS or not cores:
        return None
    idle = sum(ticks[column] for column in _IDLE_COLUMNS)
    return CoreTimes(sum(ticks) - idle, sum(ticks), cores)


def other_percent(
    before: CoreTimes | None, after: CoreTimes | None, own_ns: int | None, elapsed_ns: int
) -> float | None:
    """Computes what everything but this process took.

    Args:
        before: All cores' ticks at the begin.
        after: At the end.
        own_ns: CPU time of this process in between.
        elapsed_ns: Time in between.

    Returns:
        Percent of all cores, 0 to 100; None when it cannot be told.
    """
    if before is None or after is None or own_ns is None:
        return None
    total = after.total - before.total
    if total <= 0 or elapsed_ns <= 0:
        return None
    own = own_ns / (elapsed_ns * after.cores)
    share = (after.busy - before.busy) / total - own
    return round(100 * min(max(share, 0.0), 1.0), 1)


def process_ticks(system: SystemTree, process_id: int) -> int | None:
    """Returns the CPU time of a process in clock ticks; None when it is not there."""
    fields = (system.text(f"/proc/{process_id}/stat") or "").rpartition(")")[2].split()
    try:
        return int(fields[_USER_TIME_FIELD]) + int(fields[_SYSTEM_TIME_FIELD])
    except (IndexError, ValueError):
        return None
