from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.build.data.baselines import MarkovChain, markov_metrics, popularity_metrics
from edgepack.build.data.conditions import parse_condition
from edgepack.build.data.interactions import DataSource, load_interactions
from edgepack.build.data.sequences import make_sequences
from tests.build.data.logs import sequences_of


def test_the_chain_counts_transitions_of_training_events_only() -> None:
    sequences = sequences_of("abab", "abca")
    index = sequences.vocabulary.index_of
    a, b, c = (index(letter) or 0 for letter in "abc")
    scores = MarkovChain(sequences, 1).scores(np.array([a, b], dtype=np.int32))
    # Without the last events: ab, ba and ab, bc. The fraction is popularity's, below one.
    assert np.floor(scores[0, [a, b, c]]).tolist() == [0, 2, 0]
    assert np.floor(scores[1, [a, b, c]]).tolist() == [1, 0, 1]


def test_no_transition_leads_from_one_session_to_the_next() -> None:
    sequences = sequences_of("abc", "def")
    last = np.arange(1, 7, dtype=np.int32)
    # Only a to b and d to e: c is a test target, and d begins another session.
    assert np.floor(MarkovChain(sequences, 1).scores(last)).sum() == 2


def test_popularity_decides_where_no_transition_is_known() -> None:
    sequences = sequences_of("xxxyz", "abcdx")
    index = sequences.vocabulary.index_of
    scores = MarkovChain(sequences, 1).scores(np.array([index("z") or 0], dtype=np.int32))
    assert int(scores[0, 1:].argmax()) + 1 == index("x")


def test_a_shop_that_repeats_itself_is_easy_for_the_chain_and_not_for_popularity() -> None:
    sequences = sequences_of("abcdefghijklmnab", "bcdefghijklmnabc", "xyzxyzxyzxyz")
    assert markov_metrics(sequences).mrr == 1.0
    assert popularity_metrics(sequences).mrr < 0.5


def test_popularity_ranks_by_training_events() -> None:
    found = popularity_metrics(sequences_of("aaab", "caca"))
    # Training: a 5, b 0, c 1. Targets b (rank 3) and a (rank 1).
    assert found.mrr == pytest.approx((1 / 3 + 1) / 2, abs=1e-12)


def test_the_clothing_shop_has_the_reference_baselines(test_data: Path) -> None:
    log = test_data / "eshop_clothing" / "e-shop-clothing-2008.zip"
    source = DataSource(log, "session ID", "page 2 (clothing model)", "order")
    sequences = make_sequences(load_interactions(source))
    assert (len(sequences), len(sequences.vocabulary)) == (15_664, 217)
    # The reference is given to three digits; ties may be broken another way there.
    popularity, markov = popularity_metrics(sequences), markov_metrics(sequences)
    assert (popularity.hr, popularity.ndcg) == pytest.approx((0.121, 0.061), abs=0.001)
    assert (markov.hr, markov.ndcg) == pytest.approx((0.441, 0.232), abs=0.002)


def test_the_retail_shop_has_the_reference_baselines_or_better(test_data: Path) -> None:
    conditions = (parse_condition("CustomerID != ''"), parse_condition("Quantity > 0"))
    source = DataSource(
        test_data / "online_retail" / "online_retail.csv.xz",
        "CustomerID",
        "StockCode",
        "InvoiceDate",
        conditions=conditions,
    )
    interactions = load_interactions(source)
    assert len(interactions.items) == 397_924
    sequences = make_sequences(interactions)
    assert len(sequences.vocabulary) == 3_665
    markov = markov_metrics(sequences)
    assert markov.hr >= 0.278
    assert markov.ndcg >= 0.192
