"""The benchmark report of a box, `edgepack.report/1`: what the runner writes and a hub reads.

Times are integers in nanoseconds, sizes in bytes. A value that could not be had is null and its
reason stands in the `missing` map beside it; it is never 0. A report holds no item ids, no
histories, no host names and no addresses. It is not aware of how anything was measured.
Anyone may import it; standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, cast

from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.choice import Choice
from edgepack.formats.device import DeviceFacts, Environment, GpuCard, GpuFacts, GpuState
from edgepack.formats.drift import DriftFacts, DriftFeature
from edgepack.formats.errors import BundleError, Problem
from edgepack.formats.options import EngineOptions
from edgepack.formats.quality import QualityFacts
from edgepack.formats.typed import (
    Count,
    Missing,
    Name,
    Range,
    Ratio,
    Sentence,
    check_value,
    field_names,
    from_plain,
    to_plain,
)
from edgepack.formats.variants import Format, Precision, RuntimeName

SCHEMA: Final = "edgepack.report/1"
#: A report with three scenarios has about 20 kB; a limit against hostile senders.
MAX_REPORT_BYTES: Final = 1024 * 1024
#: The percentiles of a distribution, by their field names.
PERCENTILES: Final = {
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
}

_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Hash = Annotated[str, Range(low=64, high=64)]


class Scenario(StrEnum):
    """How queries arrive. Source: MLPerf LoadGen's scenarios."""

    SINGLE_STREAM = "single_stream"
    OFFLINE = "offline"
    SERVER = "server"


class Duration(StrEnum):
    """How long a scenario runs: a look, a minute, or MLPerf's ten minutes."""

    QUICK = "quick"
    STANDARD = "standard"
    MLPERF = "mlperf"


class Grade(StrEnum):
    """How far a report's times can be trusted; X: they say nothing about the device."""

    A = "A"
    B = "B"
    C = "C"
    X = "X"


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """Which bundle: the manifest's hash, and the target it was built for."""

    id: _Hash
    target: Name
    target_sha256: _Hash


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Which model file, what it takes, and how well it ranked before it was shipped."""

    name: Name
    version: Name
    kind: Name
    architecture: Name
    variant: Name
    format: Format
    precision: Precision
    sha256: _Hash
    size_bytes: Count
    vocabulary_sha256: _Hash | None
    sequence_length: Count | None
    catalogue_size: Count | None
    top_k: Count | None
    quality: QualityFacts | None = None


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """Which runtime; `provider` is what really computed.

    `provider_fallback` says why that is not the one the bundle asks for; None where it is.
    """

    name: RuntimeName
    version: Name
    provider: Name
    threads: Count
    options: EngineOptions | None = None
    provider_fallback: Sentence | None = None


@dataclass(frozen=True, slots=True)
class ColdFacts:
    """The first time of everything, in this very process.

    `process_start_ns` is from the start of the process to the runner's first line (the kernel
    tells it in ticks of 10 ms), `init_ns` imports the runtime and loads the model,
    `warm_load_ns` loads it a second time, `time_to_ready_ns` is from the start of the process to
    verified golden answers.
    """

    process_start_ns: Count | None
    init_ns: Count
    first_inference_ns: Count
    warm_load_ns: Count | None
    time_to_ready_ns: Count | None
    missing: Missing = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EarlyStoppingFacts:
    """LoadGen's estimate of a percentile (see `edgepack.formats.statistics`)."""

    estimate_ns: Count | None
    queries: Count
    over_latency: Count


@dataclass(frozen=True, slots=True)
class Distribution:
    """Durations of one kind; percentiles by nearest rank, null below their minimum count.

    Of very long runs every `sampled_every`-th value is kept; `min_ns` and `max_ns` are of all.
    """

    count: Count
    min_ns: Count
    max_ns: Count
    mean_ns: Count
    std_ns: Count
    p50: Count | None
    p75: Count | None
    p90: Count | None
    p95: Count | None
    p99: Count | None
    p999: Count | None
    early_stopping: Mapping[str, EarlyStoppingFacts]
    histogram: tuple[tuple[Count, Count], ...]
    missing: Missing = field(default_factory=dict)
    sampled_every: Count = 1
    method: Name = "nearest-rank"


@dataclass(frozen=True, slots=True)
class RateProbe:
    """One rate the Server scenario tried; `passed`: 99 % of its queries were under the bound."""

    qps: Ratio
    queries: Count
    over_latency: Count
    passed: bool


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """How a scenario was run: what was asked for and what came of it.

    `arrival` is `closed` (the next query when the last is answered), `at_once` or `poisson`;
    `target_qps`, `latency_bound_ns`, `bound_source` and `probes` are the Server scenario's.
    `max_batch` is the most samples of one call, `batch_delay_ns` how long a query was held back
    for others, `batch_sizes` the calls by how many samples they had, ascending; empty where each
    had one.
    """

    scenario: Scenario
    duration: Duration
    warmup_runs: Count
    warmup_ns: Count
    min_duration_ns: Count
    duration_ns: Count
    min_queries: Count
    queries: Count
    samples_per_query: Count
    seed: Count
    input: Name
    input_sha256: _Hash
    arrival: Name | None = None
    target_qps: Ratio | None = None
    latency_bound_ns: Count | None = None
    bound_source: Name | None = None
    probes: tuple[RateProbe, ...] = ()
    max_batch: Count = 1
    batch_delay_ns: Count = 0
    batch_sizes: tuple[tuple[Count, Count], ...] = ()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One scenario's result; `valid` as LoadGen says it: long enough, enough queries, in bounds.

    `end_to_end` is a query from item ids to item ids, in Server from its scheduled arrival;
    `queue` from there to its start, `compute` a sample in the engine alone. `bound_met` says
    whether the `over_latency` queries over the bound are few enough, at 99 % confidence.
    """

    method: MethodFacts
    end_to_end: Distribution | None
    compute: Distribution
    queue: Distribution | None
    samples_per_second: Ratio | None
    drift: float | None
    valid: bool
    min_duration_met: bool
    min_queries_met: bool
    errors: tuple[Sentence, ...] = ()
    missing: Missing = field(default_factory=dict)
    over_latency: Count | None = None
    bound_met: bool | None = None


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """The process's memory, in bytes."""

    rss_before_load: Count | None
    rss_after_load: Count | None
    rss_after_runs: Count | None
    rss_peak: Count | None
    pss: Count | None
    swap_used: Count | None
    missing: Missing = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CpuFacts:
    """What the process took of the CPU while the scenarios ran.

    `average_percent` is of one core; `other_percent` is what everything else took, and what a
    hypervisor gave to others, of all cores.
    """

    user_ns: Count | None
    system_ns: Count | None
    average_percent: Ratio | None
    voluntary_switches: Count | None
    involuntary_switches: Count | None
    missing: Missing = field(default_factory=dict)
    other_percent: Ratio | None = None


@dataclass(frozen=True, slots=True)
class GoldenFacts:
    """Whether this box computes what the host computed."""

    sha256: _Hash
    cases: Count
    problems: Count
    ok: bool


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the times can be trusted, and why not further."""

    grade: Grade
    reasons: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark of one box.

    Attributes:
        report_id: Random UUID; a second copy of it is the same report.
        created: RFC 3339, UTC, by the box's own clock.
        device_id: Random, made at install; None when the box could not keep one.
        choice: How the box chose among the bundle's candidates; None when it did not.
        drift: What the daemon of this box was asked and answered; None: it counted nothing.
    """

    report_id: str
    created: str
    device_id: Name | None
    edgepack: Name
    bundle: BundleFacts
    model: ModelFacts
    runtime: RuntimeFacts
    cold: ColdFacts
    runs: tuple[RunFacts, ...]
    memory: MemoryFacts
    cpu: CpuFacts
    device: DeviceFacts
    before: Environment
    after: Environment
    golden: GoldenFacts
    trust: Trust
    choice: Choice | None = None
    schema: str = SCHEMA
    drift: DriftFacts | None = None

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON that is spooled and sent."""
        return canonical_json(to_plain(self))


def parse_report(data: bytes) -> Report:
    """Parses a report.

    Args:
        data: Its bytes.

    Returns:
        The report; fields this version does not know are dropped.

    Raises:
        BundleError: Too long, not JSON, or not a report; every problem is named.
    """
    document = parse_json(data, what="report", limit=MAX_REPORT_BYTES)
    problems = check_report(document)
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise BundleError(f"not a report: {len(problems)} problems{lines}")
    return cast("Report", from_plain(Report, document))


def check_report(value: object) -> list[Problem]:
    """Checks a parsed report: known fields strictly, unknown ones not at all.

    Args:
        value: What was parsed from JSON.

    Returns:
        Everything that is wrong with it; empty when it is a report.
    """
    if isinstance(value, Mapping) and value.get("schema") != SCHEMA:
        return [Problem("schema", f"got {value.get('schema')!r:.80}, expected '{SCHEMA}'")]
    problems = check_value(Report, value, "")
    return problems or check_meaning(cast("Mapping[str, Any]", value))


def check_meaning(report: Mapping[str, Any]) -> list[Problem]:
    """Checks what the types of a report's fields do not say; they are right already."""
    problems = []
    for name, pattern in (("report_id", _UUID), ("created", _TIME)):
        if not pattern.fullmatch(report[name]):
            problems.append(Problem(name, f"got '{report[name]:.80}'"))
    for place, text in _hashes(report):
        if not _SHA256.fullmatch(text):
            problems.append(Problem(place, "expected 64 lower-case hexadecimal digits"))
    for place, kind, part in _parts_with_reasons(report):
        problems += _check_reasons(place, kind, part)
    problems += _check_drift(report.get("drift"))
    if report["device"]["emulated"] and report["trust"]["grade"] != Grade.X:
        problems.append(Problem("trust.grade", "an emulated run is graded X"))
    return problems


def _check_drift(drift: Mapping[str, Any] | None) -> list[Problem]:
    if drift is None:
        return []
    problems = [
        Problem(f"drift.{name}", f"got '{drift[name]:.80}'")
        for name in ("since", "until")
        if not _TIME.fullmatch(drift[name])
    ]
    for name, each in drift["features"].items():
        place, bins = f"drift.features.{name}", len(each["edges"]) + 1
        if (len(each["expected"]), len(each["counts"])) != (bins, bins):
            problems.append(Problem(place, f"expected {bins} shares and {bins} counts"))
        problems += _check_reasons(place, DriftFeature, each)
    return problems


def _hashes(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [("bundle.id", report["bundle"]["id"]), ("model.sha256", report["model"]["sha256"])]
    return [*found, ("golden.sha256", report["golden"]["sha256"])]


def _parts_with_reasons(
    report: Mapping[str, Any],
) -> list[tuple[str, type[Any], Mapping[str, Any]]]:
    parts: list[tuple[str, type[Any], Mapping[str, Any]]] = [
        ("cold", ColdFacts, report["cold"]),
        ("memory", MemoryFacts, report["memory"]),
        ("cpu", CpuFacts, report["cpu"]),
        ("device", DeviceFacts, report["device"]),
        ("before", Environment, report["before"]),
        ("after", Environment, report["after"]),
    ]
    for i, run in enumerate(report["runs"]):
        parts.append((f"runs[{i}]", RunFacts, run))
        parts += [
            (f"runs[{i}].{name}", Distribution, run[name])
            for name in ("end_to_end", "compute", "queue")
            if run[name] is not None
        ]
    return [*parts, *_gpu_parts(report)]


def _gpu_parts(
    report: Mapping[str, Any],
) -> Iterator[tuple[str, type[Any], Mapping[str, Any]]]:
    gpu = report["device"].get("gpu")
    if gpu is not None:
        yield "device.gpu", GpuFacts, gpu
        for i, card in enumerate(gpu["cards"]):
            yield f"device.gpu.cards[{i}]", GpuCard, card
    for moment in ("before", "after"):
        for i, state in enumerate(report[moment].get("gpu") or ()):
            yield f"{moment}.gpu[{i}]", GpuState, state


def _check_reasons(place: str, kind: type[Any], part: Mapping[str, Any]) -> list[Problem]:
    missing = part.get("missing", {})
    return [
        Problem(f"{place}.{name}", "null without a reason in 'missing'")
        for name in field_names(kind)
        if name not in missing and part.get(name, "") is None
    ]
