"""One box over time.

It is not aware of the store. Used by `edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgepack.formats.report import Scenario
from edgepack.hub.answers.health import Condition
from edgepack.hub.answers.rows import (
    ContextRow,
    DeviceRow,
    HistoryRow,
    ReleaseRow,
    ReportRow,
    RunRow,
    SetupRow,
)
from edgepack.hub.answers.table import Cell, Column, Table, Unit, make_table
from edgepack.hub.answers.trust import Standing, standing_of
from edgepack.hub.answers.words import setup_words


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


_REPORTS: Final = (
    Column("created_ms", "Measured", Unit.MOMENT_MS, "By the box's clock"),
    Column("report_id", "Report"),
    Column("version", "Version"),
    Column("setup", "Ran"),
    Column("grade", "Grade"),
    Column("reasons", "Why not better"),
    Column("condition", "Condition"),
    Column("golden_ok", "Right answers", Unit.FLAG, detail=True),
    Column("ready_ns", "Start to ready", Unit.NS, "From process start to verified answers"),
    Column("init_ns", "Load", Unit.NS, "Runtime imported and model loaded", detail=True),
    Column("first_inference_ns", "First answer", Unit.NS, detail=True),
    Column("rss_peak_bytes", "Memory", Unit.BYTES),
    Column("temperature_before_mc", "Before", Unit.TEMPERATURE_MC, detail=True),
    Column("temperature_mc", "After", Unit.TEMPERATURE_MC),
    Column("throttled", "Throttled", Unit.FLAG),
    Column("received_ms", "Received", Unit.MOMENT_MS, detail=True),
    Column("clock_off", "Clock wrong", Unit.FLAG, detail=True),
    Column("release", "Release id", detail=True),
)
_RUNS: Final = (
    Column("created_ms", "Measured", Unit.MOMENT_MS),
    Column("scenario", "Scenario"),
    Column("version", "Version"),
    Column("setup", "Ran"),
    Column("trust", "Trust"),
    Column("p50_ns", "p50", Unit.NS),
    Column("p90_ns", "p90", Unit.NS),
    Column("p99_ns", "p99", Unit.NS),
    Column("p999_ns", "p99.9", Unit.NS, detail=True),
    Column("mean_ns", "Mean", Unit.NS, detail=True),
    Column("samples_per_second", "Samples", Unit.PER_SECOND),
    Column("target_qps", "Asked rate", Unit.PER_SECOND, detail=True),
    Column("queries", "Queries", Unit.COUNT, detail=True),
    Column("valid", "Valid", Unit.FLAG),
    Column("report_id", "Report", detail=True),
    Column("context", "Context", detail=True),
)
_HISTORY: Final = (
    Column("day", "Day", Unit.DAY),
    Column("scenario", "Scenario"),
    Column("version", "Version"),
    Column("setup", "Ran"),
    Column("trust", "Trust"),
    Column("runs", "Runs", Unit.COUNT),
    Column("p50_min_ns", "Lowest p50", Unit.NS),
    Column("p50_ns", "Middle p50", Unit.NS),
    Column("p50_max_ns", "Highest p50", Unit.NS),
    Column("p99_ns", "p99", Unit.NS),
    Column("ready_ns", "Start to ready", Unit.NS, detail=True),
    Column("rss_peak_bytes", "Memory", Unit.BYTES, detail=True),
    Column("temperature_mc", "Temperature", Unit.TEMPERATURE_MC),
    Column("throttled", "Throttled", Unit.COUNT),
    Column("context", "Context", detail=True),
)
_SCENARIOS: Final = list(Scenario)


@dataclass(frozen=True, slots=True)
class DeviceRows:
    """Everything the store has of one box.

    Attributes:
        device: The box.
        reports: The newest first.
        runs: Of these reports, the oldest first.
        history: The oldest first.
        setups: Those that the rows name, by row id.
        contexts: The same of contexts.
        cut: Whether there are more reports.
    """

    device: DeviceRow
    reports: Sequence[ReportRow]
    runs: Sequence[RunRow]
    history: Sequence[HistoryRow]
    setups: Mapping[int, SetupRow]
    contexts: Mapping[int, ContextRow]
    cut: bool = False


def device_answer(rows: DeviceRows, *, now_ms: int, since_ms: int) -> DeviceAnswer:
    """Puts one box over time together.

    Args:
        rows: What the store has.
        now_ms: When it was read.
        since_ms: From when on.

    Returns:
        The answer.
    """
    oldest_first = list(reversed(rows.reports))
    return DeviceAnswer(
        device=rows.device,
        now_ms=now_ms,
        since_ms=since_ms,
        series=_series(rows),
        box=tuple(_box_point(each, rows.setups) for each in oldest_first),
        changes=_changes(oldest_first, rows.setups),
        reports=_reports_table(rows),
        runs=_runs_table(rows),
        history=_history_table(rows),
        cut=rows.cut,
    )


def _series(rows: DeviceRows) -> tuple[Series, ...]:
    reports = {each.id: each for each in rows.reports}
    points: defaultdict[int, list[LatencyPoint]] = defaultdict(list)
    days: defaultdict[int, list[HistoryRow]] = defaultdict(list)
    for run in rows.runs:
        if run.report_id in reports:
            point = _latency_point(run, reports[run.report_id], rows.setups)
            points[run.context_id].append(point)
    for day in rows.history:
        days[day.context_id].append(day)
    series = [
        Series(rows.contexts[key], tuple(points[key]), tuple(days[key]))
        for key in {**points, **days}
    ]
    return tuple(sorted(series, key=_series_order))


def _series_order(series: Series) -> tuple[int, int, str]:
    """SingleStream first, then the context that is still measured."""
    scenario = series.context.scenario
    place = _SCENARIOS.index(Scenario(scenario)) if scenario in _SCENARIOS else len(_SCENARIOS)
    newest = series.points[-1].created_ms if series.points else 0
    return place, -newest, series.context.digest


def _trust(run: RunRow, report: ReportRow) -> Standing:
    return standing_of(
        report.grade, emulated=report.emulated, valid=run.valid, golden_ok=report.golden_ok
    )


def _latency_point(run: RunRow, report: ReportRow, setups: Mapping[int, SetupRow]) -> LatencyPoint:
    setup = setups[report.setup_id]
    return LatencyPoint(
        created_ms=run.created_ms,
        report_id=report.report_id,
        release_id=setup.release.id,
        setup=setup_words(setup),
        trust=_trust(run, report),
        p50_ns=run.p50_ns,
        p90_ns=run.p90_ns,
        p99_ns=run.p99_ns,
        samples_per_second=run.samples_per_second,
    )


def _box_point(report: ReportRow, setups: Mapping[int, SetupRow]) -> BoxPoint:
    return BoxPoint(
        created_ms=report.created_ms,
        report_id=report.report_id,
        release_id=setups[report.setup_id].release.id,
        grade=report.grade,
        condition=report.condition,
        ready_ns=report.ready_ns,
        init_ns=report.init_ns,
        first_inference_ns=report.first_inference_ns,
        rss_peak_bytes=report.rss_peak_bytes,
        temperature_before_mc=report.temperature_before_mc,
        temperature_mc=report.temperature_mc,
        throttled=report.throttled,
    )


def _changes(
    oldest_first: Sequence[ReportRow], setups: Mapping[int, SetupRow]
) -> tuple[ReleaseChange, ...]:
    changes: list[ReleaseChange] = []
    before: ReleaseRow | None = None
    for report in oldest_first:
        release = setups[report.setup_id].release
        if before is None or release.id != before.id:
            changes.append(ReleaseChange(report.created_ms, release, before))
        before = release
    return tuple(changes)


def _setup_cells(setup: SetupRow) -> dict[str, Cell]:
    release = setup.release
    return {
        "version": f"{release.model} {release.version}",
        "setup": setup_words(setup),
        "release": release.bundle_id,
    }


def _reports_table(rows: DeviceRows) -> Table:
    records: list[dict[str, Cell]] = []
    for report in rows.reports:
        plain = {each.key: getattr(report, each.key, None) for each in _REPORTS}
        records.append(
            {
                **plain,
                **_setup_cells(rows.setups[report.setup_id]),
                "reasons": ", ".join(report.reasons),
                "condition": str(report.condition),
            }
        )
    note = "There are more reports than are shown." if rows.cut else ""
    return make_table("reports", "Reports", _REPORTS, records, note)


def _runs_table(rows: DeviceRows) -> Table:
    reports = {each.id: each for each in rows.reports}
    records: list[dict[str, Cell]] = []
    for run in reversed(rows.runs):
        report = reports.get(run.report_id)
        if report is None:
            continue
        context = rows.contexts[run.context_id]
        plain = {each.key: getattr(run, each.key, None) for each in _RUNS}
        records.append(
            {
                **plain,
                **_setup_cells(rows.setups[report.setup_id]),
                "scenario": context.scenario,
                "context": context.digest,
                "trust": str(_trust(run, report)),
                "report_id": report.report_id,
            }
        )
    return make_table("runs", "Runs", _RUNS, records)


def _history_table(rows: DeviceRows) -> Table:
    records: list[dict[str, Cell]] = []
    for day in reversed(rows.history):
        context = rows.contexts[day.context_id]
        plain = {each.key: getattr(day, each.key, None) for each in _HISTORY}
        records.append(
            {
                **plain,
                **_setup_cells(rows.setups[day.setup_id]),
                "scenario": context.scenario,
                "context": context.digest,
                "trust": str(day.trust),
            }
        )
    return make_table("history", "Days before the reports that are kept", _HISTORY, records)
