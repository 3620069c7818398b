"""Gives the pages of a mapped model file back that a runtime has copied into a form of its own.

A runtime maps the file and packs its large tables for its kernels; the file's own pages then
stay resident though nobody reads them. They are clean, so the kernel could take them back, but
it only does when memory runs short, and a service's memory limit counts them until then. Linux
only; elsewhere it does nothing. Used by the engines.

Source: madvise(2), MADV_DONTNEED: later accesses succeed and bring the contents of the mapped
file back. Only mappings that cannot be written are given back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Smaller files are not worth the call.
LEAST_BYTES: Final = 8_000_000
_MADV_DONTNEED: Final = 4
#: Read only, private or shared: nothing that was written can be lost.
_READ_ONLY: Final = ("r--p", "r--s")


def give_pages_back(model_path: Path) -> int:
    """Gives back what is resident of a model file in this process.

    What is read again comes back from the kernel's page cache, a page at a time.

    Args:
        model_path: The file, which a runtime has loaded.

    Returns:
        Bytes of the mappings that were given back; 0 for a small file, or where the file is
        not mapped or the system has no such call.
    """
    try:
        path = model_path.resolve()
        if path.stat().st_size < LEAST_BYTES:
            return 0
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return sum(_give_back(start, end) for start, end in mappings_of(str(path), lines))


def mappings_of(path: str, lines: list[str]) -> list[tuple[int, int]]:
    """Finds a file's read-only mappings.

    Args:
        path: The file, without links.
        lines: Of `/proc/self/maps`.

    Returns:
        First address and the one behind the last, for each.

    Source: proc_pid_maps(5): address, permissions, offset, device, inode, path.
    """
    found = []
    for line in lines:
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[1] in _READ_ONLY and parts[5] == path:  # noqa: PLR2004 - columns
            start, end = parts[0].split("-")
            found.append((int(start, 16), int(end, 16)))
    return found


def _give_back(start: int, end: int) -> int:
    # Large models only: it costs a small one more to load than it has.
    import ctypes

    try:
        advise = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return 0
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    refused = advise(start, end - start, _MADV_DONTNEED)
    return 0 if refused else end - start
