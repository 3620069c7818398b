"""How static int8 candidates are compared, and how a table becomes 8 bits."""

from __future__ import annotations

import numpy as np

from edgepack.build.convert.tflite_head import quantise_symmetric
from edgepack.build.convert.tflite_static import agreement


def test_agreement_of_rankings_is_the_share_of_common_items() -> None:
    scores = np.zeros((2, 10), dtype=np.float32)
    one = np.arange(20, dtype=np.int32).reshape(2, 10)
    other = one.copy()
    other[0, 9] = 99
    assert agreement([scores, one], [scores, other], ranks=True) == 0.95
    assert agreement([scores, one], [scores, one[:, ::-1]], ranks=True) == 1.0


def test_agreement_of_tensors_is_that_of_the_worst_output() -> None:
    one = [np.array([[0.0, 10.0]]), np.array([[0.0, 1.0]])]
    other = [np.array([[0.0, 10.0]]), np.array([[0.0, 0.8]])]
    # A mean distance of 0.1 over a range of 1.
    assert abs(agreement(one, other, ranks=False) - 0.9) < 1e-12


def test_a_table_keeps_its_values_to_half_a_step() -> None:
    table = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    values, scale = quantise_symmetric(table)
    assert values.dtype == np.int8
    assert np.abs(values).max() == 127
    # Half a step, and float32's own rounding.
    assert np.abs(values * scale - table).max() <= scale / 2 * 1.001


def test_a_table_of_zeros_has_a_scale_that_divides() -> None:
    values, scale = quantise_symmetric(np.zeros((3, 4), dtype=np.float32))
    assert scale > 0
    assert not values.any()
