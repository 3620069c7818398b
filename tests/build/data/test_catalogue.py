from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepack.build.data.catalogue import ask_all, keep_popular, popular_enough
from edgepack.formats.errors import ConfigError
from tests.build.data.logs import sequences_of

Array = NDArray[np.int32]


def never(_history: Array, _targets: Array) -> NDArray[np.int64]:
    raise AssertionError("the model was asked about what it cannot answer")


def test_the_events_that_are_tested_do_not_decide_what_is_kept() -> None:
    # Without the last event of each: a 8, b 2, c and d none.
    sequences = sequences_of("aaabc", "aaabc", "aad")
    assert sequences.vocabulary.items[:2] == ("a", "b")
    assert popular_enough(sequences, 1.0) == 2


@pytest.mark.parametrize(("share", "count"), [(0.01, 2), (0.7, 2), (0.71, 3), (0.9, 3), (1.0, 4)])
def test_the_fewest_items_that_make_up_the_share_are_kept(share: float, count: int) -> None:
    # Without the last event of each: a 4, b 3, c 2, d 1.
    sequences = sequences_of("aaaaa", "bbbb", "ccdd")
    assert sequences.counts(1)[1:].tolist() == [4, 3, 2, 1]
    assert popular_enough(sequences, share) == count


def test_a_session_too_short_without_the_rare_items_is_left_out() -> None:
    sequences = sequences_of("aabab", "abz", "bazab", "y")
    kept = keep_popular(sequences, 2)
    items = kept.vocabulary.items
    assert items == ("a", "b")
    found = [
        "".join(items[i - 1] for i in kept.items[start:end])
        for start, end in zip(kept.offsets[:-1], kept.offsets[1:], strict=True)
    ]
    assert found == ["aabab", "baab"]
    # "y" was left out before, two of "abz" are now.
    assert (kept.short_sessions, kept.short_events) == (2, 3)


def test_a_catalogue_cut_so_far_that_no_session_is_left_is_refused() -> None:
    with pytest.raises(ConfigError, match="keeps 2 of 6 items, and none of 3 sessions has 3"):
        keep_popular(sequences_of("aced", "bfce", "adbf"), 2)


def test_nothing_changes_where_every_item_is_kept() -> None:
    sequences = sequences_of("abca", "bca")
    kept = keep_popular(sequences, 3)
    assert kept.items.tolist() == sequences.items.tolist()
    assert kept.offsets.tolist() == sequences.offsets.tolist()
    history, targets = sequences.histories(1, 5)
    questions = ask_all(sequences, 3, 5)
    assert questions.history.tolist() == history.tolist()
    assert questions.targets.tolist() == targets.tolist()


def test_every_session_is_asked_about_also_where_the_answer_is_gone() -> None:
    sequences = sequences_of("aazb", "abz", "zyab", "aab")
    # a and b are kept; the history is what the box knows of it.
    assert sequences.vocabulary.items[:2] == ("a", "b")
    questions = ask_all(sequences, 2, 3)
    assert questions.history.tolist() == [[0, 1, 1], [0, 1, 2], [0, 0, 1], [0, 1, 1]]
    assert questions.targets.tolist() == [2, 0, 2, 2]


def test_an_answer_that_the_model_cannot_name_ranks_last() -> None:
    questions = ask_all(sequences_of("aab", "aaz"), 2, 3)
    ranks = questions.ranks(lambda history, _: np.ones(len(history), dtype=np.int64))
    assert ranks.tolist() == [1, 3]


def test_a_history_without_a_known_item_is_answered_with_the_popular_ones() -> None:
    sequences = sequences_of("zyb", "yzz", "aabb", "aabab")
    assert sequences.vocabulary.items == ("a", "b", "z", "y")
    questions = ask_all(sequences, 2, 4)
    only = type(questions)(questions.history[:2], questions.targets[:2], questions.items)
    # b is the second most popular item, z is not known.
    assert only.ranks(never).tolist() == [2, 4]
