"""Questions survive an address, and wrong ones are refused with every wrong name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.errors import ConfigError
from edgepack.formats.evidence import Limits
from edgepack.hub.answers.compare import CompareQuery, Per
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.params import (
    compare_query,
    device_days,
    fleet_query,
    params_of,
    select_query,
)
from edgepack.hub.answers.selecting import SelectQuery

WORDS = st.none() | st.text(min_size=1, max_size=200)


def test_an_address_without_parameters_asks_for_everything() -> None:
    assert fleet_query([]) == FleetQuery()
    assert compare_query([]) == CompareQuery()
    assert device_days([]) is None
    assert params_of(FleetQuery()) == params_of(CompareQuery()) == []


def test_empty_fields_of_a_form_ask_for_nothing() -> None:
    assert fleet_query([("target", ""), ("limit", ""), ("text", "")]) == FleetQuery()


@given(
    st.builds(
        FleetQuery,
        target=WORDS,
        release=WORDS,
        condition=st.sampled_from([None, "ok", "silent"]),
        grade=st.sampled_from([None, "A", "X"]),
        box=WORDS,
        text=st.text(max_size=200),
        offset=st.integers(0, 10**6),
        limit=st.integers(1, 10_000),
    )
)
def test_any_question_about_the_fleet_survives_an_address(query: FleetQuery) -> None:
    assert fleet_query(params_of(query)) == query


@given(
    st.builds(
        CompareQuery,
        model=WORDS,
        box=WORDS,
        context=WORDS,
        scenario=st.sampled_from([None, "offline"]),
        facts=st.lists(
            st.tuples(st.sampled_from(["box", "a.b"]), st.text(max_size=200)), max_size=3
        ).map(tuple),
        release=WORDS,
        per=st.sampled_from(Per),
    )
)
def test_any_comparison_survives_an_address(query: CompareQuery) -> None:
    assert compare_query(params_of(query)) == query


@given(
    st.builds(
        SelectQuery,
        target=st.text(min_size=1, max_size=200),
        model=WORDS,
        box=WORDS,
        scenario=st.sampled_from(["single_stream", "server"]),
        limits=st.builds(
            Limits,
            max_p99_ns=st.none() | st.integers(0, 10**12),
            max_size_bytes=st.none() | st.integers(0, 10**12),
            min_quality=st.none() | st.floats(0, 1),
        ),
    )
)
def test_any_choice_survives_an_address(query: SelectQuery) -> None:
    assert select_query(params_of(query)) == query


def test_every_wrong_value_is_named() -> None:
    wrong = [("condition", "okay"), ("limit", "0"), ("offset", "1.5"), ("text", "x" * 301)]
    with pytest.raises(ConfigError) as caught:
        fleet_query(wrong)
    for name in ("condition", "limit", "offset", "text"):
        assert f"\n  {name}: " in caught.value.message
    assert "did you mean 'ok'?" in caught.value.message


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e999", "many"])
def test_what_is_no_number_within_limits_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="max_p99_ms"):
        select_query([("target", "arm64"), ("max_p99_ms", value)])


def test_a_choice_needs_a_target_and_a_fact_a_value() -> None:
    with pytest.raises(ConfigError, match="target: missing"):
        select_query([])
    with pytest.raises(ConfigError, match="expected PATH=VALUE"):
        compare_query([("fact", "box")])


def test_limits_are_typed_in_milliseconds_and_megabytes() -> None:
    query = select_query([("target", "t"), ("max_p99_ms", "2.5"), ("max_size_mb", "1.5")])
    assert query.limits == Limits(max_p99_ns=2_500_000, max_size_bytes=1_500_000)
