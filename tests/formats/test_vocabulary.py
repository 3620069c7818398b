"""The vocabulary turns item ids into the model's input and back."""

from __future__ import annotations

import pytest

from edgepack.formats.errors import BundleError
from edgepack.formats.vocabulary import Vocabulary

SHOP = Vocabulary(("shoe", "sock", "hat"))


def test_a_history_is_padded_on_the_left() -> None:
    assert SHOP.encode(["hat", "shoe"], 4) == ([0, 0, 3, 1], 0)


def test_only_the_most_recent_items_fit_a_long_history() -> None:
    assert SHOP.encode(["shoe", "sock", "hat"], 2) == ([2, 3], 0)


def test_unknown_items_are_skipped_and_counted_before_cutting() -> None:
    assert SHOP.encode(["shoe", "tie", "hat", "tie"], 2) == ([1, 3], 2)


def test_an_empty_history_is_all_padding() -> None:
    assert SHOP.encode([], 3) == ([0, 0, 0], 0)


def test_padding_is_no_item() -> None:
    with pytest.raises(IndexError):
        SHOP.item_at(0)
    with pytest.raises(IndexError):
        SHOP.item_at(4)
    assert [SHOP.item_at(i) for i in (1, 2, 3)] == list(SHOP.items)


def test_the_file_is_read_back_with_the_same_hash() -> None:
    again = Vocabulary.from_bytes(SHOP.to_bytes())
    assert again == SHOP
    assert again.sha256 == SHOP.sha256
    assert Vocabulary(("shoe", "hat", "sock")).sha256 != SHOP.sha256


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"format":2,"items":[]}', "reads up to 1"),
        (b'{"format":1,"items":["a","a"]}', "1 of them distinct"),
        (b'{"format":1,"items":["a",5]}', r"items\[1\]: got int"),
        (b'{"items":["a"]}', "format: missing"),
    ],
)
def test_a_damaged_vocabulary_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        Vocabulary.from_bytes(data)
