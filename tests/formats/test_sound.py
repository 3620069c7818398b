"""What is built at once is what is right, and what the slow way builds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.sound import build_if_sound, prepare
from edgepack.formats.typed import check_value, from_plain
from tests.formats.test_typed import JSON, PARTS, WHOLES, Part, Whole


@dataclass(frozen=True)
class _Wrong:
    data: bytes


@given(st.sampled_from([Whole, Part]), WHOLES | PARTS | JSON)
def test_what_has_no_problem_is_built_as_the_slow_way_builds_it(
    kind: type[Any], value: object
) -> None:
    built = build_if_sound(kind, value)
    if check_value(kind, value, ""):
        assert built is None
    else:
        assert built == from_plain(kind, value)
        assert repr(built) == repr(from_plain(kind, value))


@pytest.mark.parametrize(
    "value",
    [
        {"size": 1, "pair": (1, "a")},
        {"size": True},
        {"size": 1.0},
        {"size": -1},
        {},
        {"size": 1, "pair": [1]},
        {"size": 1, "pair": [1, "a", 2]},
    ],
)
def test_what_only_looks_like_it_is_not_built(value: Any) -> None:
    assert build_if_sound(Part, value) is None


def test_unknown_fields_are_dropped_and_left_out_ones_have_their_defaults() -> None:
    assert build_if_sound(Part, {"size": 3, "later": {"size": -1}}) == Part(3)


def test_a_type_that_json_does_not_have_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="no JSON is"):
        prepare(_Wrong)
