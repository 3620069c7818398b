from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgepack.build.data.baselines import markov_metrics, popularity_metrics
from edgepack.build.data.interactions import Interactions
from edgepack.build.data.sequences import make_sequences
from edgepack.build.data.synthetic import SyntheticShop, generate_interactions

SMALL = SyntheticShop(sessions=800, items=60, seed=3)


def digest(interactions: Interactions) -> str:
    return hashlib.sha256(
        interactions.sessions.astype("<i4").tobytes() + interactions.items.astype("<i4").tobytes()
    ).hexdigest()


def test_the_same_seed_gives_the_same_shop_on_every_platform() -> None:
    expected = "800ba9facb90dc608af2779a47d708ce76719e4c09374b263637a76817d20c71"
    assert digest(generate_interactions(SMALL)) == expected


@pytest.mark.parametrize(
    "other",
    [
        SyntheticShop(sessions=800, items=60, seed=4),
        SyntheticShop(sessions=801, items=60, seed=3),
        SyntheticShop(sessions=800, items=61, seed=3),
    ],
)
def test_another_seed_or_size_gives_another_shop_and_key(other: SyntheticShop) -> None:
    assert digest(generate_interactions(other)) != digest(generate_interactions(SMALL))
    assert other.to_key() != SMALL.to_key()


def test_item_ids_look_like_a_shops() -> None:
    assert generate_interactions(SMALL).item_ids[41] == "sku-00042"


def test_the_shop_has_sequential_structure_and_skewed_popularity() -> None:
    sequences = make_sequences(generate_interactions(SyntheticShop()))
    assert markov_metrics(sequences).hr > 5 * popularity_metrics(sequences).hr
    counts = sequences.counts(0)[1:]
    assert counts[0] > 5 * np.median(counts)
    assert len(sequences.vocabulary) == 500


def test_sessions_have_many_lengths() -> None:
    lengths = np.bincount(generate_interactions(SMALL).sessions)
    assert lengths.min() == 2
    assert lengths.max() > 20
