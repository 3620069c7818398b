"""One kind of box: who is fastest, who cannot be told apart, who is not known, and why."""

from __future__ import annotations

import random

from edgepack.formats.evidence import Candidate, KindOfBox, Limits, Status
from edgepack.hub.answers.columns import StandingColumns
from edgepack.hub.answers.ranking import ENOUGH_BOXES, rank_kind
from edgepack.hub.answers.rows import SetupRow, StandingRow
from edgepack.hub.answers.trust import Standing
from tests.hub.answers.rows import CONTEXT, many, release, setup, standing

FP32, INT8, FP16 = (
    setup(1, "tflite-fp32", size_bytes=400),
    setup(2, "tflite-dynamic-int8", size_bytes=100, quality={"ndcg_ratio": 0.99}),
    setup(3, "tflite-fp16", size_bytes=200),
)


def _rank(rows: list[StandingRow], *setups: SetupRow, limits: Limits | None = None) -> KindOfBox:
    return rank_kind(
        CONTEXT, StandingColumns.of(rows), {each.id: each for each in setups}, limits or Limits()
    )


def _by_variant(kind: KindOfBox) -> dict[str, Candidate]:
    return {each.variant: each for each in kind.candidates}


def test_eight_boxes_are_enough() -> None:
    assert ENOUGH_BOXES == 8


def test_a_clear_winner_is_settled_and_the_places_have_reasons() -> None:
    kind = _rank([*many(1, [2_000_000] * 20), *many(2, [1_000_000] * 20)], FP32, INT8)
    first, second = kind.candidates
    assert (first.variant, first.place, first.p50_ns) == ("tflite-dynamic-int8", 1, 1_000_000)
    assert first.reason == "the lowest median latency: 1.00 ms (1.00 ms to 1.00 ms) on 20 boxes"
    assert (second.variant, second.place) == ("tflite-fp32", 2)
    assert second.reason.startswith("2.00 times the first's latency: 2.00 ms")
    assert kind.settled
    assert kind.reason.startswith("tflite-dynamic-int8 on litert is the fastest: 1.00 ms")
    assert kind.boxes == 20


def test_overlapping_intervals_are_not_told_apart() -> None:
    kind = _rank([*many(1, list(range(100, 120))), *many(2, list(range(105, 125)))], FP32, INT8)
    assert not kind.settled
    assert "cannot be told apart from tflite-dynamic-int8 on litert" in kind.reason
    assert "cannot be told apart from the first" in kind.candidates[1].reason


def test_too_few_boxes_get_no_place_and_no_median() -> None:
    kind = _rank([*many(1, [200] * 20), *many(2, [1] * 7)], FP32, INT8)
    few = _by_variant(kind)["tflite-dynamic-int8"]
    assert (few.status, few.place, few.p50_ns) == (Status.TOO_FEW_BOXES, None, None)
    assert few.reason == "reports that count from 7 boxes; from 8 on the median can be told"
    assert kind.candidates[0].variant == "tflite-fp32"
    assert not kind.settled
    assert "not known: tflite-dynamic-int8 on litert" in kind.reason


def test_doubtful_and_emulated_reports_do_not_count_however_many() -> None:
    rows = [
        *many(2, [1] * 30, trust=Standing.DOUBTFUL),
        *many(2, [1] * 40, trust=Standing.EMULATED),
        *many(1, [200] * 8),
    ]
    kind = _rank(rows, FP32, INT8)
    other = _by_variant(kind)["tflite-dynamic-int8"]
    assert other.status is Status.NO_TRUSTED_REPORTS
    assert other.reason == "no report that counts; 30 boxes with doubtful ones, 40 emulated"
    assert kind.candidates[0].variant == "tflite-fp32"


def test_limits_on_size_and_quality_are_held_without_any_report() -> None:
    limits = Limits(max_size_bytes=250, min_quality=0.995)
    kind = _rank([], FP32, INT8, FP16, limits=limits)
    found = _by_variant(kind)
    assert found["tflite-fp32"].status is Status.OVER_LIMIT
    assert found["tflite-fp32"].reason == "the model file has 400 B, at most 250 B is allowed"
    assert found["tflite-dynamic-int8"].reason == "quality 0.990, at least 0.995 is needed"
    assert found["tflite-fp16"].status is Status.NO_TRUSTED_REPORTS


def test_an_unknown_quality_does_not_pass_a_gate() -> None:
    kind = _rank([], setup(1, quality={}), limits=Limits(min_quality=0.5))
    assert kind.candidates[0].reason == "no report says its quality, at least 0.5 is needed"


def test_the_tail_limit_is_what_nine_boxes_in_ten_keep() -> None:
    # p99 is twice p50: the 18th of 20 has 2 * 117 ns.
    rows = many(1, list(range(100, 120)))
    assert _rank(rows, FP32, limits=Limits(max_p99_ns=234)).candidates[0].place == 1
    over = _rank(rows, FP32, limits=Limits(max_p99_ns=233)).candidates[0]
    assert over.status is Status.OVER_LIMIT
    assert over.reason == "p99 234 ns is what nine boxes in ten keep, at most 233 ns is allowed"


def test_below_eleven_boxes_every_one_must_keep_the_tail_limit() -> None:
    rows = many(1, list(range(100, 109)))
    assert _rank(rows, FP32, limits=Limits(max_p99_ns=216)).candidates[0].place == 1
    assert _rank(rows, FP32, limits=Limits(max_p99_ns=215)).candidates[0].place is None


def test_boxes_without_a_p99_cannot_prove_a_tail_limit() -> None:
    rows = many(1, [100] * 20, p99_ns=None)
    candidate = _rank(rows, FP32, limits=Limits(max_p99_ns=10**9)).candidates[0]
    assert candidate.status is Status.TOO_FEW_BOXES
    assert "too few boxes with a p99" in candidate.reason


def test_each_box_counts_once_over_releases_and_options() -> None:
    again = setup(9, "tflite-fp32", release=release(2), threads=2, size_bytes=500)
    rows = [*many(1, [100] * 8), *many(9, [300] * 8, created_ms=2000)]
    (candidate,) = _rank(rows, FP32, again).candidates
    assert (candidate.boxes, candidate.p50_ns, candidate.size_bytes) == (8, 300, 500)


def test_a_fallback_of_a_few_boxes_does_not_count_for_the_card() -> None:
    card = setup(1, "onnx-fp32", runtime="onnxruntime-gpu", provider="cuda")
    fallback = setup(2, "onnx-fp32", runtime="onnxruntime-gpu", provider="cpu")
    rows = [*many(1, [100] * 9), *many(2, [9000] * 8, first_device=50)]
    (candidate,) = _rank(rows, card, fallback).candidates
    assert (candidate.boxes, candidate.p50_ns) == (9, 100)


def test_of_equal_latencies_the_smaller_file_comes_first() -> None:
    kind = _rank([*many(1, [100] * 9), *many(2, [100] * 9)], FP32, INT8)
    assert [each.variant for each in kind.candidates] == ["tflite-dynamic-int8", "tflite-fp32"]


def test_a_run_without_a_median_is_not_counted() -> None:
    rows = [*many(1, [100] * 8), standing(99, 1, None)]
    assert _rank(rows, FP32).candidates[0].boxes == 8


def test_what_is_called_settled_is_right_and_a_clear_difference_gets_settled() -> None:
    rng = random.Random(17)
    settled = wrong = 0
    for _ in range(300):
        # The true median of the int8 file is 10 % lower; boxes of a kind differ by 10 %.
        slow = [int(1_000_000 * 2 ** rng.gauss(0, 0.14)) for _ in range(40)]
        fast = [int(900_000 * 2 ** rng.gauss(0, 0.14)) for _ in range(40)]
        kind = _rank([*many(1, slow), *many(2, fast, first_device=100)], FP32, INT8)
        settled += kind.settled
        wrong += kind.settled and kind.candidates[0].variant != "tflite-dynamic-int8"
    # Both intervals would have to miss to the wrong side: 1 in 40,000.
    assert wrong == 0
    assert settled > 100
