"""Places values on an axis and picks the ticks.

It is not aware of what is drawn. Used by the charts beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

#: Above this ratio of the largest to the smallest a logarithmic axis shows more.
_WIDE: Final = 20
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)
_HOUR_MS: Final = 3_600_000
_TIME_STEPS_MS: Final = tuple(
    hours * _HOUR_MS
    for hours in (1, 3, 6, 12, 24, 48, 24 * 7, 24 * 14, 24 * 30, 24 * 91, 24 * 182, 24 * 365)
)


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from a value at one place to a value at another.

    Attributes:
        low: The value at `start`.
        high: The value at `end`; larger than `low`.
        start: A place in the drawing.
        end: The other.
        logarithmic: Whether the same distance is the same ratio; `low` is above 0 then.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Returns where a value is; one outside is put at the nearer end."""
        inside = min(max(value, self.low), self.high)
        low, high, at = (
            (math.log(each) for each in (self.low, self.high, inside))
            if self.logarithmic
            else (self.low, self.high, inside)
        )
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Returns round values within the axis, about as many as wanted."""
        if self.logarithmic:
            return _log_ticks(self.low, self.high, wanted)
        step = _round_step((self.high - self.low) / max(wanted, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [each * step for each in range(first, last + 1)]

    def time_ticks(self, wanted: int = 6) -> list[float]:
        """Returns whole hours, days or weeks within an axis of milliseconds."""
        span = self.high - self.low
        step = next((each for each in _TIME_STEPS_MS if span / each <= wanted), _TIME_STEPS_MS[-1])
        first = math.ceil(self.low / step)
        last = math.floor(self.high / step)
        return [float(each * step) for each in range(first, min(last, first + 2 * wanted) + 1)]


def value_scale(
    values: Iterable[float], start: float, end: float, *, from_zero: bool = False
) -> Scale:
    """Makes an axis that has room for values.

    Args:
        values: At least one; each 0 or at least a millionth.
        start: The place of the lowest.
        end: The place of the highest.
        from_zero: Whether the axis begins at 0, so that lengths can be compared.

    Returns:
        The axis; a logarithmic one where the values are far apart and not from 0.
    """
    known = list(values)
    low, high = min(known), max(known)
    if not from_zero and low > 0 and high / low > _WIDE:
        return Scale(low * 0.9, high * 1.1, start, end, logarithmic=True)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    bottom = 0.0 if from_zero and low >= 0 else low - room
    # A figure that cannot be below 0 has no axis below 0.
    if low >= 0:
        bottom = max(bottom, 0.0)
    return Scale(bottom, high + room, start, end)


def time_scale(moments_ms: Iterable[float], start: float, end: float) -> Scale:
    """Makes an axis of moments.

    Args:
        moments_ms: At least one.
        start: The place of the first.
        end: The place of the last.

    Returns:
        The axis, an hour wide at least.
    """
    known = list(moments_ms)
    low, high = min(known), max(known)
    room = max((high - low) * 0.01, _HOUR_MS / 2)
    return Scale(low - room, high + room, start, end)


def unit_ticks(scale: Scale, wanted: int, unit: Callable[[float], float]) -> list[float]:
    """Picks ticks that are round in the unit they are written in.

    Args:
        scale: The axis, in the unit of its values.
        wanted: About how many.
        unit: How much one of the written unit is, for a value.

    Returns:
        The values.
    """
    size = unit(scale.high)
    scaled = Scale(scale.low / size, scale.high / size, 0, 1, scale.logarithmic)
    return [each * size for each in scaled.ticks(wanted)]


def _round_step(rough: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(each * power for each in _STEPS if rough <= each * power * (1 + 1e-9))


def _log_ticks(low: float, high: float, wanted: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            digit * 10.0**power
            for power in range(first, last + 1)
            for digit in digits
            if low <= digit * 10.0**power <= high
        ]
        if len(ticks) <= wanted + 1:
            return ticks
    return ticks[:: max(1, len(ticks) // wanted)]
