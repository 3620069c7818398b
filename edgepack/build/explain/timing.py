"""Layers' times as values, and what is concluded from repeated measurements. Pure functions.

Used by the two modules that measure and by the report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

#: Standard deviations of a median's rank that hold the true one in 95 of 100 cases.
_NORMAL_95: Final = 1.96


@dataclass(frozen=True, slots=True)
class Timing:
    """What was measured of a file's layers.

    Attributes:
        method: How, and what it cannot see, in a sentence.
        call: The whole call, as it is without being looked into.
        layers: Each layer's part of it.
        explained: The share of the call that lies in layers.
        repeats: How often it was measured.
    """

    method: str
    call: Span
    layers: Mapping[str, Span]
    explained: float
    repeats: int

    def to_json(self) -> dict[str, Any]:
        """Returns it as the worker hands it on."""
        return {
            "method": self.method,
            "call": self.call.to_json(),
            "layers": {name: span.to_json() for name, span in self.layers.items()},
            "explained": round(self.explained, 4),
            "repeats": self.repeats,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Timing:
        """Reads what `to_json` wrote."""
        return cls(
            method=value["method"],
            call=Span.from_json(value["call"]),
            layers={name: Span.from_json(each) for name, each in value["layers"].items()},
            explained=value["explained"],
            repeats=value["repeats"],
        )


@dataclass(frozen=True, slots=True)
class Span:
    """A time with its uncertainty.

    Attributes:
        ns: The estimate, in nanoseconds; a difference of two times may be below zero.
        low_ns: The lower end of its 95 % interval.
        high_ns: The upper end.
    """

    ns: float
    low_ns: float
    high_ns: float

    def to_json(self) -> dict[str, float]:
        """Returns it in whole nanoseconds."""
        return {
            "ns": round(self.ns),
            "low_ns": round(self.low_ns),
            "high_ns": round(self.high_ns),
        }

    def times(self, factor: float) -> Span:
        """Returns it multiplied."""
        return Span(self.ns * factor, self.low_ns * factor, self.high_ns * factor)

    @classmethod
    def from_json(cls, value: Mapping[str, float]) -> Span:
        """Reads what `to_json` wrote."""
        return cls(value["ns"], value["low_ns"], value["high_ns"])


def median_span(values: Sequence[float]) -> Span:
    """Returns the median and its interval by order statistics, which asks for no distribution.

    Source: Hahn and Meeker, Statistical Intervals, 5.2, with the normal approximation.
    """
    ordered = sorted(values)
    count = len(ordered)
    reach = _NORMAL_95 * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach) - 1)
    high = min(count - 1, math.ceil(count / 2 + reach))
    return Span(float(np.median(ordered)), ordered[low], ordered[high])


def mean_span(values: Sequence[float]) -> Span:
    """Returns the mean of the middle half and its interval.

    For a clock of whole microseconds, whose median of a short time has no digits.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    mean = float(kept.mean())
    reach = _NORMAL_95 * float(kept.std(ddof=1)) / math.sqrt(len(kept)) if len(kept) > 1 else 0.0
    return Span(mean, mean - reach, mean + reach)


def runs(layers: Sequence[str], most: int) -> list[int]:
    """Returns where to cut a graph: behind each run of operators of one layer.

    Args:
        layers: The layer of each operator, in the order they run.
        most: The most cuts; where there are more, those that leave the shortest pieces go.

    Returns:
        The number of operators before each cut; the last is all of them.
    """
    ends = [i + 1 for i in range(len(layers)) if i + 1 == len(layers) or layers[i + 1] != layers[i]]
    while len(ends) > most:
        sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        # Joins the shortest piece to the one before it; the end of the graph stays.
        shortest = min(range(len(ends) - 1), key=lambda i: sizes[i] + sizes[i + 1])
        del ends[shortest]
    return ends


def shared_out(
    layers: Sequence[str], ends: Sequence[int], spans: Sequence[Span]
) -> dict[str, Span]:
    """Gives each layer its part of the pieces between cuts, by its number of operators there.

    Args:
        layers: The layer of each operator.
        ends: From `runs`.
        spans: The time of each piece.
    """
    found: dict[str, Span] = {}
    for start, end, span in zip([0, *ends], ends, spans, strict=False):
        inside = list(layers[start:end])
        for name in dict.fromkeys(inside):
            share = inside.count(name) / len(inside)
            before = found.get(name, Span(0.0, 0.0, 0.0))
            # Ends add up as if the errors had one sign, so an interval is never too narrow.
            found[name] = Span(
                before.ns + share * span.ns,
                before.low_ns + share * span.low_ns,
                before.high_ns + share * span.high_ns,
            )
    return found
