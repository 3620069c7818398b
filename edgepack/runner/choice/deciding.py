"""Decides among measured rows: the simplest that is as fast as the fastest, as far as can be told.

It is not aware of how anything was measured. Used by `choosing`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgepack.formats.choice import ChoiceRow
from edgepack.formats.errors import DeviceError

#: Nobody notices a twentieth; a second core or a spinning thread is noticed.
MARGIN: Final = 0.05
_FEWEST_FOR_SPREAD: Final = 2


@dataclass(frozen=True, slots=True)
class Decision:
    """A row and why it is the one, in words."""

    row: ChoiceRow
    reason: str


def spread_of(medians_ns: Sequence[int]) -> float | None:
    """Returns the interquartile range of the rounds as a share of their median; None of one."""
    middle = statistics.median(medians_ns) if medians_ns else 0
    if len(medians_ns) < _FEWEST_FOR_SPREAD or middle == 0:
        return None
    first, _, third = statistics.quantiles(medians_ns, n=4, method="inclusive")
    return (third - first) / middle


def decide(rows: Sequence[ChoiceRow]) -> Decision:
    """Chooses a row.

    Args:
        rows: Everything that was tried; of equally simple ones the earlier is preferred, so the
            bundle's first candidate comes first.

    Returns:
        The simplest row whose median is not beaten by more than the margin: 5 %, or the measured
        spread of the two where that is more. Simple is: fewer threads, sequential, not spinning,
        no CUDA graph, no I/O binding.

    Raises:
        DeviceError: Not one of them runs and answers rightly.
    """
    sound = [row for row in rows if row.problem is None and row.median_ns is not None]
    if not sound:
        lines = "".join(f"\n  {_name(row)}: {row.problem}" for row in rows)
        raise DeviceError(f"no candidate of the bundle can be run on this box{lines}")
    fastest = min(sound, key=_median)
    chosen = min(
        (row for row in sound if _is_as_fast(row, fastest)), key=lambda row: row.options.complexity
    )
    return Decision(chosen, _reason(chosen, fastest, len(sound), len(rows)))


def _median(row: ChoiceRow) -> int:
    return row.median_ns or 0


def _margin(row: ChoiceRow, other: ChoiceRow) -> float:
    return max(MARGIN, row.spread or 0, other.spread or 0)


def _is_as_fast(row: ChoiceRow, fastest: ChoiceRow) -> bool:
    return _median(row) <= _median(fastest) * (1 + _margin(row, fastest))


def _reason(chosen: ChoiceRow, fastest: ChoiceRow, sound: int, tried: int) -> str:
    out = f"; {tried - sound} of {tried} are out" if sound < tried else ""
    if sound == 1:
        return f"the only one that runs and answers rightly{out}"
    if chosen is fastest:
        return f"the fastest of {sound}: {_us(chosen)}{out}"
    margin = 100 * _margin(chosen, fastest)
    return (
        f"the simplest of {sound} as fast as the fastest: {_us(chosen)}; {_name(fastest)} takes "
        f"{_us(fastest)}, within {margin:.0f} %{out}"
    )


def _name(row: ChoiceRow) -> str:
    return f"{row.variant} with {row.options}"


def _us(row: ChoiceRow) -> str:
    return f"{_median(row) / 1000:,.0f} us"
