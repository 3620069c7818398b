"""Makes a box's report of one moment: everything the schema has, and true to itself.

The grade is what a runner would give for the same facts. It is not aware of the fleet or of how
a report is sent. Used by `timeline` and `bulk`.
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime
from typing import Final

from edgepack import __version__
from edgepack.formats.choice import Choice, ChoiceKey, ChoiceRow
from edgepack.formats.device import DeviceFacts
from edgepack.formats.drift import DriftFacts, DriftFeature, jensen_shannon_distance
from edgepack.formats.options import EngineOptions
from edgepack.formats.quality import QualityFacts
from edgepack.formats.report import (
    BundleFacts,
    ColdFacts,
    CpuFacts,
    GoldenFacts,
    Grade,
    MemoryFacts,
    ModelFacts,
    Report,
    RuntimeFacts,
    Trust,
)
from edgepack.formats.variants import VariantSpec, runtime_format
from edgepack.hub.simulate.boxes import Moment, Trouble, Weather, bundle_id, digest
from edgepack.hub.simulate.classes import Candidate
from edgepack.hub.simulate.facts import (
    device_facts,
    environments,
    trust_reasons,
    weather_of,
)
from edgepack.hub.simulate.runs import compute_median, fell_back, make_runs, run_reasons

#: The reasons that take a report's times all worth, and those that make them doubtful.
#: Source: docs/benchmarking.md, how far to trust it.
_WORTHLESS: Final = frozenset({"emulated", "clock_jump", "wrong_answers"})
_DOUBTFUL: Final = frozenset(
    {
        *("throttled", "under_voltage", "n_below_minimum", "run_invalid", "latency_bound_missed"),
        *("background_load", "gpu_throttled"),
    }
)
_OTHERS_PERCENT: Final = 10
_LENGTH_EDGES: Final = (2.0, 4.0, 8.0, 16.0)
_LENGTH_SHARES: Final = (0.31, 0.27, 0.22, 0.14, 0.06)
_HELD_OUT: Final = 3_134
_TWO: Final = EngineOptions(threads=2)


def make_report(moment: Moment, chance: random.Random) -> Report:
    """Makes the report that a box would write at a moment.

    Args:
        moment: The box, what is measured, and when.
        chance: Decides what is left open, the report's id among it.

    Returns:
        The report; `edgepack.formats.report.check_report` finds nothing wrong with it.
    """
    weather = weather_of(moment, chance)
    device = device_facts(moment)
    before, after = environments(moment, weather, chance)
    runs = make_runs(moment, weather, chance)
    cpu = _cpu(moment, chance)
    golden = _golden(moment, chance)
    reasons = trust_reasons(before, after) | run_reasons(runs)
    reasons |= _other_reasons(moment, golden, cpu)
    return Report(
        report_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        created=rfc3339(moment.created_ms + moment.clock_ms),
        device_id=moment.box.device_id,
        edgepack=moment.box.text or __version__,
        bundle=_bundle(moment),
        model=_model(moment),
        runtime=_runtime(moment),
        cold=_cold(moment, weather, chance),
        runs=runs,
        memory=_memory(moment, chance),
        cpu=cpu,
        device=device,
        before=before,
        after=after,
        golden=golden,
        trust=Trust(_grade(reasons), tuple(sorted(reasons))),
        choice=_choice(moment, device, weather, chance),
        drift=_drift(moment, chance),
    )


def rfc3339(moment_ms: int) -> str:
    """Writes a moment as a report does.

    Args:
        moment_ms: Milliseconds since 1970, of the years 1 to 9999.

    Returns:
        Such as `2026-11-23T09:15:02.125Z`.
    """
    text = datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _other_reasons(moment: Moment, golden: GoldenFacts, cpu: CpuFacts) -> set[str]:
    trouble = moment.box.trouble
    found = {
        "emulated": moment.box.kind.emulated,
        "wrong_answers": not golden.ok,
        "clock_jump": trouble is Trouble.JUMPING_CLOCK,
        "background_load": (cpu.other_percent or 0) > _OTHERS_PERCENT,
        "gpu_fallback": fell_back(moment),
    }
    return {reason for reason, is_so in found.items() if is_so}


def _grade(reasons: set[str]) -> Grade:
    if reasons & _WORTHLESS:
        return Grade.X
    if reasons & _DOUBTFUL:
        return Grade.C
    return Grade.B if reasons else Grade.A


def _bundle(moment: Moment) -> BundleFacts:
    target = moment.box.kind.target
    name = moment.box.text or target
    return BundleFacts(bundle_id(moment), name, digest("target", target))


def _model(moment: Moment) -> ModelFacts:
    candidate, release = moment.candidate, moment.release
    format_ = runtime_format(candidate.runtime)
    text = moment.box.text
    return ModelFacts(
        name="session",
        version=text or release.version,
        kind="recommender",
        architecture="sasrec",
        variant=text or VariantSpec(format_, candidate.precision).name,
        format=format_,
        precision=candidate.precision,
        sha256=digest("model", bundle_id(moment), candidate.precision),
        size_bytes=int(release.size_bytes * candidate.size),
        vocabulary_sha256=digest("vocabulary", release.catalogue),
        sequence_length=20,
        catalogue_size=release.catalogue,
        top_k=30,
        quality=_quality(release.ndcg, candidate),
    )


def _quality(ndcg: float, candidate: Candidate) -> QualityFacts:
    kept = candidate.kept
    return QualityFacts(
        samples=_HELD_OUT,
        ndcg=round(ndcg * kept, 6),
        hr=round(ndcg * 1.94 * kept, 6),
        mrr=round(ndcg * 0.79 * kept, 6),
        ndcg_ratio=kept,
        overlap=candidate.overlap,
        top1_same=candidate.top1,
    )


def _runtime(moment: Moment) -> RuntimeFacts:
    candidate, text = moment.candidate, moment.box.text
    fallback = None
    if fell_back(moment):
        fallback = text or "libcudnn.so.9: cannot open shared object file"
    return RuntimeFacts(
        name=candidate.runtime,
        version=candidate.version,
        provider="CPUExecutionProvider" if fallback else candidate.provider,
        threads=1 if moment.box.kind.card else _TWO.threads,
        options=EngineOptions() if moment.box.kind.card else _TWO,
        provider_fallback=fallback,
    )


def _cold(moment: Moment, weather: Weather, chance: random.Random) -> ColdFacts:
    kind = moment.box.kind
    slow = moment.box.factor * chance.lognormvariate(0, 0.06) * (1 + weather.ramp / 2)
    # The kernel tells the start of a process in ticks of 10 ms.
    start_ns = int(kind.start_ns * slow) // 10_000_000 * 10_000_000
    init_ns = int(kind.load_ns * slow * (0.6 + 0.4 * moment.candidate.size))
    first_ns = int(compute_median(moment, weather) * chance.uniform(2.5, 6.0))
    ready_ns = start_ns + init_ns + 9 * first_ns
    if kind.emulated:
        reason = {"process_start_ns": "the CPU is emulated"}
        return ColdFacts(None, init_ns, first_ns, init_ns // 9, ready_ns, reason)
    return ColdFacts(start_ns, init_ns, first_ns, init_ns // 9, ready_ns)


def _memory(moment: Moment, chance: random.Random) -> MemoryFacts:
    base = 41_000_000 + chance.randrange(1_500_000)
    model = int(moment.release.size_bytes * moment.candidate.size * 2.4)
    loaded = base + model + (410_000_000 if moment.box.kind.card else 9_000_000)
    runs = loaded + chance.randrange(900_000)
    return MemoryFacts(base, loaded, runs, runs + 240_000, runs - 6_000_000, 0)


def _cpu(moment: Moment, chance: random.Random) -> CpuFacts:
    busy = moment.box.trouble is Trouble.BUSY
    others = chance.uniform(14, 55) if busy else chance.uniform(0.2, 4.0)
    percent = chance.uniform(93, 179)
    user_ns = int(6_000_000_000 * percent / 100)
    switches = chance.randrange(60, 900)
    system_ns = user_ns // 23
    return CpuFacts(user_ns, system_ns, percent, switches, switches // 3, {}, others)


def _golden(moment: Moment, chance: random.Random) -> GoldenFacts:
    wrong = moment.box.trouble is Trouble.WRONG_ANSWERS
    problems = chance.randrange(1, 9) if wrong else 0
    sha256 = digest("golden", bundle_id(moment), moment.candidate.precision)
    return GoldenFacts(sha256, 8, problems, ok=not wrong)


def _choice(
    moment: Moment, device: DeviceFacts, weather: Weather, chance: random.Random
) -> Choice | None:
    """What the box measured before it chose; None where the times would say nothing."""
    if moment.box.kind.emulated:
        return None
    scale = compute_median(moment, weather) / moment.candidate.speed
    runtime = _runtime(moment)
    options = runtime.options or EngineOptions()
    rows = []
    for each in moment.candidates:
        rounds = tuple(int(scale * each.speed * chance.lognormvariate(0, 0.01)) for _ in range(5))
        name = VariantSpec(runtime_format(each.runtime), each.precision).name
        rows.append(ChoiceRow(name, options, rounds, sorted(rounds)[2], 0.012))
    variant = VariantSpec(runtime_format(moment.candidate.runtime), moment.candidate.precision).name
    key = ChoiceKey(
        *(bundle_id(moment), runtime.name, runtime.version, device.kernel, device.cpu_model),
        device.cores_allowed,
    )
    created = rfc3339(moment.created_ms + moment.clock_ms - 60_000)
    reason = f"{variant} has the lowest median"
    return Choice(created, key, variant, options, reason, tuple(rows))


def _drift(moment: Moment, chance: random.Random) -> DriftFacts | None:
    """What the daemon counted since a week; half of the boxes have served too little."""
    if moment.box.number % 2:
        return None
    histories = chance.randrange(1_200, 90_000)
    counts = [int(histories * share * chance.uniform(0.8, 1.25)) for share in _LENGTH_SHARES]
    # Not more than 0.15: the made-up shops stay as they were.
    distance = jensen_shannon_distance(counts, _LENGTH_SHARES)
    until_ms = moment.created_ms + moment.clock_ms
    return DriftFacts(
        since=rfc3339(until_ms - 7 * 86_400_000),
        until=rfc3339(until_ms),
        histories=sum(counts),
        empty_histories=histories // 50,
        items=histories * 6,
        unknown_items=histories // 9,
        features={
            "history_length": DriftFeature(_LENGTH_EDGES, _LENGTH_SHARES, tuple(counts), distance)
        },
    )
