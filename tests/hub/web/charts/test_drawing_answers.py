"""Charts of answers: nothing, one point, equal values, more than fit, texts that would run."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from edgepack.hub.answers.changes import Change, Measure, change_of
from edgepack.hub.answers.compare import CompareAnswer, CompareQuery, Group, compare
from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.answers.trust import Standing
from edgepack.hub.web.charts.changing import forest_chart
from edgepack.hub.web.charts.comparing import front_chart, spread_chart
from edgepack.hub.web.charts.scale import time_scale, value_scale
from edgepack.hub.web.charts.svg import Drawn
from tests.hub.answers.rows import CONTEXT, many, setup
from tests.hub.web.reading import read_page


def _groups(rows: list[StandingRow], *variants: str) -> tuple[Group, ...]:
    setups = {i + 1: setup(i + 1, name) for i, name in enumerate(variants)}
    answer: CompareAnswer = compare(CompareQuery(), CONTEXT, rows, setups)
    return (answer.groups or {})[Standing.TRUSTED]


def _change(before: list[int], after: list[int], box: str = "Pi") -> Change:
    context = replace(CONTEXT, box=box)
    sides = (np.array(each, dtype=np.int64) for each in (before, after))
    return change_of(context, Standing.TRUSTED, Measure.P50, *sides)


def _sound(drawn: Drawn | None) -> str:
    """Checks that a chart is well-formed, of finite numbers, within its frame."""
    assert drawn is not None
    page = read_page(str(drawn.svg))
    assert page.unclosed == []
    assert not page.all("script")
    assert not re.search(r"\b(nan|inf|None)\b", str(drawn.svg))
    _, _, width, height = map(float, page.all("svg")[0]["viewbox"].split())
    for name, attributes in page.elements:
        for key, most in (("x", width), ("x1", width), ("cx", width), ("y1", height)):
            if key in attributes:
                assert 0 <= float(attributes[key]) <= most, (name, key)
        assert float(attributes.get("width", 1)) > 0
    return page.text


def test_nothing_draws_nothing() -> None:
    assert spread_chart((), "T") is None
    assert front_chart((), "") is None
    assert forest_chart((), "T") is None
    assert spread_chart(_groups(many(1, []), "a-b"), "T") is None


def test_changes_without_a_ratio_draw_nothing() -> None:
    assert forest_chart([_change([1] * 7, [2] * 7)], "T") is None


def test_one_box_is_a_strip_without_a_median() -> None:
    drawn = spread_chart(_groups(many(1, [1_000_000]), "tflite-fp32"), "T")
    assert "1 box, from 1.00 ms to 1.00 ms." in _sound(drawn)
    assert drawn is not None
    assert 'class="median"' not in str(drawn.svg)


@pytest.mark.parametrize("value", [0, 1, 10**6, 2**53])
def test_equal_values_still_have_an_axis(value: int) -> None:
    groups = _groups([*many(1, [value] * 20), *many(2, [value] * 20)], "a-x", "b-y")
    _sound(spread_chart(groups, "T"))
    _sound(front_chart(groups, "quality"))
    scale = value_scale([value, value], 0, 100)
    assert scale.low < scale.high
    assert time_scale([value], 0, 100).low < time_scale([value], 0, 100).high


def test_one_point_is_no_comparison() -> None:
    assert front_chart(_groups(many(1, [5] * 20), "a-x"), "quality") is None


def test_values_far_apart_and_zero_are_both_placed() -> None:
    _sound(spread_chart(_groups(many(1, [0, 1, 10**15] * 9), "a-x"), "T"))


@pytest.mark.parametrize("after", [1000, 1001, 10**9, 1])
def test_a_change_is_placed_beside_the_line_of_no_change(after: int) -> None:
    text = _sound(forest_chart([_change([1000] * 9, [after] * 9)], "T"))
    assert "on 9 boxes" in text


def test_more_rows_than_fit_are_counted_below() -> None:
    drawn = forest_chart([_change([1000] * 9, [1100] * 9)] * 33, "T")
    _sound(drawn)
    assert drawn is not None
    assert drawn.note == "3 more are in the table."
    rows = [row for i in range(26) for row in many(i + 1, [1000 + i] * 9)]
    spread = spread_chart(_groups(rows, *(f"v{i}-x" for i in range(26))), "T")
    assert spread is not None
    assert spread.note == "2 more are in the table."


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "</text></svg><b>", '"><img src=x>', "\u202e", "w" * 999]
)
def test_a_hostile_text_stays_a_text(text: str) -> None:
    shown = _sound(forest_chart([_change([1000] * 9, [1100] * 9, text)], text))
    assert text in shown
    groups = _groups([*many(1, [5] * 9), *many(2, [6] * 9)], f"a-{text}", "b-y")
    assert text in _sound(spread_chart(groups, text))
    assert text in _sound(front_chart(groups, text))
