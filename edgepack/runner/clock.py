"""The clock that is passed to everything that measures or waits.

Tests pass one they turn by hand. It is not aware of what is timed. Used all over the runner.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time, monotonic for durations and UTC for records."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never goes back."""
        ...

    def utc_now(self) -> datetime:
        """The wall clock's idea of now, in UTC; may be wrong and may jump."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Waits for some seconds."""
        ...


class SystemClock:
    """The box's own clock (a `Clock`)."""

    #: Nanoseconds of CLOCK_MONOTONIC; read five times for every request, so without a frame.
    monotonic_ns = staticmethod(time.perf_counter_ns)

    def utc_now(self) -> datetime:
        """The wall clock's now, in UTC."""
        return datetime.now(UTC)

    def sleep(self, duration_s: float) -> None:
        """Waits for some seconds."""
        time.sleep(duration_s)


def rfc3339(moment: datetime) -> str:
    """Writes a UTC time as RFC 3339 with milliseconds, such as `2026-11-23T09:15:02.125Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
