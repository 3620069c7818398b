"""The limits a control group puts on this process, version 1 and 2, its own group's and above.

A service under systemd has its limits in a folder of its own, a container sees its own group as
the root. It is not aware of what limits mean. Used by `environment`.

Source: linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from edgepack.runner.bench.system import SystemTree

_T = TypeVar("_T")
_ROOT = "/sys/fs/cgroup"
#: Beyond this a limit is "no limit": cgroup v1 writes the largest page-aligned 64-bit number.
_NO_LIMIT = 2**60
#: Deeper than any tree of groups seen; /proc/self/cgroup is the kernel's, but may be faked.
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """The tightest limits on the way from the process's group to the root.

    Attributes:
        cpu_max: Quota and period in microseconds, such as `50000 100000`; None: no limit.
        memory_max: Bytes; None: no limit.
        throttled: Periods in which the CPU quota was used up; None when nothing counts them.
    """

    cpu_max: str | None
    memory_max: int | None
    throttled: int | None


def read_cgroup(system: SystemTree) -> CgroupLimits:
    """Reads the limits of this process's control groups.

    Args:
        system: The file tree to look at.
    """
    cpu = list(_folders(system, "cpu"))
    memory = list(_folders(system, "memory"))
    quotas = _present(_quota(system, folder) for folder in cpu)
    tightest = min(quotas, key=lambda each: each[0] / each[1], default=None)
    limits = _present(_memory(system, folder) for folder in memory)
    throttled = _present(_throttled(system, folder) for folder in cpu)
    return CgroupLimits(
        cpu_max=None if tightest is None else f"{tightest[0]} {tightest[1]}",
        memory_max=min(limits, default=None),
        throttled=max(throttled, default=None),
    )


def _present(values: Iterable[_T | None]) -> list[_T]:
    return [each for each in values if each is not None]


def _folders(system: SystemTree, controller: str) -> Iterator[str]:
    """Yields the folders of the process's group and of all above it, for both versions."""
    seen = set()
    own = _own_groups(system)
    for base, group in (
        (_ROOT, own.get("")),
        (f"{_ROOT}/{controller}", own.get(controller)),
    ):
        path = PurePosixPath("/" + (group or "").strip("/"))
        for folder in (path, *path.parents):
            name = base + str(folder).rstrip("/")
            if ".." not in folder.parts and name not in seen:
                seen.add(name)
                yield name


def _own_groups(system: SystemTree) -> dict[str, str]:
    """Returns the process's group of each version 1 controller, and of version 2 as ''."""
    groups = {}
    for line in (system.text("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator and path.count("/") <= _MAX_DEPTH:
            for controller in controllers.split(","):
                groups[controller] = path
    return groups


def _quota(system: SystemTree, folder: str) -> tuple[int, int] | None:
    text = system.text(f"{folder}/cpu.max")
    if text:
        words = text.split()
        numbers = [int(word) for word in words[:2] if word.isdigit()]
    else:
        found = (
            system.number(f"{folder}/cpu.cfs_quota_us"),
            system.number(f"{folder}/cpu.cfs_period_us"),
        )
        numbers = [each for each in found if each is not None]
    if len(numbers) != 2 or min(numbers) <= 0:  # noqa: PLR2004 - a quota and its period
        return None
    return numbers[0], numbers[1]


def _memory(system: SystemTree, folder: str) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        limit = system.number(f"{folder}/{name}")
        if limit is not None and 0 <= limit < _NO_LIMIT:
            return limit
    return None


def _throttled(system: SystemTree, folder: str) -> int | None:
    for line in (system.text(f"{folder}/cpu.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name == "nr_throttled" and value.isdigit():
            return int(value)
    return None
