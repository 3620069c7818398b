"""What is wrong with a device, from its last report and from its silence.

It is not aware of the store. Anyone in the hub may import it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from edgepack.formats.report import Report, Scenario

#: A box that measures itself once a week has missed one by then.
SILENT_AFTER_MS: Final = 8 * 86_400_000


class Condition(StrEnum):
    """The state of a device, the worst first; SILENT is not of a report but of its absence."""

    WRONG_ANSWERS = "wrong_answers"
    RUN_FAILED = "run_failed"
    FALLBACK = "fallback"
    THROTTLED = "throttled"
    SILENT = "silent"
    DOUBTFUL = "doubtful"
    OK = "ok"


#: The order of attention; a smaller rank comes first. With room for later ones between.
RANKS: Final = {condition: 10 * (i + 1) for i, condition in enumerate(Condition)}
#: What each means, for people.
WORDS: Final = {
    Condition.WRONG_ANSWERS: "its answers are not those of the host",
    Condition.RUN_FAILED: "a benchmark run failed",
    Condition.FALLBACK: "the CPU computes although a card was asked for",
    Condition.THROTTLED: "it throttled while it was measured",
    Condition.SILENT: "it has not reported for too long",
    Condition.DOUBTFUL: "its times cannot be trusted",
    Condition.OK: "nothing is wrong",
}
_THROTTLING: Final = frozenset({"throttled", "under_voltage", "gpu_throttled"})


def condition_of(report: Report) -> Condition:
    """Judges a device by its last report.

    Args:
        report: The report.

    Returns:
        The worst that is true of it.
    """
    if not report.golden.ok:
        return Condition.WRONG_ANSWERS
    if any(run.errors for run in report.runs) or not report.runs:
        return Condition.RUN_FAILED
    if report.runtime.provider_fallback is not None:
        return Condition.FALLBACK
    if _THROTTLING & set(report.trust.reasons):
        return Condition.THROTTLED
    if report.trust.grade in ("A", "B"):
        return Condition.OK
    return Condition.DOUBTFUL


def main_run_index(report: Report) -> int | None:
    """Returns which run stands for the report: SingleStream, else its first; None without runs."""
    for i, run in enumerate(report.runs):
        if run.method.scenario is Scenario.SINGLE_STREAM:
            return i
    return 0 if report.runs else None
