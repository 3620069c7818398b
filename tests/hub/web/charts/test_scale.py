"""Axes and their ticks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.hub.web.charts.frame import (
    ratio_ticks,
    tick_bytes,
    tick_degrees,
    tick_ns,
    tick_ratio,
    tick_share,
    value_ticks,
)
from edgepack.hub.web.charts.scale import Scale, time_scale, value_scale

#: Durations and sizes are whole numbers, shares and ratios have a few digits.
_VALUES = st.lists(st.floats(0, 1e15).map(lambda value: round(value, 6)), min_size=1, max_size=20)


@given(_VALUES, st.booleans())
def test_every_value_has_its_place_within_the_drawing(values: list[float], from_zero: bool) -> None:
    scale = value_scale(values, 200, 10, from_zero=from_zero)
    places = [scale.place(each) for each in values]
    assert all(10 <= each <= 200 for each in places)
    ordered = [place for _, place in sorted(zip(values, places, strict=True))]
    assert all(a >= b - 1e-6 for a, b in pairwise(ordered))
    assert scale.low >= 0


@given(_VALUES, st.booleans())
def test_ticks_are_few_within_the_axis_and_never_missing_twice(
    values: list[float], from_zero: bool
) -> None:
    scale = value_scale(values, 0, 100, from_zero=from_zero)
    for write in (tick_ns, tick_share):
        ticks = value_ticks(scale, write)
        assert len(ticks) <= 12
        assert all(scale.low * 0.999 <= each <= scale.high * 1.001 for each in ticks)
        assert ticks == sorted(set(ticks))


@given(st.lists(st.integers(0, 4_000_000_000_000), min_size=1, max_size=9))
def test_moments_have_few_ticks_whatever_their_span(moments_ms: list[int]) -> None:
    scale = time_scale(moments_ms, 0, 600)
    assert len(scale.time_ticks()) <= 14
    assert all(0 <= scale.place(each) <= 600 for each in moments_ms)


def test_durations_have_ticks_that_are_round_in_their_unit() -> None:
    scale = value_scale([0, 3_000_000], 0, 100, from_zero=True)
    assert [tick_ns(each) for each in value_ticks(scale, tick_ns)] == ["0", "1 ms", "2 ms", "3 ms"]
    far = value_scale([1_000, 900_000_000], 0, 100)
    assert far.logarithmic
    assert "1 ms" in [tick_ns(each) for each in value_ticks(far, tick_ns)]


def test_ratios_have_ticks_that_are_whole_percents() -> None:
    ticks = ratio_ticks(Scale(0.94, 1.11, 0, 100))
    assert [tick_ratio(each) for each in ticks] == ["-5 %", "0 %", "+5 %", "+10 %"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (tick_bytes(0), "0"),
        (tick_bytes(20_000_000), "20 MB"),
        (tick_degrees(52_500), "52.5 °C"),
        (tick_share(0.9960), "0.996"),
        (tick_ratio(0.975), "-2.5 %"),
    ],
)
def test_ticks_are_short(text: str, words: str) -> None:
    assert text == words
