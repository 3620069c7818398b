"""One box over time.

It is not aware of the store. Used by `edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.hub.answers.health import Condition
from edgepack.hub.answers.rows import ContextRow, DeviceRow, HistoryRow, ReleaseRow
from edgepack.hub.answers.table import Table
from edgepack.hub.answers.trust import Standing


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """One run on a chart; `report_id` leads to its report. Null percentiles had too few queries."""

    created_ms: int
    report_id: str
    release_id: int
    setup: str
    trust: Standing
    p50_ns: int | None
    p90_ns: int | None
    p99_ns: int | None
    samples_per_second: float | None


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one context, the oldest first.

    Attributes:
        context: On what and how.
        points: One a run.
        days: Days from before the reports that are kept, the oldest first.
    """

    context: ContextRow
    points: tuple[LatencyPoint, ...]
    days: tuple[HistoryRow, ...]


@dataclass(frozen=True, slots=True)
class BoxPoint:
    """What one report says of the box itself."""

    created_ms: int
    report_id: str
    release_id: int
    grade: str
    condition: Condition
    ready_ns: int | None
    init_ns: int
    first_inference_ns: int
    rss_peak_bytes: int | None
    temperature_before_mc: int | None
    temperature_mc: int | None
    throttled: bool | None


@dataclass(frozen=True, slots=True)
class ReleaseChange:
    """The first report of another release than the one before; `before` is None for the first."""

    created_ms: int
    release: ReleaseRow
    before: ReleaseRow | None


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """One box over time.

    Attributes:
        device: What it is and its last state.
        now_ms: When it was answered.
        since_ms: Nothing older was looked at.
        series: Latency by context; SingleStream first.
        box: Cold start, memory, temperature and throttling, the oldest first.
        changes: When another release came, the oldest first.
        reports: Its reports, the newest first, as a table; `report_id` leads to the document.
        runs: Its runs, the newest first.
        history: Its days from before the reports that are kept, the newest first.
        cut: Whether there are more reports since `since_ms` than were read.
    """

    device: DeviceRow
    now_ms: int
    since_ms: int
    series: tuple[Series, ...]
    box: tuple[BoxPoint, ...]
    changes: tuple[ReleaseChange, ...]
    reports: Table
    runs: Table
    history: Table
    cut: bool
