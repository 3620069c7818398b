"""The scenarios of a made-up benchmark: SingleStream, Offline and Server, by LoadGen's rules.

It is not aware of the rest of a report. Used by `reports`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from edgepack.formats.report import Duration, MethodFacts, RateProbe, RunFacts, Scenario
from edgepack.formats.statistics import drift, is_under_bound
from edgepack.hub.simulate.boxes import Moment, Trouble, Weather, bundle_id, digest
from edgepack.hub.simulate.distributions import Durations, draw_latencies, summarise

_NS: Final = 1_000_000_000
_ASKED_NS: Final = {
    Duration.QUICK: 2 * _NS,
    Duration.STANDARD: 60 * _NS,
    Duration.MLPERF: 600 * _NS,
}
#: A distribution's shape needs no more.
_MOST_QUERIES: Final = 1_500
_SEED: Final = 0x5EED
#: The targets' budgets for p99.
_BOUND_NS: Final = {"arm64": 30_000_000, "cpu": 10_000_000, "gpu": 10_000_000}
_FAILURES: Final = (
    "out of memory",
    "input 0 has another shape",
    "a node computed NaN",
    "the process was killed",
)
_LEAST: Final = {Scenario.SINGLE_STREAM: 64, Scenario.OFFLINE: 64, Scenario.SERVER: 662}
_ARRIVALS: Final = {
    Scenario.SINGLE_STREAM: "closed",
    Scenario.OFFLINE: "at_once",
    Scenario.SERVER: "poisson",
}
_BUSY_FACTOR: Final = 1.6
#: A card's CPU takes several times as long.
_FALLBACK_FACTOR: Final = 3.8
_DRIFTED: Final = 0.05
#: A box that fails does so every other time.
_FAILS: Final = 0.5


def make_runs(moment: Moment, weather: Weather, chance: random.Random) -> tuple[RunFacts, ...]:
    """Runs the three scenarios.

    Args:
        moment: The box and what is measured.
        weather: What its chip came to.
        chance: Decides.

    Returns:
        The runs; a box that fails has one whose errors say so.
    """
    median = compute_median(moment, weather) * chance.lognormvariate(0, 0.012)
    if moment.box.trouble is Trouble.RUN_FAILED and chance.random() < _FAILS:
        return (_failed(moment, median, chance),)
    return (
        _single_stream(moment, weather, median, chance),
        _offline(moment, weather, median, chance),
        _server(moment, weather, median, chance),
    )


def compute_median(moment: Moment, weather: Weather) -> float:
    """Returns how long this box takes for one sample, in nanoseconds."""
    kind, box = moment.box.kind, moment.box
    median = kind.base_ns * moment.candidate.speed * box.factor
    median *= moment.release.slower.get(kind.target, 1.0)
    # A governor that saves power ramps up late; a slowed chip begins slow.
    median *= 1.0 if box.governor in ("performance", "") else 1.07
    median *= 1.0 + weather.ramp / 2
    if box.trouble is Trouble.BUSY:
        median *= _BUSY_FACTOR
    if fell_back(moment):
        median *= _FALLBACK_FACTOR
    return median * (1.5 if weather.card_throttled else 1.0)


def fell_back(moment: Moment) -> bool:
    """Says whether the CPU computes although a card was asked for."""
    return moment.box.trouble is Trouble.FALLBACK and moment.box.kind.card is not None


def run_reasons(runs: Iterable[RunFacts]) -> set[str]:
    """Says what the runs take from the trust, in a runner's words."""
    reasons = set()
    for run in runs:
        server = run.method.scenario is Scenario.SERVER
        percentile = run.compute.p99 if server else run.compute.p90
        if not run.min_queries_met or percentile is None:
            reasons.add("n_below_minimum")
        if not (run.min_queries_met and run.min_duration_met):
            reasons.add("run_invalid")
        if run.bound_met is False:
            reasons.add("latency_bound_missed")
        if run.method.duration is Duration.QUICK:
            reasons.add("short_run")
        if run.drift is not None and abs(run.drift) > _DRIFTED:
            reasons.add("latency_drift_gt_5pct")
    return reasons


def _single_stream(
    moment: Moment, weather: Weather, median: float, chance: random.Random
) -> RunFacts:
    kind = moment.box.kind
    count, every = _queries(moment, median + kind.overhead_ns, Scenario.SINGLE_STREAM)
    compute = draw_latencies(chance, count, median, kind.jitter, weather.ramp / 2)
    around = draw_latencies(chance, count, kind.overhead_ns * moment.box.factor, 0.15)
    return _run(moment, Scenario.SINGLE_STREAM, compute, every, end_to_end=compute + around)


def _offline(moment: Moment, weather: Weather, median: float, chance: random.Random) -> RunFacts:
    count, every = _queries(moment, median, Scenario.OFFLINE)
    begin = median * (1 + weather.ramp / 2)
    compute = draw_latencies(chance, count, begin, moment.box.kind.jitter, weather.ramp / 4)
    return _run(moment, Scenario.OFFLINE, compute, every)


def _server(moment: Moment, weather: Weather, median: float, chance: random.Random) -> RunFacts:
    kind = moment.box.kind
    begin = median * (1 + weather.ramp / 2)
    rate = chance.uniform(0.35, 0.55) * _NS / (begin + kind.overhead_ns)
    bound_ns = _BOUND_NS[kind.target]
    count, every = _queries(moment, _NS / rate, Scenario.SERVER)
    compute = draw_latencies(chance, count, begin, kind.jitter, weather.ramp / 4)
    waits = _waits(compute + kind.overhead_ns, rate, chance)
    end_to_end = compute + kind.overhead_ns + waits
    probes = tuple(
        RateProbe(round(rate * share, 3), 662, 2 if share <= 1 else 31, passed=share <= 1)
        for share in (1.6, 0.8, 1.2, 1.0)
    )
    server = {
        "target_qps": round(rate, 3),
        "latency_bound_ns": bound_ns,
        "bound_source": "target",
        "probes": probes,
    }
    over = int((end_to_end > bound_ns).sum())
    return _run(
        *(moment, Scenario.SERVER, compute, every, end_to_end),
        queue=np.maximum(waits, 1),
        over_latency=over,
        server=server,
    )


def _waits(service_ns: Durations, rate: float, chance: random.Random) -> Durations:
    """How long each query waits for those before it.

    Source: D. V. Lindley, "The theory of queues with a single server", 1952; Poisson arrivals.
    """
    numbers = np.random.default_rng(chance.getrandbits(64))
    gaps = numbers.exponential(_NS / rate, len(service_ns))
    # The sum of what was served less what has passed, above its lowest point so far.
    walk = np.concatenate(([0.0], np.cumsum(service_ns[:-1] - gaps[1:])))
    waits: Durations = (walk - np.minimum.accumulate(walk)).astype(np.int64)
    return waits


def _run(
    moment: Moment,
    scenario: Scenario,
    compute: Durations,
    every: int,
    end_to_end: Durations | None = None,
    *,
    queue: Durations | None = None,
    over_latency: int | None = None,
    server: Mapping[str, Any] | None = None,
) -> RunFacts:
    total, missing = len(compute) * every, dict[str, str]()
    met, bound_met = total >= _LEAST[scenario], None
    if over_latency is None:
        missing |= dict.fromkeys(("over_latency", "bound_met"), "only Server has a latency bound")
    else:
        bound_met = is_under_bound(over_latency, len(compute), 0.99)
    if queue is None:
        missing["queue"] = "a query is issued when the one before has completed"
    if end_to_end is None:
        missing["end_to_end"] = "all samples are one query; its time is duration_ns"
    steady = compute if server or end_to_end is None else end_to_end
    drifted = drift([int(each) for each in steady])
    if drifted is None:
        missing["drift"] = f"{total} samples are too few for ten blocks"
    method = _method(moment, scenario, total, int(steady.sum()) * every, server or {})
    answered = _NS / float(steady.mean()) if server is None else server["target_qps"]
    return RunFacts(
        method=method,
        end_to_end=None if end_to_end is None else summarise(end_to_end, every),
        compute=summarise(compute, every),
        queue=None if queue is None else summarise(queue, every),
        samples_per_second=round(answered, 3),
        drift=drifted,
        valid=met and bound_met is not False,
        min_duration_met=True,
        min_queries_met=met,
        missing=missing,
        over_latency=over_latency,
        bound_met=bound_met,
    )


def _method(
    moment: Moment, scenario: Scenario, total: int, taken_ns: int, server: Mapping[str, Any]
) -> MethodFacts:
    offline, asked_ns = scenario is Scenario.OFFLINE, _ASKED_NS[moment.duration]
    return MethodFacts(
        scenario=scenario,
        duration=moment.duration,
        warmup_runs=12,
        warmup_ns=_NS,
        min_duration_ns=asked_ns,
        duration_ns=max(taken_ns, asked_ns + taken_ns % 7_000_000),
        min_queries=1 if offline else _LEAST[scenario],
        queries=1 if offline else total,
        samples_per_query=total if offline else 1,
        seed=_SEED,
        input="golden",
        input_sha256=digest("golden", bundle_id(moment), moment.candidate.precision),
        arrival=_ARRIVALS[scenario],
        **server,
    )


def _failed(moment: Moment, median: float, chance: random.Random) -> RunFacts:
    """A SingleStream that ended early."""
    compute = draw_latencies(chance, chance.randrange(3, 40), median, moment.box.kind.jitter)
    why = f"the runtime failed at query {len(compute)}: {chance.choice(_FAILURES)}"
    end_to_end = compute + moment.box.kind.overhead_ns
    run = _run(moment, Scenario.SINGLE_STREAM, compute, 1, end_to_end)
    return replace(run, valid=False, errors=(moment.box.text or why,))


def _queries(moment: Moment, each_ns: float, scenario: Scenario) -> tuple[int, int]:
    """How many queries are kept, and of how many each is one.

    A real box keeps more; their number is in steps, so that what follows from it alone need not
    be worked out for each report.
    """
    wanted = int(max(_ASKED_NS[moment.duration] / each_ns, _LEAST[scenario]))
    every = 1
    while wanted // every > _MOST_QUERIES:
        every *= 2
    kept = wanted // every
    step = max(kept // 16, 1)
    return max(kept - kept % step, min(kept, _LEAST[scenario])), every
