"""Writes files so that a power cut leaves the old file or the new one, never a half.

It is not aware of what is in them. Used for the device id and the spool.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Writes a whole file: temporary name, fsync, rename, fsync of the folder.

    Args:
        path: The file to make or replace; its folder exists.
        data: All of its bytes.

    Raises:
        OSError: Disk full, read-only or no permission; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes renames and removals in a folder survive a power cut.

    Raises:
        OSError: The folder cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network and overlay file systems have no fsync for folders; the rename stands.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
