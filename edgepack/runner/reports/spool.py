"""A folder of reports that wait to be sent: bounded, oldest dropped first, safe from power cuts.

A report is one file, complete or not there. It is not aware of networks. Used by `bench`,
`report` and `status`.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.errors import DeviceError
from edgepack.formats.report import MAX_REPORT_BYTES
from edgepack.runner.durable import remove_abandoned, sync_directory, write_durably

#: A year of weekly reports of 20 kB is 1 MiB; a shop's card must never fill up from this.
MAX_SPOOL_BYTES = 4 * 1024 * 1024
MAX_SPOOL_COUNT = 200

_NAME = re.compile(r"(\d{10})-([0-9a-f-]{36})\.json")
_DROPPED = "dropped"
#: A count's text.
_MAX_COUNT_BYTES = 20


@dataclass(frozen=True, slots=True)
class SpooledReport:
    """A report that waits: its id, its place in the order, its file and bytes."""

    report_id: str
    sequence: int
    path: Path
    size_bytes: int


class Spool:
    """The folder of waiting reports."""

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = MAX_SPOOL_BYTES,
        max_count: int = MAX_SPOOL_COUNT,
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_count = max_count

    def waiting(self) -> list[SpooledReport]:
        """Returns the reports that wait, oldest first; none when there is no folder."""
        found = []
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                match = _NAME.fullmatch(path.name)
                if match:
                    with contextlib.suppress(OSError):
                        size = path.stat().st_size
                        found.append(SpooledReport(match[2], int(match[1]), path, size))
        return sorted(found, key=lambda each: each.sequence)

    def dropped(self) -> int:
        """Returns how many reports were dropped for want of room since the install."""
        try:
            with (self._directory / _DROPPED).open("rb") as file:
                return int(file.read(_MAX_COUNT_BYTES))
        except (OSError, ValueError):
            return 0

    def add(self, report_id: str, data: bytes) -> int:
        """Keeps a report, dropping the oldest ones where there is no room.

        Args:
            report_id: Its UUID; the same id again replaces nothing and adds nothing.
            data: Its bytes.

        Returns:
            How many older reports were dropped for it.

        Raises:
            DeviceError: It is larger than the whole spool, or the folder cannot be written.
        """
        if len(data) > self._max_bytes:
            raise DeviceError(f"a report of {len(data)} bytes; the spool holds {self._max_bytes}")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self._directory)
        except OSError as error:
            raise self._unwritable(error) from error
        waiting = self.waiting()
        if any(each.report_id == report_id for each in waiting):
            return 0
        sequence = waiting[-1].sequence + 1 if waiting else 1
        dropped = self._make_room(waiting, len(data))
        path = self._directory / f"{sequence:010d}-{report_id}.json"
        while True:
            try:
                write_durably(path, data)
            except OSError as error:
                # A full disk: an older report is worth less than this one.
                older = self.waiting()
                if not older:
                    raise self._unwritable(error) from error
                self._drop(older[0])
                dropped += 1
            else:
                return dropped

    def read(self, report: SpooledReport) -> bytes | None:
        """Returns a waiting report's bytes, or None when it is gone or too long to be one."""
        try:
            with report.path.open("rb") as file:
                data = file.read(MAX_REPORT_BYTES + 1)
        except OSError:
            return None
        return data if len(data) <= MAX_REPORT_BYTES else None

    def remove(self, report: SpooledReport) -> None:
        """Forgets a report that was taken; one that is already gone is no fault.

        Raises:
            DeviceError: The folder cannot be written; the report would be sent again.
        """
        try:
            report.path.unlink(missing_ok=True)
            sync_directory(self._directory)
        except OSError as error:
            raise self._unwritable(error) from error

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

    def _drop(self, report: SpooledReport) -> None:
        try:
            report.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        # The count is a service; a disk too full for it must not stop the new report.
        with contextlib.suppress(OSError):
            write_durably(self._directory / _DROPPED, str(self.dropped() + 1).encode())

    def _unwritable(self, error: OSError) -> DeviceError:
        return DeviceError(
            f"{self._directory}: reports cannot be kept: {error.strerror or error}",
            hint="free some space, or name another folder with --state DIR",
        )
