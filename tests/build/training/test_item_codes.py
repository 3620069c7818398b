"""Codes for a table's items."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edgepack.build.training.item_codes import (
    PARTS,
    CodeArray,
    FloatArray,
    code_items,
    fit_lists,
    greedy_codes,
    improved_codes,
    sum_of_parts,
)


def _error(rows: FloatArray, codes: CodeArray, lists: FloatArray) -> float:
    return float(np.square(rows - sum_of_parts(codes, lists)).mean())


def test_a_catalogue_smaller_than_a_list_is_kept_exactly() -> None:
    table = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    bias = np.linspace(-3.0, 3.0, 40, dtype=np.float32)
    found = code_items(table, bias, np.arange(40), 2)
    places = found.codes.astype(np.int64) + np.arange(2)[:, None] * PARTS
    # The ridge draws parts to zero by about a thousandth.
    assert found.parts[places].sum(axis=0) == pytest.approx(table, abs=0.02)
    assert found.part_scores[places].sum(axis=0) == pytest.approx(bias, abs=0.02)


def test_items_that_nobody_bought_and_equal_scores_are_no_trouble() -> None:
    table = np.zeros((300, 4), dtype=np.float32)
    found = code_items(table, np.zeros(300, dtype=np.float32), np.zeros(300, dtype=np.int64), 3)
    assert found.codes.shape == (3, 300)
    assert np.isfinite(found.parts).all()
    assert np.isfinite(found.part_scores).all()


def test_each_step_puts_rows_together_no_worse() -> None:
    rows = np.random.default_rng(1).normal(size=(2_000, 8)).astype(np.float32)
    even = np.ones(len(rows))
    codes, lists = greedy_codes(rows, 2, even)
    errors = [_error(rows, codes, lists)]
    for _ in range(2):
        lists = fit_lists(rows, codes, even)
        errors.append(_error(rows, codes, lists))
        codes = improved_codes(rows, codes, lists)
        errors.append(_error(rows, codes, lists))
    assert all(later <= before * 1.0001 for before, later in pairwise(errors))
    assert errors[-1] < 0.97 * errors[0]


def test_more_codes_keep_more() -> None:
    rows = np.random.default_rng(2).normal(size=(1_500, 8)).astype(np.float32)
    even = np.ones(len(rows))
    errors = [_error(rows, *greedy_codes(rows, codes, even)) for codes in (1, 2, 4)]
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


def test_popular_items_are_kept_better() -> None:
    rows = np.random.default_rng(3).normal(size=(2_000, 8)).astype(np.float32)
    weights = np.where(np.arange(2_000) < 500, 30.0, 1.0)
    codes, lists = greedy_codes(rows, 2, weights)
    off = np.square(rows - sum_of_parts(codes, lists)).mean(axis=1)
    assert off[:500].mean() < 0.8 * off[500:].mean()


def test_the_same_table_gives_the_same_codes() -> None:
    table = np.random.default_rng(4).normal(size=(600, 4)).astype(np.float32)
    one, two = (code_items(table, table[:, 0], np.arange(600), 2) for _ in range(2))
    assert np.array_equal(one.codes, two.codes)
    assert np.array_equal(one.parts, two.parts)
