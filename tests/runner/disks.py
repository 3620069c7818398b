"""A simulated file system that loses its power, fills up, and may not be written (a `FileSystem`).

What POSIX promises and no more: a file's bytes are safe after its fsync, a folder's names after
the folder's. Until then each change may be kept or lost, whatever came before or after it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

#: What a write that was not synced may leave: nothing, its first half, all, or only its length.
_TORN: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: b"",
    lambda data: data[: len(data) // 2],
    lambda data: data,
    lambda data: bytes(len(data)),
)
_BLOCK = 4096


class PowerCutError(BaseException):
    """The end of everything, clean-up code included."""


class SimulatedDisk:
    """A file system in memory.

    Attributes:
        steps: What was done, one line each; a cut or a fault is placed by its number.
        cut_at: The number of the step before which the power goes; None: never.
        fault_at: What a step ends as: its number and line to an errno, or None for well done.
        capacity: Bytes it holds, in blocks of 4096; None: any number.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.cut_at: int | None = None
        self.fault_at: Callable[[int, str], int | None] = lambda number, line: None
        self.capacity: int | None = None
        self._names: dict[Path, int | None] = {Path("/"): None}
        self._contents: dict[int, bytes] = {}
        self._unsynced: set[int] = set()
        self._kept: dict[Path, int | None] = dict(self._names)
        #: Changes of names that no sync of their folder has made safe, oldest first.
        self._pending: list[dict[Path, int | str | None]] = []
        self._inodes = itertools.count()
        self._held: set[Path] = set()

    def names(self, directory: Path) -> list[str]:
        if directory not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(directory))
        return [path.name for path in self._names if path.parent == directory and path.name]

    def size(self, path: Path) -> int:
        return len(self._content_of(path))

    def read(self, path: Path, limit: int) -> bytes:
        return self._content_of(path)[:limit]

    def make_directory(self, path: Path) -> None:
        for each in [*reversed(path.parents), path]:
            if each not in self._names:
                self._step(f"mkdir {each.name}")
                self._change({each: None})
                self.sync_directory(each.parent)

    def write(self, path: Path, data: bytes) -> None:
        self._step(f"create {path.name}")
        inode = next(self._inodes)
        self._contents[inode] = b""
        self._change({path: inode})
        self._unsynced.add(inode)
        try:
            self._step(f"write {path.name}")
            if not self._has_room(len(data)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._contents[inode] = data[: len(data) // 2]
            raise
        self._contents[inode] = data
        self._step(f"fsync {path.name}")
        self._unsynced.discard(inode)

    def replace(self, source: Path, target: Path) -> None:
        self._step(f"rename {source.name} {target.name}")
        inode = self._names[source]
        self._change({source: "gone", target: inode})

    def remove(self, path: Path) -> None:
        self._step(f"unlink {path.name}")
        if path in self._names:
            self._change({path: "gone"})

    def sync_directory(self, path: Path) -> None:
        self._step(f"fsync {path.name}/")
        for change in [c for c in self._pending if next(iter(c)).parent == path]:
            _apply(change, self._kept)
            self._pending.remove(change)

    @contextlib.contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        assert path not in self._held, "it would wait for itself"
        self._step(f"lock {path.name}")
        self._held.add(path)
        try:
            yield
        finally:
            self._held.discard(path)

    def after_power_cut(self) -> Iterator[SimulatedDisk]:
        """Every disk that the next start may find."""
        torn = sorted(self._unsynced)
        for kept in itertools.product((True, False), repeat=len(self._pending)):
            names = dict(self._kept)
            for change, is_kept in zip(self._pending, kept, strict=True):
                if is_kept:
                    _apply(change, names)
            seen = [inode for inode in torn if inode in names.values()]
            for left in itertools.product(_TORN, repeat=len(seen)):
                contents = dict(self._contents)
                for inode, tear in zip(seen, left, strict=True):
                    contents[inode] = tear(contents[inode])
                yield self._found(names, contents)

    def tear(self, path: Path, data: bytes) -> None:
        """Changes a file behind everybody's back, as a disk does that lied about a sync."""
        inode = self._names[path]
        assert inode is not None
        self._contents[inode] = data

    def _found(self, names: dict[Path, int | None], contents: dict[int, bytes]) -> SimulatedDisk:
        disk = SimulatedDisk()
        disk._names = {
            path: inode for path, inode in names.items() if set(path.parents) <= set(names)
        }
        disk._kept = dict(disk._names)
        disk._contents = contents
        disk._inodes = itertools.count(max(contents, default=0) + 1)
        return disk

    def _content_of(self, path: Path) -> bytes:
        inode = self._names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return self._contents[inode]

    def _step(self, line: str) -> None:
        number = len(self.steps)
        if self.cut_at is not None and number >= self.cut_at:
            raise PowerCutError
        self.steps.append(line)
        fault = self.fault_at(number, line)
        if fault is not None:
            raise OSError(fault, os.strerror(fault))

    def _change(self, change: dict[Path, int | str | None]) -> None:
        _apply(change, self._names)
        self._pending.append(change)

    def _has_room(self, size_bytes: int) -> bool:
        if self.capacity is None:
            return True
        used = {inode for inode in self._names.values() if inode is not None}
        sizes = [len(self._contents[inode]) for inode in used] + [size_bytes]
        return sum(-(-size // _BLOCK) * _BLOCK for size in sizes) <= self.capacity


def _apply(change: dict[Path, int | str | None], names: dict[Path, int | None]) -> None:
    for path, inode in change.items():
        if isinstance(inode, str):
            names.pop(path, None)
        else:
            names[path] = inode
