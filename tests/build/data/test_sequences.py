from __future__ import annotations

import numpy as np
import pytest

from edgepack.build.data.sequences import batches, gather, make_sequences
from edgepack.formats.errors import ConfigError
from tests.build.data.logs import interactions_of, sequences_of


def test_no_session_of_three_events_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of 2 sessions has 3 events or more") as caught:
        make_sequences(interactions_of("ab", "c"))
    assert "the longest has 2" in caught.value.message


def test_one_item_in_the_kept_sessions_is_refused() -> None:
    with pytest.raises(ConfigError, match="hold only the item 'a'"):
        make_sequences(interactions_of("aaa", "bc"))


def test_short_sessions_are_left_out_and_counted() -> None:
    sequences = sequences_of("abc", "zz", "y", "bcb")
    assert len(sequences) == 2
    assert (sequences.short_sessions, sequences.short_events) == (2, 3)
    assert set(sequences.vocabulary.items) == {"a", "b", "c"}


def test_the_vocabulary_is_ordered_by_popularity_then_id() -> None:
    assert sequences_of("cba", "bdd", "dab").vocabulary.items == ("b", "d", "a", "c")


def test_test_and_validation_targets_are_the_last_two_events() -> None:
    sequences = sequences_of("abcd", "bca")
    item = sequences.vocabulary.item_at
    histories, targets = sequences.histories(1, 3)
    assert [item(int(t)) for t in targets] == ["d", "a"]
    assert [item(int(i)) for i in histories[0]] == ["a", "b", "c"]
    _, targets = sequences.histories(2, 3)
    assert [item(int(t)) for t in targets] == ["c", "c"]


def test_histories_are_padded_on_the_left_and_never_reach_into_another_session() -> None:
    sequences = sequences_of("abc", "def")
    histories, _ = sequences.histories(1, 4)
    assert (histories[:, :2] == 0).all()
    assert sequences.vocabulary.item_at(int(histories[1, 2])) == "d"


def test_a_long_history_keeps_its_most_recent_items() -> None:
    sequences = sequences_of("abcdef")
    histories, _ = sequences.histories(1, 2)
    assert [sequences.vocabulary.item_at(int(i)) for i in histories[0]] == ["d", "e"]


def test_counts_leave_out_what_is_held_out() -> None:
    sequences = sequences_of("aab", "aba")
    a, b = (sequences.vocabulary.index_of(letter) or 0 for letter in "ab")
    assert sequences.counts(0)[[a, b]].tolist() == [4, 2]
    assert sequences.counts(1)[[a, b]].tolist() == [3, 1]
    assert sequences.counts(2)[[a, b]].tolist() == [2, 0]
    assert sequences.counts(0)[0] == 0


def test_gather_stops_at_the_start_of_the_row() -> None:
    items = np.array([5, 6, 7, 8], dtype=np.int32)
    found = gather(items, np.array([0, 2]), np.array([2, 4]), 3)
    assert found.tolist() == [[0, 5, 6], [0, 7, 8]]


def test_batches_cover_every_row_once() -> None:
    assert [(rows.start, rows.stop) for rows in batches(5, 2)] == [(0, 2), (2, 4), (4, 5)]
    assert list(batches(0, 2)) == []
