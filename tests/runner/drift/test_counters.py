from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgepack.runner.drift.bins import read_reference
from edgepack.runner.drift.counters import FEATURES, WINDOW_NS, DriftCounters, Window
from tests.runner.simulators import HandClock

_QUANTILES = ("p01", "p05", "p25", "p50", "p75", "p95", "p99")
REFERENCE: dict[str, Any] = {
    "history_length": {"counts": [0, 400, 300, 200, 100, 50, 30, 20], "last_bin_is_or_more": True},
    "score_quantiles": {
        "top1": dict(zip(_QUANTILES, (1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 9.0), strict=True)),
        "top3": dict(zip(_QUANTILES, (0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9), strict=True)),
        "spread": dict(zip(_QUANTILES, (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0), strict=True)),
    },
}


def _counters(clock: HandClock | None = None, reference: Any = None) -> DriftCounters:
    known = REFERENCE if reference is None else reference
    return DriftCounters("session 1.2.0", known, clock or HandClock())


def _values(counters: DriftCounters) -> dict[str, float | None]:
    return {each.feature: each.value for each in counters.readings()}


def _as_expected(counters: DriftCounters, count: int, chance: random.Random) -> None:
    """Asks as the reference says a shop does."""
    lengths = REFERENCE["history_length"]["counts"]
    shares = (0.01, 0.04, 0.2, 0.25, 0.25, 0.2, 0.04, 0.01)
    tops = (0.5, 1.5, 3.0, 4.5, 5.5, 7.0, 8.5, 10.0)
    spreads = (0.2, 0.7, 1.5, 2.5, 3.5, 4.5, 5.5, 7.0)
    for _ in range(count):
        (length,) = chance.choices(range(len(lengths)), lengths)
        (top,) = chance.choices(tops, shares)
        (spread,) = chance.choices(spreads, shares)
        counters.observe(length, 0, [top, top - 0.1, top - spread, -9.0])


def test_the_bins_are_those_of_the_reference() -> None:
    bins = read_reference(REFERENCE)
    assert bins.spread_rank == 3
    assert bins.top_score is not None
    assert bins.top_score.edges == (1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 9.0)
    assert bins.top_score.expected == (0.01, 0.04, 0.2, 0.25, 0.25, 0.2, 0.04, 0.01)
    assert bins.history_length is not None
    # 50 of 1100 and what follows are joined: no bin is left with chance alone in it.
    assert bins.history_length.edges == (2.0, 3.0, 4.0, 5.0)
    assert min(bins.history_length.expected) >= 0.05


def test_equal_quantiles_are_one_edge() -> None:
    same = dict.fromkeys(_QUANTILES, 4.0)
    bins = read_reference({"score_quantiles": {"top1": same}}).top_score
    assert bins is not None
    assert (bins.edges, bins.expected) == ((4.0,), (0.01, 0.99))


@pytest.mark.parametrize(
    "reference",
    [
        {},
        {"history_length": 3, "score_quantiles": 4},
        {"history_length": {"counts": "many"}, "score_quantiles": {"top1": [1]}},
        {"history_length": {"counts": []}, "score_quantiles": {"top1": {}}},
        {"history_length": {"counts": [5, 0, 0]}, "score_quantiles": {"top1": {"p50": "x"}}},
        {"history_length": {"counts": [0, -1]}, "score_quantiles": {"top1": {"p5": 1.0}}},
        {"history_length": {"counts": [0, True]}, "score_quantiles": {"top1": {"p50": True}}},
        {"history_length": {"counts": [0, 9]}, "score_quantiles": {"spread": {"p50": None}}},
        {"score_quantiles": {"top1": {"p50": 1.0, "p05": 2.0}}},
        {"score_quantiles": {"top1": {"p50": float("inf")}}},
    ],
)
def test_a_reference_that_makes_no_sense_is_no_reference(reference: Any) -> None:
    counters = _counters(reference=reference)
    counters.observe(3, 1, [2.0, 1.0])
    for each in counters.readings()[1:]:
        assert each.value is None
        assert each.reason == "the bundle has no reference for it"
    assert counters.facts().features == {}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 99) | st.floats() | st.sampled_from(["p50", "x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["counts", "history_length", "score_quantiles", "top1", "spread", "p05", "p50"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(reference=st.dictionaries(st.sampled_from(["history_length", "score_quantiles"]), _JSON))
def test_whatever_a_manifest_holds_counting_goes_on(reference: dict[str, Any]) -> None:
    counters = _counters(reference=reference)
    counters.observe(2, 1, [1.0, 0.5, 0.2])
    assert counters.facts().histories == 1
    for each in counters.facts().features.values():
        assert len(each.expected) == len(each.counts) == len(each.edges) + 1
        assert sum(each.expected) == pytest.approx(1)


def test_traffic_like_the_reference_has_not_drifted() -> None:
    counters = _counters()
    _as_expected(counters, 3000, random.Random(5))
    for feature, value in _values(counters).items():
        assert value is not None
        assert value < 0.05, feature


def test_longer_histories_other_scores_and_unknown_items_are_seen() -> None:
    counters = _counters()
    for _ in range(2000):
        counters.observe(30, 6, [0.2, 0.15, 0.1])
    values = _values(counters)
    assert values["unknown_items"] == pytest.approx(0.2)
    assert values["history_length"] is not None
    assert values["history_length"] > 0.5
    assert values["top_score"] is not None
    assert values["top_score"] > 0.8
    assert values["score_spread"] is not None
    assert values["score_spread"] > 0.8


def test_too_few_values_are_no_figure_but_a_reason() -> None:
    counters = _counters()
    for _ in range(999):
        counters.observe(1, 0, [5.0, 4.0, 3.0])
    for each in counters.readings():
        assert each.value is None
        assert each.reason == "999 values, 1000 are needed"
    counters.observe(1, 0, [5.0, 4.0, 3.0])
    assert None not in _values(counters).values()


def test_empty_histories_and_popular_answers_are_counted_apart() -> None:
    counters = _counters()
    counters.observe(0, 0, ())
    counters.observe(2, 2, ())
    facts = counters.facts()
    assert (facts.histories, facts.empty_histories) == (2, 1)
    assert (facts.items, facts.unknown_items) == (2, 2)
    assert sum(facts.features["history_length"].counts) == 1
    assert sum(facts.features["top_score"].counts) == 0


def test_an_answer_shorter_than_the_spreads_rank_has_no_spread() -> None:
    counters = _counters()
    counters.observe(1, 0, [5.0, 4.0])
    facts = counters.facts()
    assert sum(facts.features["top_score"].counts) == 1
    assert sum(facts.features["score_spread"].counts) == 0


def test_old_traffic_fades_in_two_steps() -> None:
    clock = HandClock()
    counters = _counters(clock)
    counters.observe(1, 0, [5.0, 4.0, 3.0])
    clock.now_ns += WINDOW_NS
    assert counters.facts().histories == 1
    counters.observe(1, 0, [5.0, 4.0, 3.0])
    assert counters.facts().histories == 2
    clock.now_ns += WINDOW_NS
    assert counters.facts().histories == 1
    clock.now_ns += WINDOW_NS
    assert counters.facts().histories == 0


def test_after_a_long_silence_nothing_old_is_left() -> None:
    clock = HandClock()
    counters = _counters(clock)
    counters.observe(1, 0, [5.0])
    clock.now_ns += 5 * WINDOW_NS
    assert counters.facts().histories == 0


_ASKED = st.lists(
    st.tuples(
        st.integers(0, 2000),
        st.integers(0, 2000),
        st.lists(st.floats(-1e6, 1e6), max_size=12).map(lambda s: sorted(s, reverse=True)),
        st.integers(0, WINDOW_NS),
    ),
    max_size=40,
)


@given(asked=_ASKED)
def test_every_history_is_counted_once_in_every_feature_that_it_has(asked: Any) -> None:
    counters = _counters()
    for length, unknown, scores, _ in asked:
        counters.observe(length, min(unknown, length), scores)
    facts = counters.facts()
    assert facts.histories == len(asked)
    assert facts.items == sum(each[0] for each in asked)
    assert facts.unknown_items <= facts.items
    lengths = sum(facts.features["history_length"].counts)
    assert lengths == facts.histories - facts.empty_histories
    assert sum(facts.features["top_score"].counts) == sum(bool(each[2]) for each in asked)
    assert sum(facts.features["score_spread"].counts) == sum(len(each[2]) > 2 for each in asked)


@given(asked=_ASKED)
# A window is turned by who looks: one that was looked at just before its end goes on until the
# next look.
@example(asked=[(0, 0, [], 0)] + [(0, 0, [], WINDOW_NS - 1)] * 3)
def test_what_is_counted_is_never_older_than_two_windows_and_a_gap_between_looks(
    asked: Any,
) -> None:
    clock = HandClock()
    counters = _counters(clock)
    times = []
    for length, _, scores, later_ns in asked:
        clock.now_ns += later_ns
        counters.windows()
        counters.observe(length, 0, scores)
        times.append(clock.now_ns)
    found = counters.facts().histories
    assert found >= sum(clock.now_ns - each < WINDOW_NS for each in times)
    longest_ns = max((each[3] for each in asked), default=0)
    assert found <= sum(clock.now_ns - each <= 2 * WINDOW_NS + longest_ns for each in times)


def test_only_windows_of_the_same_bins_are_gone_on_from() -> None:
    counters, other = _counters(), _counters(reference={})
    assert set(FEATURES) == set(counters.windows()[0].bins)
    assert not other.restore(counters.windows())
    assert not counters.restore(other.windows())
    assert not counters.restore([])
    assert not counters.restore([Window("x", bins=counters.windows()[0].bins)] * 3)
    assert counters.restore(_counters().windows())


def test_another_model_or_reference_has_another_fingerprint() -> None:
    prints = {
        _counters().fingerprint,
        _counters(reference={}).fingerprint,
        DriftCounters("session 1.3.0", REFERENCE, HandClock()).fingerprint,
    }
    assert len(prints) == 3
    assert _counters().fingerprint in prints
