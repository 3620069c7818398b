"""Small logs for the tests of data, splits and baselines."""

from __future__ import annotations

import numpy as np

from edgepack.build.data.interactions import Interactions
from edgepack.build.data.sequences import Sequences, make_sequences


def interactions_of(*sessions: str) -> Interactions:
    """One session for each text, one event for each letter."""
    letters = "".join(sessions)
    ids = tuple(dict.fromkeys(letters))
    return Interactions(
        sessions=np.repeat(np.arange(len(sessions)), [len(s) for s in sessions]).astype(np.int32),
        items=np.array([ids.index(letter) for letter in letters], dtype=np.int32),
        item_ids=ids,
        session_count=len(sessions),
        rows_read=len(letters),
        dropped={},
        source="letters",
    )


def sequences_of(*sessions: str) -> Sequences:
    """The same, as sequences."""
    return make_sequences(interactions_of(*sessions))
