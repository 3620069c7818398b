"""Golden rows are spread over every length, the same ones every time."""

from __future__ import annotations

import numpy as np

from edgepack.build.quality.golden import TOLERANCES, spread_rows, tolerance_of
from edgepack.formats.variants import Precision


def _histories(
    lengths: list[int], width: int = 6
) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    rows = np.zeros((len(lengths), width), np.int32)
    for row, length in enumerate(lengths):
        rows[row, width - length :] = 1
    return rows


def test_the_shortest_and_the_longest_are_among_them() -> None:
    lengths = [3, 1, 6, 2, 5, 4]
    chosen = spread_rows(_histories(lengths), 3)
    assert [lengths[row] for row in chosen] == [1, 3, 6]


def test_few_rows_are_all_taken_once() -> None:
    assert sorted(spread_rows(_histories([2, 2, 2]), 16).tolist()) == [0, 1, 2]


def test_every_precision_has_a_tolerance_that_grows_as_it_falls() -> None:
    assert set(TOLERANCES) == set(Precision)
    order = (Precision.FP32, Precision.FP16, Precision.DYNAMIC_INT8, Precision.STATIC_INT8)
    values = [TOLERANCES[each] for each in order]
    assert values == sorted(values)


def test_the_tolerance_is_a_share_of_the_widest_spread() -> None:
    narrow, wide = np.array([[1.0, 2.0]]), np.array([[-30.0, 70.0]])
    assert tolerance_of(Precision.FP32, [narrow, wide]) == 0.1


def test_constant_outputs_still_have_a_tolerance() -> None:
    assert tolerance_of(Precision.FP32, [np.ones((2, 2))]) == 0.001
