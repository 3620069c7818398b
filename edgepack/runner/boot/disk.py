"""Every change the installer makes to a file system, in one seam, and its faults in words.

Tests put a disk here that is full or fails at a given call. It is not aware of releases or
bundles. Used by the other modules of `boot`; the one place that translates `OSError`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgepack.formats.errors import DeviceError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
#: What a file system without hard links, or with too many of them, answers.
_NO_LINK = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS)
_COPY_BYTES = 2**20


class Disk:
    """The real file system. Paths are absolute."""

    def make_directory(self, path: Path) -> None:
        """Makes one directory that everyone may read, whatever the umask is."""
        path.mkdir()
        path.chmod(0o755)

    def create(self, path: Path, mode: int) -> BinaryIO:
        """Opens a new file for writing; it must not exist."""
        file = path.open("xb")
        os.fchmod(file.fileno(), mode)
        return file

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Writes all of some bytes."""
        file.write(data)

    def start_writeback(self, file: BinaryIO) -> None:
        """Hands a file's bytes to the device without waiting for it.

        Syncing hundreds of files afterwards is then quick even on an SD card, and a box with
        little memory does not fill it with pages it will not read again.
        """
        file.flush()
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self, path: Path) -> None:
        """Waits until a file or a directory is on the device."""
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        except OSError as error:
            # Some network and overlay file systems sync no directories; the rename stands.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(number)

    def replace(self, source: Path, target: Path) -> None:
        """Renames, replacing a file or link that is there: all or nothing."""
        os.replace(source, target)

    def symlink(self, target: str, path: Path) -> None:
        """Makes a symbolic link."""
        path.symlink_to(target)

    def link(self, source: Path, target: Path) -> None:
        """Makes a hard link, or a copy where the file system has none."""
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            self._copy(source, target)

    def free_bytes(self, path: Path) -> int:
        """Returns the bytes this user may still write to the file system of a path."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def remove_tree(self, path: Path) -> None:
        """Removes a directory and all in it; not there is fine."""
        if path.exists():
            shutil.rmtree(path)

    def write_file(self, path: Path, data: bytes, mode: int) -> None:
        """Puts a whole file in place atomically and durably, replacing an older one."""
        draft = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        try:
            with self.create(draft, mode) as file:
                self.write(file, data)
            self.sync(draft)
            self.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        self.sync(path.parent)

    def _copy(self, source: Path, target: Path) -> None:
        with (
            source.open("rb") as reader,
            self.create(target, source.stat().st_mode & 0o777) as file,
        ):
            while chunk := reader.read(_COPY_BYTES):
                self.write(file, chunk)
        self.sync(target)


@contextlib.contextmanager
def disk_faults(root: Path) -> Iterator[None]:
    """Says in words what went wrong when writing below a directory.

    Raises:
        DeviceError: The disk is full, read-only, not ours, or failed.
    """
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or root
        if error.errno in _FULL:
            raise DeviceError(
                f"no space left on the disk while writing below {root} ({error.strerror})",
                hint="free some space there, or choose another directory with --root",
            ) from error
        if error.errno in _NOT_ALLOWED:
            raise DeviceError(
                f"{place} cannot be written: {error.strerror}",
                hint="choose a directory you may write with --root, or run this as its owner",
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise DeviceError(
                f"{place} is in the way: {error.strerror}",
                hint="choose another directory with --root",
            ) from error
        raise DeviceError(
            f"the disk failed at {place}: {error.strerror}",
            hint="see `dmesg` for the device, then try again",
        ) from error
