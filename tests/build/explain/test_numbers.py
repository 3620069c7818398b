"""Errors, damage and times as numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgepack.build.explain.damage import damage
from edgepack.build.explain.errors import EXACT_DB, ErrorSums, Grid, decibels
from edgepack.build.explain.timing import Span, median_span, runs, shared_out

GRID = Grid(np.array([0.5]), np.array([0.0]), -4, 3)


def test_values_beyond_a_grid_count_as_saturated_and_levels_are_those_in_use() -> None:
    sums = ErrorSums(GRID)
    sums.add(np.array([0.0, 0.5, 0.5, 9.0]), None)
    found = sums.figures()
    assert found.saturated == 0.25
    # 0, 1 and the end of the grid.
    assert (found.levels, found.levels_possible) == (3, 8)
    assert found.sqnr_db is None
    # Only 9.0 is off, by 7.5.
    expected = 10 * math.log10((0.25 + 0.25 + 81) / 7.5**2)
    assert found.own_sqnr_db == pytest.approx(expected)


def test_scales_for_each_channel_are_used_along_their_axis() -> None:
    grid = Grid(np.array([1.0, 10.0]), np.array([0.0, 0.0]), -128, 127, axis=1)
    values = np.array([[3.0, 30.0], [4.0, 40.0]])
    np.testing.assert_array_equal(grid.rounded(values), values)
    np.testing.assert_array_equal(grid.places(values), [[3, 3], [4, 4]])


def test_an_exact_tensor_has_the_highest_ratio_and_a_silent_one_the_lowest() -> None:
    assert decibels(1.0, 0.0) == EXACT_DB
    assert decibels(0.0, 1.0) == -EXACT_DB


def test_what_is_not_a_number_is_an_error_and_not_a_gap() -> None:
    sums = ErrorSums()
    sums.add(np.array([1.0, 2.0]), np.array([1.0, np.nan]))
    found = sums.figures()
    assert found.sqnr_db is not None
    assert found.sqnr_db <= -100
    assert found.own_sqnr_db is None


def test_a_rankings_damage_is_what_is_missing_of_the_best_ten() -> None:
    items = np.tile(np.arange(20, dtype=np.int32), (2, 1))
    scores = np.zeros((2, 20), np.float32)
    other = items.copy()
    # One of the first row's ten is another item, and not the best.
    other[0, 9] = 77
    found = damage([scores, items], [scores, other], ranks=True)
    assert found.lost == pytest.approx(0.05)
    assert found.first_changed == 0.0
    assert found.largest is None
    assert found.lost_error == pytest.approx(1.96 * 0.05, rel=1e-3)


def test_a_tensor_models_damage_is_of_the_output_that_suffers_most() -> None:
    one, two = np.array([[0.0, 1.0], [2.0, 4.0]]), np.array([[0.0], [1.0]])
    found = damage([one, two], [one, two + 0.5], ranks=False)
    assert found.lost == pytest.approx(0.5)
    assert found.first_changed is None
    assert found.largest == pytest.approx(0.5)


def test_a_damage_goes_through_json() -> None:
    from edgepack.build.explain.explanation import damage_from_json

    found = damage([np.eye(3)], [np.eye(3) + 0.125], ranks=False)
    assert damage_from_json(found.to_json()) == found


def test_a_median_lies_inside_its_interval_and_outliers_do_not_move_it() -> None:
    found = median_span([1.0] * 30 + [1000.0] * 5)
    assert (found.ns, found.low_ns, found.high_ns) == (1.0, 1.0, 1.0)


def test_cuts_lie_behind_each_layer_and_the_shortest_go_first() -> None:
    layers = ["a", "a", "b", "c", "c", "c"]
    assert runs(layers, 10) == [2, 3, 6]
    assert runs(layers, 2) == [3, 6]
    assert runs(layers, 1) == [6]


def test_a_piece_of_several_layers_is_shared_by_operators() -> None:
    layers = ["a", "b", "b", "b", "a"]
    spans = [Span(40.0, 36.0, 44.0), Span(5.0, 4.0, 6.0)]
    found = shared_out(layers, [4, 5], spans)
    assert found["a"] == Span(15.0, 13.0, 17.0)
    assert found["b"] == Span(30.0, 27.0, 33.0)
