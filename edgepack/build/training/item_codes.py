"""Codes for the items of a trained table: additive quantisation, by what is asked for most.

An item's vector and the number added to its score are quantised together, as one row. Rows are
first coded greedily, list by list, each list clustering what the ones before left over; then
lists and codes are improved in turn. Popular items count for more. Everything goes through the
catalogue a stretch of rows at a time, so memory is some copies of the table and no more. Not
aware of models. May be imported by `edgepack.build.training`.

Source: Babenko and Lempitsky 2014, "Additive quantization for extreme vector compression";
Martinez et al. 2016, "Revisiting additive quantization", for the improving in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
CodeArray = NDArray[np.uint8]

PARTS: Final = 256
#: What an item counts grows with the square root of how often it was bought: found best on
#: online_retail among none, the root, the count itself and its power of 1.5.
_WEIGHT_POWER: Final = 0.5
#: The added number is one column among d; an error in it moves a score as one in any direction
#: of the state does, which is longer than 1.
_BIAS_WEIGHT: Final = 3.0
_CLUSTER_PASSES: Final = 15
_IMPROVING_PASSES: Final = 6
#: 20,000 x 256 distances are 20 MB.
_ROWS_AT_ONCE: Final = 20_000
#: Keeps the least-squares problem solvable where a part has no item.
_RIDGE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class ItemCodes:
    """A table in codes.

    Attributes:
        codes: uint8[m, items].
        parts: float32[m * 256, d].
        part_scores: float32[m * 256].
    """

    codes: CodeArray
    parts: FloatArray
    part_scores: FloatArray


def code_items(
    table: FloatArray, bias: FloatArray, counts: NDArray[np.int64], codes: int
) -> ItemCodes:
    """Codes a trained table, without padding.

    Args:
        table: float32[items, d].
        bias: float32[items], what is added to each item's score.
        counts: int64[items], how often each was seen.
        codes: Codes an item, m.
    """
    weights = np.power(counts + 1.0, _WEIGHT_POWER)
    # Parts are sums, so the mean of the added numbers is kept apart and given to one list.
    mean = float(bias.mean())
    # One of a constant table, or of constant numbers, is any: nothing is to be kept apart.
    scale = _BIAS_WEIGHT * float(table.std()) / (float(bias.std()) or 1.0) or 1.0
    rows = np.concatenate([table, (bias[:, None] - mean) * scale], axis=1).astype(np.float32)
    found, lists = greedy_codes(rows, codes, weights)
    for _ in range(_IMPROVING_PASSES):
        lists = fit_lists(rows, found, weights)
        found = improved_codes(rows, found, lists)
    lists = fit_lists(rows, found, weights)
    part_scores = lists[:, :, -1] / scale
    part_scores[0] += mean
    parts = np.ascontiguousarray(lists[:, :, :-1]).reshape(codes * PARTS, -1)
    return ItemCodes(found, parts, part_scores.reshape(-1).astype(np.float32))


def sum_of_parts(codes: CodeArray, lists: FloatArray) -> FloatArray:
    """What rows are put together to.

    Args:
        codes: uint8[m, rows].
        lists: float32[m, 256, width].

    Returns:
        float32[rows, width].
    """
    total = np.zeros((codes.shape[1], lists.shape[2]), dtype=np.float32)
    for code, parts in zip(codes, lists, strict=True):
        total += parts[code]
    return total


def greedy_codes(
    rows: FloatArray, codes: int, weights: NDArray[np.float64]
) -> tuple[CodeArray, FloatArray]:
    """Clusters the rows, then what that leaves over, and so on.

    Args:
        rows: float32[items, width].
        codes: How often, m.
        weights: float64[items], positive; clusters start at the heaviest.

    Returns:
        uint8[m, items] and float32[m, 256, width].
    """
    left = rows.copy()
    found = np.empty((codes, len(rows)), dtype=np.uint8)
    lists = np.empty((codes, PARTS, rows.shape[1]), dtype=np.float32)
    for number in range(codes):
        found[number], lists[number] = _cluster(left, weights)
        left -= lists[number][found[number]]
    return found, lists


def fit_lists(rows: FloatArray, codes: CodeArray, weights: NDArray[np.float64]) -> FloatArray:
    """The lists that put the rows together best, given their codes: weighted least squares.

    Args:
        rows: float32[items, width].
        codes: uint8[m, items].
        weights: float64[items].

    Returns:
        float32[m, 256, width].
    """
    count = len(codes) * PARTS
    places = codes.astype(np.int64) + np.arange(len(codes))[:, None] * PARTS
    both = np.zeros(count * count)
    right = np.zeros((count, rows.shape[1]))
    for one in range(len(codes)):
        weighted = (rows * weights[:, None]).astype(np.float64)
        np.add.at(right, places[one], weighted)
        for other in range(len(codes)):
            pair = places[one] * count + places[other]
            both += np.bincount(pair, weights=weights, minlength=count * count)
    system = both.reshape(count, count)
    system[np.diag_indices(count)] += _RIDGE * float(weights.mean())
    solved = np.linalg.solve(system, right)
    return solved.reshape(len(codes), PARTS, -1).astype(np.float32)


def improved_codes(rows: FloatArray, codes: CodeArray, lists: FloatArray) -> CodeArray:
    """Chooses each code anew, the others held, in turn; never worse.

    Args:
        rows: float32[items, width].
        codes: uint8[m, items].
        lists: float32[m, 256, width].
    """
    found = codes.copy()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        piece = slice(start, start + _ROWS_AT_ONCE)
        left = rows[piece] - sum_of_parts(found[:, piece], lists)
        for number, parts in enumerate(lists):
            left += parts[found[number, piece]]
            found[number, piece], _ = _nearest(left, parts)
            left -= parts[found[number, piece]]
    return found


def _cluster(values: FloatArray, weights: NDArray[np.float64]) -> tuple[CodeArray, FloatArray]:
    """Lloyd's algorithm with 256 centres; an empty cluster starts anew at the worst value."""
    start = np.argsort(-weights, kind="stable")[:PARTS]
    centres = np.resize(values[start], (PARTS, values.shape[1])).astype(np.float32)
    nearest, distance = _nearest(values, centres)
    for _ in range(_CLUSTER_PASSES):
        members = np.bincount(nearest, weights=weights, minlength=PARTS)
        for axis in range(values.shape[1]):
            total = np.bincount(nearest, weights=weights * values[:, axis], minlength=PARTS)
            centres[:, axis] = total / np.where(members > 0, members, 1.0)
        empty = np.flatnonzero(members == 0)[: len(values)]
        if len(empty):
            centres[empty] = values[np.argsort(-distance * weights, kind="stable")[: len(empty)]]
        nearest, distance = _nearest(values, centres)
    return nearest, centres


def _nearest(values: FloatArray, centres: FloatArray) -> tuple[CodeArray, FloatArray]:
    """uint8[rows], the nearest centre, and float32[rows], its squared distance."""
    nearest = np.empty(len(values), dtype=np.uint8)
    distance = np.empty(len(values), dtype=np.float32)
    norms = (centres * centres).sum(axis=1)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        piece = slice(start, start + _ROWS_AT_ONCE)
        rows = values[piece]
        far = norms - 2.0 * (rows @ centres.T)
        best = far.argmin(axis=1)
        nearest[piece] = best
        distance[piece] = far[np.arange(len(rows)), best] + (rows * rows).sum(axis=1)
    return nearest, distance
