"""Cuts sequences into training examples.

Not aware of models or TensorFlow. May be imported by `edgepack.build.training`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepack.build.data.sequences import Sequences, gather

IntArray = NDArray[np.int32]


def windows(
    sequences: Sequences, held_out: int, length: int, random: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Windows over every sequence, to learn the next item at every position.

    A sequence longer than a window is cut into several: one at its end, and before it windows
    whose ends fall at a new random place on each call, so that over the epochs each event is
    learnt with histories of many lengths.

    Args:
        sequences: All sequences.
        held_out: Events at the end of each sequence that may not be learnt from.
        length: Items in a window, L.
        random: Where the windows fall.

    Returns:
        int32[n, L] histories, left-padded with 0, and int32[n, L] the item after each
        position, 0 where there is nothing to learn.
    """
    starts = sequences.offsets[:-1]
    lasts = sequences.offsets[1:] - held_out - 1
    phase = random.integers(1, length + 1, size=len(starts))
    # One window at the end; the others, `length` apart, need at least one target of their own.
    extra = np.maximum(0, -(-(lasts - starts - phase) // length))
    row = np.repeat(np.arange(len(starts)), extra + 1)
    step = np.arange(len(row)) - np.repeat(np.cumsum(extra + 1) - (extra + 1), extra + 1)
    back = np.where(step == 0, 0, phase[row] + (step - 1) * length)
    ends = lasts[row] - back
    history = gather(sequences.items, starts[row], ends, length)
    following = gather(sequences.items, starts[row] + 1, ends + 1, length)
    learnt = (history > 0).any(axis=1)
    return history[learnt], np.where(history > 0, following, 0)[learnt]


def prefixes(sequences: Sequences, held_out: int, length: int) -> tuple[IntArray, IntArray]:
    """Every event but the first of each sequence as a target, with what came before it.

    Args:
        sequences: All sequences.
        held_out: Events at the end of each sequence that may not be learnt from.
        length: Items in a history, L.

    Returns:
        int32[n, L] histories, left-padded with 0, and int32[n, 1] targets.
    """
    target = sequences.known(held_out)
    target[sequences.offsets[:-1]] = False
    places = np.flatnonzero(target)
    row = np.searchsorted(sequences.offsets, places, side="right") - 1
    history = gather(sequences.items, sequences.offsets[row], places, length)
    return history, sequences.items[places][:, None]
