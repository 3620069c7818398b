"""Which runs would settle a choice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgepack.formats.evidence import KindOfBox, Limits
from edgepack.hub.answers.columns import StandingColumns
from edgepack.hub.answers.ranking import rank_kind
from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.answers.settling import MOST_BOXES, boxes_to_tell_apart, needed_runs, needed_words
from tests.hub.answers.rows import CONTEXT, many, setup

SETUPS = {1: setup(1, "tflite-fp32"), 2: setup(2, "tflite-dynamic-int8", size_bytes=100)}


def _kind(rows: list[StandingRow], limits: Limits | None = None) -> KindOfBox:
    return rank_kind(CONTEXT, StandingColumns.of(rows), SETUPS, limits or Limits())


def test_a_variant_with_too_few_boxes_needs_the_rest_and_says_what_to_type() -> None:
    (run,) = needed_runs(
        _kind([*many(1, [200] * 20), *many(2, [1] * 5)]), target="arm64", model="session"
    )
    assert (run.variant, run.boxes, run.box) == ("tflite-dynamic-int8", 3, "Raspberry Pi 4")
    assert run.commands == (
        "edgepack build --target arm64 --model session "
        "--runtime litert --variant tflite-dynamic-int8",
        "python3 session-VERSION-arm64.pyz install",
        "ROOT/bin/edgepack-runner bench --duration standard",
    )


def test_what_was_never_measured_needs_eight_boxes() -> None:
    runs = needed_runs(_kind(many(1, [200] * 20)), target="arm64", model="session")
    assert [(each.variant, each.boxes) for each in runs] == [("tflite-dynamic-int8", 8)]
    assert needed_words(runs) == (
        "to settle it: 8 boxes (Raspberry Pi 4) with tflite-dynamic-int8 on litert"
    )


def test_nothing_is_needed_for_what_is_over_a_limit_or_clearly_slower() -> None:
    limits = Limits(max_size_bytes=500)
    kind = _kind([*many(2, [10] * 20)], limits)
    assert needed_runs(kind, target="arm64", model="session") == []
    clear = _kind([*many(1, [200] * 20), *many(2, [10] * 20)])
    assert needed_runs(clear, target="arm64", model="session") == []
    assert needed_words([]) == ""


def test_how_many_boxes_part_two_intervals_by_hand() -> None:
    first, other = _kind([*many(1, [100] * 20), *many(2, [101] * 20)]).candidates
    first = replace(first, p50_ns=100, p50_high_ns=120)
    other = replace(other, p50_ns=110, p50_low_ns=100, boxes=20)
    # The half widths 20 and 10 are three times the gap of 10: nine times the boxes.
    assert boxes_to_tell_apart(first, other) == 9 * 20 - 20


def test_equal_medians_are_not_worth_more_boxes() -> None:
    kind = _kind([*many(1, [100] * 20), *many(2, [100] * 20)])
    assert boxes_to_tell_apart(*kind.candidates) == 0
    assert needed_runs(kind, target="arm64", model="session") == []


@pytest.mark.parametrize("difference_ns", [1, 1000])
def test_a_difference_that_needs_a_thousand_boxes_is_called_none(difference_ns: int) -> None:
    rows = [
        *many(1, [10_000 + 100 * i for i in range(40)]),
        *many(2, [10_000 + difference_ns + 100 * i for i in range(40)]),
    ]
    runs = needed_runs(_kind(rows), target="arm64", model="session")
    assert bool(runs) is (difference_ns == 1000)
    assert all(each.boxes <= MOST_BOXES for each in runs)
