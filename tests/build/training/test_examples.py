from __future__ import annotations

import numpy as np
import pytest

from edgepack.build.training.examples import prefixes, windows
from tests.build.data.logs import sequences_of


def test_a_short_sequence_is_one_window_of_next_items() -> None:
    sequences = sequences_of("abcde")
    index = [sequences.vocabulary.index_of(letter) for letter in "abcde"]
    history, following = windows(sequences, 2, 4, np.random.default_rng(0))
    assert history.tolist() == [[0, 0, index[0], index[1]]]
    assert following.tolist() == [[0, 0, index[1], index[2]]]


@pytest.mark.parametrize("held_out", [1, 2])
def test_nothing_held_out_is_learnt_from(held_out: int) -> None:
    sequences = sequences_of("abcdeyz", "bcayz", "cabyz")
    hidden = {sequences.vocabulary.index_of(letter) for letter in "yz"[2 - held_out :]}
    for seed in range(5):
        for part in windows(sequences, held_out, 3, np.random.default_rng(seed)):
            assert not hidden & set(part.ravel().tolist())
    for part in prefixes(sequences, held_out, 3):
        assert not hidden & set(part.ravel().tolist())


def test_windows_over_a_long_sequence_learn_every_event() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    sequences = sequences_of(letters)
    for seed in range(20):
        history, following = windows(sequences, 1, 4, np.random.default_rng(seed))
        learnt = following[following > 0]
        assert {sequences.vocabulary.item_at(int(i)) for i in learnt} == set(letters[1:-1])
        pairs = (history > 0) & (following > 0)
        # The alphabet's next letter has the next index: all letters are equally popular.
        assert (following[pairs] - history[pairs] == 1).all()


def test_windows_fall_elsewhere_each_time_and_the_same_for_a_seed() -> None:
    sequences = sequences_of("abcdefghijklmnopqrstuvwxyz")
    found = [
        windows(sequences, 1, 4, np.random.default_rng(seed))[0].tolist() for seed in (1, 1, 2, 3)
    ]
    assert found[0] == found[1]
    assert found[2] != found[0] or found[3] != found[0]


def test_windows_never_mix_sequences() -> None:
    sequences = sequences_of("abcdefgh", "mnopqrst")
    first = {sequences.vocabulary.index_of(letter) for letter in "abcdefgh"}
    history, _ = windows(sequences, 1, 5, np.random.default_rng(0))
    for row in history:
        inside = [int(item) in first for item in row if item]
        assert all(inside) or not any(inside)


def test_prefixes_ask_for_each_event_after_the_first() -> None:
    sequences = sequences_of("abcd", "dcb")
    a, b, c, d = (sequences.vocabulary.index_of(letter) for letter in "abcd")
    history, targets = prefixes(sequences, 1, 2)
    assert history.tolist() == [[0, a], [a, b], [0, d]]
    assert targets.tolist() == [[b], [c], [c]]
