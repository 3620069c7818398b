"""Tells this process from others among the process ids that a driver names.

A driver names processes as the host knows them. In a container with process ids of its own this
process has another id there, which it mostly cannot read; NVML then names a stranger that is
nobody but itself. It is not aware of cards. Used by `nvml`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: The host's own namespace. Source: include/linux/proc_ns.h, PROC_PID_INIT_INO.
_OF_THE_HOST = "pid:[4026531836]"
_MAX_STATUS_BYTES = 64 * 1024
#: A process with all of CUDA and TensorRT loaded has some thousand lines of 100 characters.
_MAX_MAPS_BYTES = 4 * 2**20
#: Whoever computes on a card has CUDA's driver library loaded; asking NVML alone does not load it.
_CUDA_DRIVER = b"libcuda.so"


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """What this process knows of itself.

    Attributes:
        ids: Its process ids, in every namespace it can see.
        complete: Whether the host's is one of them.
        may_compute: Whether CUDA's driver library is loaded.
    """

    ids: frozenset[int]
    complete: bool = True
    may_compute: bool = False

    def others(self, running: Sequence[int]) -> int:
        """Counts the processes that are not this one.

        Args:
            running: Ids of the processes that compute on a card.

        Returns:
            How many there are beside this one. Where it does not know its own id on the host, one
            that it cannot tell from itself is taken for it, if it may compute at all.
        """
        strangers = sum(each not in self.ids for each in running)
        known = strangers < len(running)
        if known or self.complete or not self.may_compute:
            return strangers
        return max(strangers - 1, 0)


def read_own_process(root: Path = Path("/"), pid: int | None = None) -> OwnProcess:
    """Reads what `/proc` says of this process.

    Args:
        root: The file tree to look at.
        pid: Its process id as it knows it; by default asked of the system.
    """
    own = root / "proc" / "self"
    ids = {os.getpid() if pid is None else pid, *_namespace_ids(own / "status")}
    try:
        complete = str((own / "ns" / "pid").readlink()) == _OF_THE_HOST
    except OSError:
        # A kernel without such namespaces, or no /proc at all.
        complete = True
    # With the host's /proc in the container its id there is read; it comes first.
    complete = complete or len(ids) > 1
    return OwnProcess(frozenset(ids), complete, not complete and _has_cuda(own / "maps"))


def _namespace_ids(status: Path) -> list[int]:
    """Returns the ids of `NSpid`, the outermost first; none where there is no such line."""
    try:
        with status.open("rb") as file:
            lines = file.read(_MAX_STATUS_BYTES).splitlines()
    except OSError:
        return []
    found = next((each for each in lines if each.startswith(b"NSpid:")), b"")
    return [int(word) for word in found.split()[1:] if word.isdigit()]


def _has_cuda(maps: Path) -> bool:
    try:
        with maps.open("rb") as file:
            return _CUDA_DRIVER in file.read(_MAX_MAPS_BYTES)
    except OSError:
        return False
