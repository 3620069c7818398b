from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.typed import (
    Count,
    Name,
    Range,
    Ratio,
    _find_problems,
    check_value,
    from_plain,
    to_plain,
)


class _Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Part:
    size: Count
    pair: tuple[Count, Name] | None = None


@dataclass(frozen=True)
class Whole:
    name: Name
    colour: _Colour
    ratio: Ratio | None
    parts: tuple[Part, ...]
    by_name: Mapping[str, Annotated[int, Range(low=-3, high=3)]] = field(default_factory=dict)
    sure: bool = False


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(["", "red", "x", "y" * 201])
)
JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["size", "pair", "name", "other"]), inner, max_size=3)
    ),
    max_leaves=8,
)
PARTS = st.lists(st.fixed_dictionaries({"size": _SCALARS}, optional={"pair": JSON}), max_size=3)
WHOLES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "", 1]),
        "colour": st.sampled_from(["red", "blue", "green", None]),
        "ratio": _SCALARS,
        "parts": PARTS | JSON,
    },
    optional={
        "by_name": st.dictionaries(st.text(max_size=2), _SCALARS, max_size=2),
        "sure": _SCALARS,
        "unknown": JSON,
    },
)
_KINDS: tuple[Any, ...] = (
    *(Whole, Part, _Colour, Count, Name, Ratio, bool, float | None),
    *(tuple[Count, ...], tuple[Count, Name], Mapping[str, Ratio]),
)


@given(st.sampled_from(_KINDS), WHOLES | JSON)
def test_what_is_taken_at_once_is_what_has_no_problem(kind: Any, value: object) -> None:
    assert check_value(kind, value, "x") == _find_problems(kind, value, "x")


@given(WHOLES)
def test_a_sound_value_survives_the_way_there_and_back(value: Any) -> None:
    if not check_value(Whole, value, ""):
        built = from_plain(Whole, value)
        assert isinstance(built, Whole)
        assert from_plain(Whole, to_plain(built)) == built
        assert all(isinstance(part, Part) for part in built.parts)


@pytest.mark.parametrize("size", [5000, 5001])
def test_a_list_or_a_map_has_a_most_of_elements(size: int) -> None:
    for kind, value in (
        (tuple[Count, ...], [1] * size),
        (Mapping[str, Count], {str(i): i for i in range(size)}),
    ):
        assert bool(check_value(kind, value, "x")) == (size > 5000)
