"""A box over time: lines with the releases marked.

It is not aware of the store. Used by the device's view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from markupsafe import Markup

from edgepack.hub.answers.device import BoxPoint, DeviceAnswer, ReleaseChange, Series
from edgepack.hub.answers.table import (
    Unit,
    format_cell,
    format_moment,
    format_ns,
    format_size,
)
from edgepack.hub.answers.trust import Standing
from edgepack.hub.answers.words import fact_title, flat_facts
from edgepack.hub.web.charts.frame import (
    Writer,
    left_axis,
    tick_bytes,
    tick_degrees,
    tick_ns,
    time_axis,
)
from edgepack.hub.web.charts.scale import Scale, time_scale, value_scale
from edgepack.hub.web.charts.svg import (
    Drawn,
    drawing,
    element,
    label,
    line,
    polyline,
    shortened,
)

_WIDTH: Final = 640.0
_HEIGHT: Final = 230.0
_LEFT: Final = 64.0
_RIGHT: Final = 628.0
_TOP: Final = 26.0
_BOTTOM: Final = 200.0
#: With more points a mark for each would hide the line.
_MOST_MARKS: Final = 150
#: A device with more ways of measuring has the others in its table.
_MOST_SERIES: Final = 4
_MOST_RELEASES: Final = 12
_MOST_FACTS: Final = 4
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class _Point:
    at_ms: float
    value: float
    marked: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """One figure over time: its style class, its name, its points."""

    style: str
    name: str
    points: tuple[_Point, ...]


def device_charts(answer: DeviceAnswer) -> tuple[Drawn, ...]:
    """Draws a box's latency, cold start, memory and temperature over time.

    Args:
        answer: The box.

    Returns:
        The charts; a figure that no report has is left out.
    """
    latency = (_latency(each, answer) for each in answer.series[:_MOST_SERIES])
    box = (
        _of_box("Start to ready", answer, tick_ns, format_ns, _take("ready_ns")),
        _of_box("Memory, peak", answer, tick_bytes, format_size, _take("rss_peak_bytes")),
        _temperature(answer),
    )
    return tuple(each for each in (*latency, *box) if each is not None)


def _take(name: str) -> Callable[[BoxPoint], int | None]:
    return lambda point: getattr(point, name)


def _latency(series: Series, answer: DeviceAnswer) -> Drawn | None:
    lines = []
    for style, name, field in (("s1", "p50", "p50_ns"), ("s2", "p99", "p99_ns")):
        days = (
            _Point(each.day * _DAY_MS + _DAY_MS / 2, getattr(each, field))
            for each in series.days
            if getattr(each, field) is not None
        )
        points = (
            _Point(each.created_ms, getattr(each, field), each.trust is not Standing.TRUSTED)
            for each in series.points
            if getattr(each, field) is not None
        )
        lines.append(_Line(style, name, (*days, *points)))
    context = series.context
    title = f"Latency, {context.scenario.replace('_', ' ')}, {context.model} on {context.box}"
    drawn = _drawn(title, lines, answer.changes, write=tick_ns, say=format_ns, marks="not trusted")
    return None if drawn is None else replace(drawn, note=_what_differs(series, answer.series))


def _what_differs(series: Series, others: Sequence[Series]) -> str:
    """Says what tells a chart from those of the same scenario."""
    own = flat_facts(series.context.facts)
    alike = [
        flat_facts(each.context.facts)
        for each in others
        if each.context.scenario == series.context.scenario
    ]
    differing = [path for path in own if any(each.get(path) != own[path] for each in alike)]
    return ", ".join(f"{fact_title(path)} {own[path]}" for path in differing[:_MOST_FACTS])


def _of_box(
    title: str,
    answer: DeviceAnswer,
    write: Writer,
    say: Writer,
    take: Callable[[BoxPoint], int | None],
) -> Drawn | None:
    lines = [_Line("s1", title, _points(answer.box, take))]
    return _drawn(title, lines, answer.changes, write=write, say=say)


def _temperature(answer: DeviceAnswer) -> Drawn | None:
    lines = [
        _Line("s1", "after", _points(answer.box, _take("temperature_mc"), throttled=True)),
        _Line("s2", "before", _points(answer.box, _take("temperature_before_mc"))),
    ]

    def say(value: float) -> str:
        return format_cell(value, Unit.TEMPERATURE_MC)

    return _drawn(
        "Temperature, before and after the benchmark",
        lines,
        answer.changes,
        write=tick_degrees,
        say=say,
        marks="throttled",
        from_zero=False,
    )


def _points(
    box: Iterable[BoxPoint], take: Callable[[BoxPoint], int | None], *, throttled: bool = False
) -> tuple[_Point, ...]:
    return tuple(
        _Point(each.created_ms, value, throttled and bool(each.throttled))
        for each in box
        if (value := take(each)) is not None
    )


def _drawn(
    title: str,
    lines: Sequence[_Line],
    changes: Sequence[ReleaseChange],
    *,
    write: Writer,
    say: Writer,
    marks: str = "",
    from_zero: bool = True,
) -> Drawn | None:
    lines = [each for each in lines if each.points]
    points = [point for each in lines for point in each.points]
    if not points:
        return None
    x = time_scale((each.at_ms for each in points), _LEFT, _RIGHT)
    y = value_scale((each.value for each in points), _BOTTOM, _TOP, from_zero=from_zero)
    pieces = [*left_axis(y, write, _LEFT, _RIGHT), *time_axis(x, _TOP, _BOTTOM)]
    pieces += _releases(changes, x)
    marked = False
    for each in reversed(lines):
        places = [(x.place(point.at_ms), y.place(point.value)) for point in each.points]
        pieces.append(polyline(places, f"line {each.style}"))
        for (left, top), point in zip(places, each.points, strict=True):
            if point.marked:
                marked = True
                pieces.append(_cross(left, top))
            elif len(places) <= _MOST_MARKS:
                pieces.append(element("circle", cx=left, cy=top, r=2.2, style_class=each.style))
    legend = [(each.style, each.name) for each in lines if each.name != title]
    if marked:
        legend.append(("bad", f"crossed: {marks}"))
    text = _words(lines, changes, say)
    return Drawn(title, drawing(title, text, _WIDTH, _HEIGHT, pieces), tuple(legend))


def _releases(changes: Sequence[ReleaseChange], x: Scale) -> list[Markup]:
    """Marks when another release came; a name that would lie over the last one is left out."""
    pieces = []
    free = 0.0
    for each in changes[-_MOST_RELEASES:]:
        if each.before is None or not x.low <= each.created_ms <= x.high:
            continue
        at = x.place(each.created_ms)
        pieces.append(line(at, _TOP - 6, at, _BOTTOM, "release"))
        name = shortened(each.release.version, 12)
        half = 3.6 * len(name)
        if at - half >= free:
            middle = min(at, _RIGHT - half)
            pieces.append(label(middle, _TOP - 10, name, anchor="middle", style="tick"))
            free = at + half + 4
    return pieces


def _cross(x: float, y: float) -> Markup:
    path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
    return element("path", d=path, style_class="cross")


def _words(lines: Sequence[_Line], changes: Sequence[ReleaseChange], say: Writer) -> str:
    """Says what the chart shows: from when to when, the range, the last value, the releases."""
    first = min(each.points[0].at_ms for each in lines)
    last = max(each.points[-1].at_ms for each in lines)
    sentences = [f"From {format_moment(first)} to {format_moment(last)}."]
    for each in lines:
        values = [point.value for point in each.points]
        sentences.append(
            f"{each.name}: {len(values)} values from {say(min(values))} to {say(max(values))}, "
            f"the last {say(values[-1])}."
        )
    came = [
        f"{each.release.version} at {format_moment(each.created_ms)}"
        for each in changes[-_MOST_RELEASES:]
        if each.before is not None
    ]
    if came:
        sentences.append(f"Releases: {', '.join(came)}.")
    return " ".join(sentences)
