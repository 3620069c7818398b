"""What a release changed: each ratio with its interval, beside the line of no change.

It is not aware of the store. Used by the release's view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgepack.hub.answers.changes import Change, Measure, Verdict
from edgepack.hub.web.charts.frame import bottom_axis, ratio_ticks, tick_ratio
from edgepack.hub.web.charts.scale import value_scale
from edgepack.hub.web.charts.svg import Drawn, drawing, element, label, line, shortened

_WIDTH: Final = 640.0
_LEFT: Final = 14.0
_RIGHT: Final = 622.0
_ROW: Final = 58.0
_MOST_ROWS: Final = 30
_LABEL_CHARACTERS: Final = 92
#: The axis always reaches this far, so that a small change looks small.
_LEAST: Final = (0.95, 1.05)
_STYLES: Final = {
    Verdict.SLOWER: "worse",
    Verdict.FASTER: "better",
    Verdict.NOT_SHOWN: "same",
    Verdict.TOO_FEW: "same",
}


def forest_chart(changes: Sequence[Change], title: str) -> Drawn | None:
    """Draws changes with their intervals, in their order.

    Args:
        changes: Regressions first.
        title: What the chart is called.

    Returns:
        The chart, or None where no change has a ratio.
    """
    placed = [(each, each.ratio) for each in changes if each.ratio is not None]
    rows = placed[:_MOST_ROWS]
    if not rows:
        return None
    values = [*_LEAST]
    for each, ratio in rows:
        values += [value for value in (each.low, ratio, each.high) if value is not None]
    bottom = 10 + _ROW * len(rows)
    x = value_scale(values, _LEFT, _RIGHT)
    ticks = x.ticks() if x.logarithmic else ratio_ticks(x)
    pieces = bottom_axis(x, tick_ratio, 4, bottom, ticks=ticks)
    pieces.append(line(x.place(1), 4, x.place(1), bottom, "unchanged"))
    for i, (each, ratio) in enumerate(rows):
        y = 48 + _ROW * i
        style = _STYLES[each.verdict]
        words = shortened(f"{_name(each)}: {each.words}", _LABEL_CHARACTERS)
        box = shortened(each.context.box, _LABEL_CHARACTERS)
        pieces.append(label(_LEFT, y - 28, words, style="label strong"))
        pieces.append(label(_LEFT, y - 12, box, style="tick"))
        if each.low is not None and each.high is not None:
            left, right = x.place(each.low), x.place(each.high)
            pieces.append(line(left, y, right, y, f"reach {style}"))
            pieces += [line(at, y - 5, at, y + 5, f"reach {style}") for at in (left, right)]
        at = x.place(ratio)
        pieces.append(
            element("rect", x=at - 4, y=y - 4, width=8.0, height=8.0, style_class=f"dot {style}")
        )
    text = " ".join(f"{_name(each)}, {each.context.box}: {each.words}." for each, _ in rows)
    legend = (
        ("worse", "slower"),
        ("same", "no difference shown"),
        ("better", "faster"),
    )
    left_out = len(placed) - len(rows)
    note = f"{left_out} more are in the table." if left_out else ""
    return Drawn(title, drawing(title, text, _WIDTH, bottom + 26, pieces), legend, note)


def _name(change: Change) -> str:
    measure = change.measure.replace("_", " ")
    if change.measure is Measure.COLD_START:
        return measure
    return f"{measure}, {change.context.scenario.replace('_', ' ')}"
