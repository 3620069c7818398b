"""Plain rows as the store reads them and the answers take them; no database here.

Moments end in `_ms` (since 1970, UTC), durations in `_ns`, sizes in `_bytes`, temperatures in
`_mc`. Anyone in the hub may import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edgepack.hub.answers.health import Condition
from edgepack.hub.answers.trust import Standing


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A bundle. `devices` is on how many boxes it is now; None where that was not counted."""

    id: int
    bundle_id: str
    target: str
    model: str
    version: str
    architecture: str
    first_seen_ms: int
    devices: int | None = None


@dataclass(frozen=True, slots=True)
class SetupRow:
    """What computed. `options` and `quality` are parsed; empty where the report had none."""

    id: int
    release: ReleaseRow
    variant: str
    format: str
    precision: str
    model_sha256: str
    size_bytes: int
    runtime: str
    runtime_version: str
    provider: str
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContextRow:
    """On what and how. `digest` names it in addresses; `facts` is everything, parsed.

    `results` is how many newest runs there are in it, over all boxes and setups; None where that
    was not counted.
    """

    id: int
    digest: str
    scenario: str
    model: str
    box: str
    box_key: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    results: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A box with what its last report said. `condition` is as judged at the moment of reading.

    `silent` also holds for a box whose condition is worse than that.
    """

    id: int
    name: str
    label: str
    enrolled_ms: int
    revoked_ms: int | None
    reports: int
    seen_ms: int | None
    reported_ms: int | None
    condition: Condition
    silent: bool
    grade: str | None
    box: str | None
    p50_ns: int | None
    p99_ns: int | None
    temperature_mc: int | None
    release: ReleaseRow | None
    setup: SetupRow | None


class StandingRow(NamedTuple):
    """The newest run of a box for a setup and a context; `trust` is a `Standing`'s text.

    A tuple: a comparison reads tens of thousands of them, and a frozen dataclass takes five times
    as long to make.
    """

    device_id: int
    setup_id: int
    context_id: int
    trust: str
    created_ms: int
    p50_ns: int | None
    p99_ns: int | None
    ready_ns: int | None
    rss_peak_bytes: int | None
    samples_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One benchmark of a box. `reasons` are those of its grade."""

    id: int
    report_id: str
    received_ms: int
    created_ms: int
    clock_off: bool
    setup_id: int
    grade: str
    reasons: tuple[str, ...]
    emulated: bool
    golden_ok: bool
    condition: Condition
    process_start_ns: int | None
    init_ns: int
    first_inference_ns: int
    ready_ns: int | None
    rss_peak_bytes: int | None
    temperature_before_mc: int | None
    temperature_mc: int | None
    throttled: bool | None
    load_1m: float | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One scenario of a report."""

    report_id: int
    context_id: int
    created_ms: int
    valid: bool
    queries: int
    mean_ns: int
    p50_ns: int | None
    p90_ns: int | None
    p95_ns: int | None
    p99_ns: int | None
    p999_ns: int | None
    samples_per_second: float | None
    target_qps: float | None


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A day of a box that is older than the reports that are kept; `day` counts from 1970."""

    setup_id: int
    context_id: int
    trust: Standing
    day: int
    runs: int
    p50_min_ns: int | None
    p50_ns: int | None
    p50_max_ns: int | None
    p99_ns: int | None
    ready_ns: int | None
    rss_peak_bytes: int | None
    temperature_mc: int | None
    throttled: int
