"""How setups are spread over boxes, and what is the best in latency, size and quality.

It is not aware of the store. Used by the comparison's view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from edgepack.hub.answers.compare import Group
from edgepack.hub.answers.spread import Spread
from edgepack.hub.answers.table import format_ns, format_size
from edgepack.hub.answers.words import boxes as boxes_words
from edgepack.hub.web.charts.frame import (
    bottom_axis,
    left_axis,
    tick_bytes,
    tick_ns,
    tick_share,
)
from edgepack.hub.web.charts.scale import Scale, value_scale
from edgepack.hub.web.charts.svg import (
    Drawn,
    drawing,
    element,
    label,
    line,
    shortened,
)

_WIDTH: Final = 640.0
_LEFT: Final = 14.0
_RIGHT: Final = 622.0
_ROW: Final = 46.0
#: The rows beyond are in the table.
_MOST_ROWS: Final = 24
_LABEL_CHARACTERS: Final = 92


def spread_chart(groups: Sequence[Group], title: str) -> Drawn | None:
    """Draws each row's p50 over its boxes: a strip of boxes, a box of quartiles, the median.

    Args:
        groups: The rows, in their order.
        title: What the chart is called.

    Returns:
        The chart, or None where no row has a latency.
    """
    rows = [each for each in groups if each.p50.boxes][:_MOST_ROWS]
    if not rows:
        return None
    values = [
        float(value)
        for each in rows
        for value in (each.p50.minimum, each.p50.maximum)
        if value is not None
    ]
    bottom = 10 + _ROW * len(rows)
    x = value_scale(values, _LEFT, _RIGHT)
    pieces = bottom_axis(x, tick_ns, 4, bottom)
    for i, each in enumerate(rows):
        name = f"{i + 1}. {each.key.label} ({boxes_words(each.boxes)})"
        pieces.append(label(_LEFT, 18 + _ROW * i, shortened(name, _LABEL_CHARACTERS)))
        pieces += _spread(each.p50, x, 34 + _ROW * i)
    text = " ".join(f"{i + 1}. {_spread_words(each)}." for i, each in enumerate(rows))
    legend = (
        ("strip", "boxes: the fuller, the more"),
        ("quartiles", "the middle half of the boxes"),
        ("interval", "holds the median at 99 %"),
    )
    left_out = len([each for each in groups if each.p50.boxes]) - len(rows)
    note = f"{left_out} more are in the table." if left_out else ""
    return Drawn(title, drawing(title, text, _WIDTH, bottom + 26, pieces), legend, note)


def _spread(spread: Spread, x: Scale, y: float) -> list[Markup]:
    most = max((each.boxes for each in spread.bins), default=1)
    pieces = []
    for each in spread.bins:
        left, right = x.place(each.low), x.place(each.high)
        height = 2 + 10 * each.boxes / most
        pieces.append(
            element(
                "rect",
                x=left,
                y=y - height / 2,
                width=max(right - left - 0.5, 2.0),
                height=height,
                style_class="strip",
            )
        )
    low = spread.minimum if spread.p10 is None else spread.p10
    high = spread.maximum if spread.p90 is None else spread.p90
    if low is not None and high is not None:
        pieces.append(line(x.place(low), y, x.place(high), y, "whisker"))
    if spread.p25 is not None and spread.p75 is not None:
        left = x.place(spread.p25)
        width = max(x.place(spread.p75) - left, 1.0)
        pieces.append(
            element("rect", x=left, y=y - 7, width=width, height=14.0, style_class="quartiles")
        )
    if spread.low is not None and spread.high is not None:
        left = x.place(spread.low)
        width = max(x.place(spread.high) - left, 1.0)
        pieces.append(
            element("rect", x=left, y=y - 3, width=width, height=6.0, style_class="interval")
        )
    if spread.median is not None:
        at = x.place(spread.median)
        pieces.append(line(at, y - 9, at, y + 9, "median"))
    return pieces


def _spread_words(group: Group) -> str:
    spread = group.p50
    words = f"{group.key.label}: {boxes_words(spread.boxes)}"
    if spread.median is not None:
        words += f", median {format_ns(spread.median)}"
    if spread.low is not None and spread.high is not None:
        words += f" ({format_ns(spread.low)} to {format_ns(spread.high)})"
    if spread.minimum is not None and spread.maximum is not None:
        words += f", from {format_ns(spread.minimum)} to {format_ns(spread.maximum)}"
    return words


def front_chart(groups: Sequence[Group], score_name: str) -> Drawn | None:
    """Draws latency against quality, or against size where no quality was measured.

    Args:
        groups: Trusted rows, in the order of `spread_chart`.
        score_name: What the quality is, in words.

    Returns:
        The chart, or None where fewer than two rows can be placed.
    """
    by_quality = any(each.score is not None for each in groups)
    rows = [
        (
            i + 1,
            each,
            float(each.p50.median),
            float(each.score or 0 if by_quality else each.size_bytes),
        )
        for i, each in enumerate(groups[:_MOST_ROWS])
        if each.p50.median is not None and (each.score is not None or not by_quality)
    ]
    if len(rows) < 2:  # noqa: PLR2004 - one point is no comparison
        return None
    left, top, bottom = 74.0, 16.0, 250.0
    x = value_scale([latency for _, _, latency, _ in rows], left + 16, _RIGHT - 16)
    y = value_scale([other for *_, other in rows], bottom - 16, top + 12)
    write = tick_share if by_quality else tick_bytes
    pieces = [*bottom_axis(x, tick_ns, top, bottom), *left_axis(y, write, left, _RIGHT)]
    largest = max(each.size_bytes for _, each, _, _ in rows) or 1
    words = []
    named: list[tuple[float, float]] = []
    for number, each, latency, other in rows:
        at = x.place(latency), y.place(other)
        radius = 4 + 8 * (each.size_bytes / largest) ** 0.5 if by_quality else 6.0
        style = "front" if each.on_front else "behind"
        pieces.append(element("circle", cx=at[0], cy=at[1], r=radius, style_class=style))
        named.append(_free_place(at, radius, named))
        pieces.append(label(*named[-1], str(number), anchor="middle"))
        words.append(
            f"{number}. {each.key.label}: {format_ns(latency)}, {format_size(each.size_bytes)}"
            + (f", quality {tick_share(other)}" if by_quality else "")
            + (", on the front." if each.on_front else ".")
        )
    title = f"Latency against {score_name or 'quality'}" if by_quality else "Latency against size"
    legend = (
        ("front", "on the front: no other is better in one and as good in all"),
        ("behind", "another is better"),
    )
    note = "Numbers are those of the chart of spreads; a larger circle is a larger model."
    svg = drawing(title, " ".join(words), _WIDTH, bottom + 26, pieces)
    return Drawn(title, svg, legend, note)


def _free_place(
    at: tuple[float, float], radius: float, taken: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Finds a place for a number beside its circle that no other number has."""
    x, y = at
    away = radius + 9
    places = ((x + away, y + 4), (x - away, y + 4), (x, y - away + 4), (x, y + away + 4))
    for place in places:
        if all(abs(place[0] - other[0]) > 14 or abs(place[1] - other[1]) > 12 for other in taken):  # noqa: PLR2004 - as large as a number
            return place
    return places[0]
