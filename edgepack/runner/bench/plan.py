"""How long each scenario runs, and with how many samples.

It is not aware of clocks or models. Used by the scenarios and by `benchmark`.

Source: MLPerf Inference rules, scenarios and run rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgepack.formats.report import Duration, Scenario
from edgepack.formats.statistics import minimum_count

SECOND_NS: Final = 1_000_000_000
#: Of the order of samples and of the arrivals.
SEED: Final = 2026
#: A slow model may need longer for its queries, but not for ever.
OVERTIME: Final = 3
#: The share of the Server scenario's queries that must stay under the latency bound.
SERVER_PERCENTILE: Final = 0.99

#: MLPerf's ten minutes, a minute, or a look. Source: inference_policies, table of scenarios.
_MIN_DURATION_S: Final = {Duration.QUICK: 2, Duration.STANDARD: 60, Duration.MLPERF: 600}
_WARMUP_S: Final = {Duration.QUICK: 0.2, Duration.STANDARD: 2.0, Duration.MLPERF: 5.0}
#: A probe of the Server scenario: long enough to see a queue grow, short enough for several.
_PROBE_S: Final = {Duration.QUICK: 0.4, Duration.STANDARD: 4.0, Duration.MLPERF: 20.0}
#: MLPerf's Offline query has at least this many samples.
_OFFLINE_SAMPLES: Final = 24_576
_OFFLINE_QUICK_SAMPLES: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a scenario runs.

    Attributes:
        scenario: Which one.
        duration: The name of its length.
        warmup_ns: Runs before the first one that counts, at least this long.
        min_duration_ns: A run is valid only when it lasted this long …
        min_samples: … and had so many samples.
        probe_ns: How long the Server scenario tries one rate.
        latency_bound_ns: What 99 % of the Server scenario's queries must stay under; None takes
            the default.
        seed: Of the order of samples, and of the arrivals.
        max_batch: The most samples of one call in Offline and Server; 1: one at a time.
        delay_ns: How long Server holds a query back for others to share its call.
    """

    scenario: Scenario
    duration: Duration
    warmup_ns: int
    min_duration_ns: int
    min_samples: int
    probe_ns: int = SECOND_NS
    latency_bound_ns: int | None = None
    seed: int = SEED
    max_batch: int = 1
    delay_ns: int = 0

    def is_enough(self, elapsed_ns: int, samples: int) -> bool:
        """Whether a run may end: both minima met, or three times the minimum duration over."""
        if samples == 0:
            return False
        if elapsed_ns >= self.min_duration_ns * OVERTIME:
            return True
        return elapsed_ns >= self.min_duration_ns and samples >= self.min_samples


def plan_for(
    scenario: Scenario,
    duration: Duration,
    p99_budget_ms: float | None = None,
    *,
    max_batch: int = 1,
    delay_ns: int = 0,
) -> Plan:
    """Returns the plan of a scenario.

    SingleStream needs as many queries as a 90th percentile can be told from, Server as many as
    a 99th; Offline as many samples as MLPerf says, fewer for a quick look.

    Args:
        scenario: Which one.
        duration: How long.
        p99_budget_ms: The target's latency budget, the bound of the Server scenario.
        max_batch: The most samples of one call; SingleStream has one at a time whatever it is.
        delay_ns: How long Server may hold a query back for others.
    """
    quick = duration is Duration.QUICK
    samples = {
        Scenario.SINGLE_STREAM: minimum_count(0.9),
        Scenario.OFFLINE: _OFFLINE_QUICK_SAMPLES if quick else _OFFLINE_SAMPLES,
        Scenario.SERVER: minimum_count(SERVER_PERCENTILE),
    }
    return Plan(
        scenario=scenario,
        duration=duration,
        warmup_ns=int(_WARMUP_S[duration] * SECOND_NS),
        min_duration_ns=_MIN_DURATION_S[duration] * SECOND_NS,
        min_samples=samples[scenario],
        probe_ns=int(_PROBE_S[duration] * SECOND_NS),
        latency_bound_ns=None if p99_budget_ms is None else int(p99_budget_ms * 1_000_000),
        max_batch=1 if scenario is Scenario.SINGLE_STREAM else max_batch,
        delay_ns=delay_ns if scenario is Scenario.SERVER and max_batch > 1 else 0,
    )
