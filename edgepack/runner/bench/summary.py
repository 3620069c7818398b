"""Turns what was measured into the report's distributions, saying only what n allows.

It is not aware of how anything was measured. Used by `benchmark`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from edgepack.formats.report import (
    PERCENTILES,
    Distribution,
    EarlyStoppingFacts,
    MethodFacts,
    RunFacts,
    Scenario,
)
from edgepack.formats.statistics import (
    LogHistogram,
    drift,
    early_stopping_estimate,
    minimum_count,
    nearest_rank,
)
from edgepack.runner.bench.samples import Measured, Samples

_SECOND_NS = 1_000_000_000
#: LoadGen estimates these early; the median needs no such care.
_ESTIMATED = ("p90", "p95", "p99", "p999")
_ARRIVALS = {
    Scenario.SINGLE_STREAM: "closed",
    Scenario.OFFLINE: "at_once",
    Scenario.SERVER: "poisson",
}


def summarise_samples(samples: Samples) -> Distribution:
    """Summarises durations.

    Args:
        samples: At least one.

    Returns:
        The distribution; a percentile below its minimum count is None with the reason.
    """
    ordered = sorted(samples.values)
    count = len(ordered)
    found: dict[str, int | None] = {}
    missing: dict[str, str] = {}
    for name, percentile in PERCENTILES.items():
        needed = minimum_count(percentile)
        if count >= needed:
            found[name] = nearest_rank(ordered, percentile)
        else:
            found[name] = None
            missing[name] = f"{count} values; {needed} are needed to tell it"
    histogram = LogHistogram()
    histogram.add_all(ordered)
    return Distribution(
        count=count,
        min_ns=samples.lowest,
        max_ns=samples.highest,
        mean_ns=samples.total_ns // samples.total,
        std_ns=round(statistics.pstdev(ordered)),
        p50=found["p50"],
        p75=found["p75"],
        p90=found["p90"],
        p95=found["p95"],
        p99=found["p99"],
        p999=found["p999"],
        early_stopping=_estimates(ordered),
        histogram=tuple(histogram.buckets()),
        missing=missing,
        sampled_every=samples.every,
    )


def summarise_run(measured: Measured, input_sha256: str) -> RunFacts:
    """Summarises a scenario's run.

    Args:
        measured: The run.
        input_sha256: Hash of the golden file whose inputs were run.

    Returns:
        The report's facts of the run.
    """
    search = measured.search
    total = measured.compute.total
    missing = {}
    if measured.queue is None:
        missing["queue"] = "a query is issued when the one before has completed"
    if measured.end_to_end is None:
        missing["end_to_end"] = "all samples are one query; its time is duration_ns"
    if search is None:
        missing |= dict.fromkeys(("over_latency", "bound_met"), "only Server has a latency bound")
    # A queue makes latencies wander by chance; what the engine takes does not.
    steady = measured.compute if search else measured.end_to_end or measured.compute
    drifted = drift(steady.values)
    if drifted is None:
        missing["drift"] = f"{total} samples are too few for ten blocks"
    per_second = total * _SECOND_NS / measured.duration_ns if measured.duration_ns else None
    if per_second is None:
        missing["samples_per_second"] = "the run took no time"
    return RunFacts(
        method=_method_facts(measured, input_sha256),
        end_to_end=_summarise_optional(measured.end_to_end),
        compute=summarise_samples(measured.compute),
        queue=_summarise_optional(measured.queue),
        samples_per_second=per_second,
        drift=drifted,
        valid=measured.is_valid,
        min_duration_met=measured.min_duration_met,
        min_queries_met=measured.min_samples_met,
        errors=measured.errors,
        missing=missing,
        over_latency=None if search is None else search.over_latency,
        bound_met=None if search is None else search.bound_met,
    )


def _method_facts(measured: Measured, input_sha256: str) -> MethodFacts:
    plan, search, total = measured.plan, measured.search, measured.compute.total
    offline = plan.scenario is Scenario.OFFLINE
    return MethodFacts(
        scenario=plan.scenario,
        duration=plan.duration,
        warmup_runs=measured.warmup_runs,
        warmup_ns=measured.warmup_ns,
        min_duration_ns=plan.min_duration_ns,
        duration_ns=measured.duration_ns,
        min_queries=1 if offline else plan.min_samples,
        queries=1 if offline else total,
        samples_per_query=total if offline else 1,
        seed=plan.seed,
        input="golden",
        input_sha256=input_sha256,
        arrival=_ARRIVALS[plan.scenario],
        target_qps=None if search is None else search.target_qps,
        latency_bound_ns=None if search is None else search.latency_bound_ns,
        bound_source=None if search is None else search.bound_source,
        probes=() if search is None else search.probes,
        max_batch=plan.max_batch,
        batch_delay_ns=plan.delay_ns,
        batch_sizes=tuple(sorted(measured.batches.items())),
    )


def _summarise_optional(samples: Samples | None) -> Distribution | None:
    return None if samples is None else summarise_samples(samples)


def _estimates(ordered: list[int]) -> Mapping[str, EarlyStoppingFacts]:
    estimates = {}
    for name in _ESTIMATED:
        estimate = early_stopping_estimate(ordered, PERCENTILES[name])
        estimates[name] = EarlyStoppingFacts(
            estimate.estimate, estimate.queries, estimate.over_latency
        )
    return estimates
