"""A folder of reports that wait to be sent: bounded, oldest dropped first, safe from power cuts.

A report is one file, whole or not there; its name carries its place in the order, its id and a
checksum. Any number of processes may share a spool: those that add hold a lock. It is not aware
of networks, nor of what a report says. Used by `bench`, `report`, `status` and the daemon.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepack.formats.errors import DeviceError
from edgepack.runner.durable import LOCAL, NO_ROOM, FileSystem, is_temporary, write_durably

#: A year of weekly reports of 20 kB is 1 MiB; a shop's card must never fill up from this.
MAX_SPOOL_BYTES = 4 * 1024 * 1024
MAX_SPOOL_COUNT = 200

#: As `edgepack.formats.report.MAX_REPORT_BYTES`, whose import costs a starting daemon 40 ms.
_MAX_READ_BYTES: Final = 1024 * 1024
#: Ten digits last for ever, unless a damaged ledger says where to go on.
_NAME = re.compile(r"([0-9]{10,64})-([0-9a-f-]{36})-([0-9a-f]{8})\.json")
_LOCK = ".lock"
_LEDGER = "dropped"
#: Two numbers' text.
_MAX_LEDGER_BYTES = 64
#: What a file system needs beside the bytes: a block at its end, one for the folder, one for
#: the ledger.
_SLACK_BYTES = 3 * 4096


@dataclass(frozen=True, slots=True)
class SpooledReport:
    """A report that waits.

    Attributes:
        report_id: Its UUID.
        sequence: Its place in the order.
        path: Its file.
        size_bytes: The file's bytes.
    """

    report_id: str
    sequence: int
    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Ledger:
    """How many reports were dropped, and up to which place in the order.

    It is written before the file goes: a report at or below `through` is dropped, whether or
    not a power cut has kept its file. So none is ever counted twice, or dropped and not counted.
    """

    dropped: int = 0
    through: int = 0


class Spool:
    """The folder of waiting reports."""

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = MAX_SPOOL_BYTES,
        max_count: int = MAX_SPOOL_COUNT,
        files: FileSystem = LOCAL,
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_count = max_count
        self._files = files

    def waiting(self) -> list[SpooledReport]:
        """Returns the reports that wait, oldest first; none when there is no folder.

        Raises:
            DeviceError: The folder cannot be read.
        """
        through = self._ledger().through
        return [each for each in self._present() if each.sequence > through]

    def dropped(self) -> int:
        """Returns how many reports were lost for want of room, or torn, since the install."""
        return self._ledger().dropped

    def add(self, report_id: str, data: bytes) -> int:
        """Keeps a report, dropping the oldest ones where there is no room.

        Args:
            report_id: Its UUID; the same id again replaces nothing and adds nothing.
            data: Its bytes.

        Returns:
            How many older reports were dropped for it. Once this returns, the report survives
            a power cut.

        Raises:
            DeviceError: It is larger than the whole spool, the folder cannot be written, or
                another process did not let go of it.
        """
        limit = min(self._max_bytes, _MAX_READ_BYTES)
        if len(data) > limit:
            raise DeviceError(f"a report of {len(data)} bytes; the spool holds {limit}")
        with self._faults_in_words():
            self._files.make_directory(self._directory)
            with self._files.locked(self._directory / _LOCK):
                return self._add(report_id, data)

    def read(self, report: SpooledReport) -> bytes | None:
        """Returns a waiting report's bytes, or None when it is gone, torn or cannot be read."""
        data = self._bytes_of(report)
        return data if data is not None and _is_whole(report, data) else None

    def remove(self, report: SpooledReport) -> None:
        """Forgets a report that was taken; one that is already gone is no fault.

        Raises:
            DeviceError: The folder cannot be written; the report would be sent again.
        """
        with self._faults_in_words():
            self._files.remove(report.path)
            self._files.sync_directory(self._directory)

    def remove_torn(self) -> int:
        """Removes files that hold no whole report, as a disk that lied about a sync leaves them.

        Returns:
            How many there were; each counts as dropped.

        Raises:
            DeviceError: The folder cannot be written.
        """
        if not self.waiting():
            return 0
        with self._faults_in_words(), self._files.locked(self._directory / _LOCK):
            return self._sweep()

    def _add(self, report_id: str, data: bytes) -> int:
        self._sweep()
        waiting = self.waiting()
        if any(each.report_id == report_id for each in waiting):
            # Whoever added it may have been cut off before its name was on the device.
            self._files.sync_directory(self._directory)
            return 0
        last = waiting[-1].sequence if waiting else 0
        sequence = max(last, self._ledger().through) + 1
        name = f"{sequence:010d}-{report_id}-{zlib.crc32(data):08x}.json"
        dropped = self._make_room(waiting, len(data))
        return dropped + self._write(self._directory / name, data, waiting[dropped:])

    def _write(self, path: Path, data: bytes, older: list[SpooledReport]) -> int:
        dropped = freed = 0
        while True:
            try:
                write_durably(path, data, self._files)
            except OSError as error:
                # A full disk: an older report is worth less than this one. But where what was
                # freed is gone at once, no report's end would make room for another.
                enough = freed >= len(data) + _SLACK_BYTES
                if error.errno not in NO_ROOM or enough or dropped == len(older):
                    raise
                freed += older[dropped].size_bytes
                self._drop(older[dropped])
                dropped += 1
            else:
                return dropped

    def _make_room(self, waiting: list[SpooledReport], size_bytes: int) -> int:
        total = sum(each.size_bytes for each in waiting)
        dropped = 0
        for each in waiting:
            fits = total + size_bytes <= self._max_bytes
            if fits and len(waiting) - dropped < self._max_count:
                break
            self._drop(each)
            total -= each.size_bytes
            dropped += 1
        return dropped

    def _drop(self, oldest: SpooledReport) -> None:
        after = _Ledger(self._ledger().dropped + 1, oldest.sequence)
        try:
            self._write_ledger(after)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._files.remove(oldest.path)
            # The count is a service; a disk too full for it must not stop the new report.
            with contextlib.suppress(OSError):
                self._write_ledger(after)
        else:
            self._files.remove(oldest.path)

    def _sweep(self) -> int:
        """Removes what a power cut left behind; the lock is held. Returns the torn reports."""
        for name in self._files.names(self._directory):
            # Only the lock's holder writes here, so every temporary file is abandoned.
            if is_temporary(name):
                self._files.remove(self._directory / name)
        ledger, torn = self._ledger(), 0
        for each in self._present():
            if each.sequence <= ledger.through:
                self._files.remove(each.path)
                continue
            data = self._bytes_of(each)
            # What cannot be read now, such as a bad sector, may be read tomorrow.
            if data is not None and not _is_whole(each, data):
                self._files.remove(each.path)
                torn += 1
        if torn:
            self._write_ledger(_Ledger(ledger.dropped + torn, ledger.through))
        return torn

    def _bytes_of(self, report: SpooledReport) -> bytes | None:
        try:
            return self._files.read(report.path, _MAX_READ_BYTES + 1)
        except OSError:
            return None

    def _present(self) -> list[SpooledReport]:
        try:
            names = self._files.names(self._directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._unusable(error) from error
        found = []
        for name in names:
            match = _NAME.fullmatch(name)
            if match:
                path = self._directory / name
                # One that has just been sent is gone.
                with contextlib.suppress(OSError):
                    size = self._files.size(path)
                    found.append(SpooledReport(match[2], int(match[1]), path, size))
        return sorted(found, key=lambda each: (each.sequence, each.report_id))

    def _ledger(self) -> _Ledger:
        try:
            data = self._files.read(self._directory / _LEDGER, _MAX_LEDGER_BYTES)
            dropped, through = data.split()
            return _Ledger(int(dropped), int(through))
        except (OSError, ValueError):
            return _Ledger()

    def _write_ledger(self, ledger: _Ledger) -> None:
        text = f"{ledger.dropped} {ledger.through}\n"
        write_durably(self._directory / _LEDGER, text.encode("ascii"), self._files)

    @contextlib.contextmanager
    def _faults_in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> DeviceError:
        hint = "name a folder this user may write with --state DIR"
        if error.errno in NO_ROOM:
            hint = "free some space, or name another folder with --state DIR"
        return DeviceError(
            f"{self._directory}: reports cannot be kept: {error.strerror or error}", hint=hint
        )


def _is_whole(report: SpooledReport, data: bytes) -> bool:
    match = _NAME.fullmatch(report.path.name)
    return match is not None and zlib.crc32(data) == int(match[3], 16)
