"""The axes, grid lines and tick labels that charts share.

It is not aware of what is drawn. Used by the charts beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from markupsafe import Markup

from edgepack.hub.answers.table import format_moment, format_ns, format_size
from edgepack.hub.web.charts.scale import Scale, unit_ticks
from edgepack.hub.web.charts.svg import label, line

_DAY_MS: Final = 86_400_000
Writer = Callable[[float], str]


def tick_ns(value: float) -> str:
    """Writes a tick of durations: `2.5 ms`, without zeros at its end."""
    return "0" if value == 0 else _trimmed(format_ns(value))


def tick_bytes(value: float) -> str:
    """Writes a tick of sizes."""
    return "0" if value == 0 else _trimmed(format_size(value))


def tick_degrees(value: float) -> str:
    """Writes a tick of thousandths of a degree."""
    return f"{value / 1000:g} °C"


def tick_share(value: float) -> str:
    """Writes a tick of shares, 0 to 1."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def tick_ratio(value: float) -> str:
    """Writes a tick of ratios as a change in percent."""
    text = f"{(value - 1) * 100:+.1f}".removesuffix(".0")
    return "0 %" if text in ("+0", "-0") else f"{text} %"


def ratio_ticks(scale: Scale, wanted: int = 5) -> list[float]:
    """Picks ratios that are whole changes in percent."""
    shifted = Scale((scale.low - 1) * 100, (scale.high - 1) * 100, 0, 1)
    return [each / 100 + 1 for each in shifted.ticks(wanted)]


def value_ticks(scale: Scale, write: Writer, wanted: int = 5) -> list[float]:
    """Picks ticks that are round when written."""
    if write in (tick_ns, tick_bytes):
        return unit_ticks(scale, wanted, _decimal_unit)
    return scale.ticks(wanted)


def left_axis(scale: Scale, write: Writer, left: float, right: float) -> list[Markup]:
    """Draws an axis of values at the left, with grid lines."""
    pieces = []
    for tick in value_ticks(scale, write):
        y = scale.place(tick)
        pieces.append(line(left, y, right, y, "grid"))
        pieces.append(label(left - 6, y + 4, write(tick), anchor="end", style="tick"))
    return pieces


def bottom_axis(
    scale: Scale, write: Writer, top: float, bottom: float, *, ticks: list[float] | None = None
) -> list[Markup]:
    """Draws an axis of values at the bottom, with grid lines."""
    pieces = []
    for tick in value_ticks(scale, write) if ticks is None else ticks:
        x = scale.place(tick)
        pieces.append(line(x, top, x, bottom, "grid"))
        pieces.append(label(x, bottom + 16, write(tick), anchor="middle", style="tick"))
    return pieces


def time_axis(scale: Scale, top: float, bottom: float) -> list[Markup]:
    """Draws an axis of moments at the bottom."""
    ticks = scale.time_ticks()
    within_days = scale.high - scale.low <= 3 * _DAY_MS

    def write(moment_ms: float) -> str:
        text = format_moment(moment_ms)
        return text[5:] if within_days else text[:10]

    return bottom_axis(scale, write, top, bottom, ticks=ticks)


def _trimmed(text: str) -> str:
    number, _, unit = text.partition(" ")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {unit}"


def _decimal_unit(value: float) -> float:
    return next((size for size in (1e9, 1e6, 1e3) if value >= size), 1.0)
