"""Writes files so that a power cut leaves the old file or the new one, never a half.

Every change goes through a `FileSystem`, so that tests can put one here that loses its power, is
full or may not be written. It is not aware of what is in the files. Used for the device id, the
spool and the drift counters.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

#: What a disk answers that has no room; of every other fault, room is no cure.
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
#: A lock is held for a handful of fsyncs; a worn SD card takes seconds for one.
_LOCK_TIMEOUT_S = 60.0
_LOCK_POLL_S = 0.02


class FileSystem(Protocol):
    """What durable writing needs of a file system; every method raises `OSError`."""

    def names(self, directory: Path) -> list[str]:
        """Returns the names in a folder."""
        ...

    def size(self, path: Path) -> int:
        """Returns a file's bytes."""
        ...

    def read(self, path: Path, limit: int) -> bytes:
        """Returns at most `limit` bytes of a file."""
        ...

    def make_directory(self, path: Path) -> None:
        """Makes a folder and those above it; one that is there is fine."""
        ...

    def write(self, path: Path, data: bytes) -> None:
        """Makes or empties a file, writes it, and waits until its bytes are on the device."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """Renames a file over another or none: all or nothing."""
        ...

    def remove(self, path: Path) -> None:
        """Removes a file; one that is gone is fine."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Waits until the names of a folder are on the device."""
        ...

    def locked(self, path: Path) -> AbstractContextManager[None]:
        """Keeps every other process and thread out while the context lasts.

        Args:
            path: The lock's file, made where it is not.

        Raises:
            TimeoutError: Another one did not leave for a minute.
        """
        ...


class LocalFileSystem:
    """The box's own (a `FileSystem`)."""

    def names(self, directory: Path) -> list[str]:
        """Returns the names in a folder."""
        return [path.name for path in directory.iterdir()]

    def size(self, path: Path) -> int:
        """Returns a file's bytes."""
        return path.stat().st_size

    def read(self, path: Path, limit: int) -> bytes:
        """Returns at most `limit` bytes of a file."""
        with path.open("rb") as file:
            return file.read(limit)

    def make_directory(self, path: Path) -> None:
        """Makes a folder and those above it, each durably; one that is there is fine."""
        if path.is_dir():
            return
        if path.parent != path:
            self.make_directory(path.parent)
        path.mkdir(exist_ok=True)
        self.sync_directory(path.parent)

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file and syncs it through the same descriptor.

        A write-back fault is told to the descriptor that wrote, and perhaps to no later one.
        Source: fsync(2).
        """
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def replace(self, source: Path, target: Path) -> None:
        """Renames a file over another or none: all or nothing."""
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        """Removes a file; one that is gone is fine."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Waits until the names of a folder are on the device."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network and overlay file systems sync no folders; the rename stands.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Holds an flock(2): the kernel lets go of it when the process ends, however it ends."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            wait_for_lock(descriptor, path)
            yield
        finally:
            os.close(descriptor)


LOCAL: FileSystem = LocalFileSystem()


def write_durably(path: Path, data: bytes, files: FileSystem = LOCAL) -> None:
    """Writes a whole file: temporary name, fsync, rename, fsync of the folder.

    Args:
        path: The file to make or replace; its folder exists.
        data: All of its bytes.
        files: Where it is written.

    Raises:
        OSError: Disk full, read-only or no permission; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        files.write(temporary, data)
        files.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            files.remove(temporary)
        raise
    files.sync_directory(path.parent)


def is_temporary(name: str) -> bool:
    """Whether a name is one `write_durably` writes under before it renames."""
    return name.startswith(".") and name.endswith(".tmp")


def remove_abandoned(directory: Path) -> None:
    """Removes temporary files of writers that a power cut or a kill ended.

    Args:
        directory: The folder `write_durably` wrote into.
    """
    for path in directory.glob(".*.tmp"):
        writer = path.name.split(".")[-2]
        if writer.isdigit() and int(writer) != os.getpid() and not _is_running(int(writer)):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def wait_for_lock(descriptor: int, path: Path) -> None:
    """Locks an open file or folder for this process alone.

    Args:
        descriptor: The open file.
        path: Its name, for the error's text.

    Raises:
        TimeoutError: Another one did not leave for a minute.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = "another process does not let go of it"
                raise TimeoutError(errno.ETIMEDOUT, message, str(path)) from None
            time.sleep(_LOCK_POLL_S)
        else:
            return
