"""The ranking: within a round, never across machines; fastest, then smallest, then simplest."""

from __future__ import annotations

import pytest

from edgepack.build.artifacts import Quality
from edgepack.build.tune.cells import Cell
from edgepack.build.tune.ranking import quality_name, quality_of, rank_machine
from edgepack.formats.tuning import Block, TunedCell, TunedMachine
from tests.build.tune.cells import PLAN, block, blocks, cell, machine

_SMALL, _LARGE = cell("tflite-fp32", size_bytes=500), cell("tflite-fp16", size_bytes=9000)


def _rank(
    measured: dict[Cell, dict[int, Block]],
    problems: dict[Cell, str] | None = None,
    margin: float = 0.05,
) -> TunedMachine:
    found = problems or {}
    cells = list(dict.fromkeys((*measured, *found)))
    return rank_machine(machine(), cells, measured, found, PLAN, margin)


def _chosen(ranked: TunedMachine) -> TunedCell:
    assert ranked.choice is not None
    return ranked.choice


def test_where_all_are_out_nothing_is_chosen() -> None:
    ranked = _rank({}, {_SMALL: "crashed with SIGSEGV", _LARGE: "crashed with SIGILL"})
    assert ranked.choice is None
    assert ranked.reason == "none of 2 could be measured"
    assert {each.problem for each in ranked.cells} == {
        "crashed with SIGSEGV",
        "crashed with SIGILL",
    }


def test_one_that_answered_wrongly_once_is_out_however_fast() -> None:
    wrong = {**blocks(*[10] * 7), 7: Block(7, "this-machine", "now", problem="answers wrongly")}
    ranked = _rank({_SMALL: wrong, _LARGE: blocks(*[900] * 8)})
    assert _chosen(ranked).variant == "tflite-fp16"
    assert ranked.cells[-1].problem == "answers wrongly"
    assert ranked.reason.endswith("could be measured; 1 of 2 are out")


def test_the_fastest_wins_where_it_is_clearly_so() -> None:
    ranked = _rank({_SMALL: blocks(*[40_000] * 8), _LARGE: blocks(*[20_000] * 8)})
    assert _chosen(ranked).variant == "tflite-fp16"
    assert ranked.reason == (
        "the fastest of 2 that passed the gate: 20.0 µs; next is tflite-fp32 on litert with "
        "1 thread with 40.0 µs, 2.00 times as long"
    )


def test_of_those_that_cannot_be_told_apart_the_smallest_wins() -> None:
    # In one round of eight it was the faster one: the interval reaches below 1.
    ranked = _rank({_SMALL: blocks(*[24_000] * 7, 19_000), _LARGE: blocks(*[20_000] * 8)})
    chosen = _chosen(ranked)
    assert (chosen.variant, chosen.relative, chosen.low) == ("tflite-fp32", 1.2, 0.95)
    assert "the smallest of 2 as fast as the fastest" in ranked.reason
    assert "which cannot be told apart at 99 %" in ranked.reason


def test_a_small_difference_counts_for_nothing_and_a_margin_of_none_makes_it_count() -> None:
    measured = {_SMALL: blocks(*[20_800] * 8), _LARGE: blocks(*[20_000] * 8)}
    ranked = _rank(measured)
    assert _chosen(ranked).variant == "tflite-fp32"
    assert "within the margin of 5 %" in ranked.reason
    assert _chosen(_rank(measured, margin=0.0)).variant == "tflite-fp16"


def test_of_equally_small_ones_the_simplest_wins() -> None:
    one, two = cell("onnx-fp32", 1), cell("onnx-fp32", 2)
    spinning = cell("onnx-fp32", 2, spinning=True)
    ranked = _rank(
        {
            spinning: blocks(*[20_000] * 8),
            two: blocks(*[20_100] * 8),
            one: blocks(*[20_200] * 8),
        }
    )
    assert _chosen(ranked).options.threads == 1
    assert "the simplest of 3" in ranked.reason


def test_the_runtime_counts_as_part_of_the_size() -> None:
    small_file = cell("onnx-fp32", size_bytes=10, site_bytes=90_000)
    ranked = _rank({small_file: blocks(*[20_000] * 8), _LARGE: blocks(*[20_000] * 8)})
    assert _chosen(ranked).variant == "tflite-fp16"


def test_a_disturbance_that_hits_a_round_hits_no_ranking() -> None:
    slow = [20_000, 20_000, 200_000, 400_000, 20_000, 90_000, 20_000, 20_000]
    ranked = _rank({_SMALL: blocks(*[2 * each for each in slow]), _LARGE: blocks(*slow)})
    other = next(each for each in ranked.cells if each.variant == "tflite-fp32")
    assert (other.relative, other.low, other.high) == (2.0, 2.0, 2.0)


def test_with_fewer_than_eight_rounds_no_interval_is_told() -> None:
    ranked = _rank({_SMALL: blocks(*[24_000] * 7), _LARGE: blocks(*[20_000] * 7)})
    assert all(each.low is None and each.high is None for each in ranked.cells)
    assert not any(each.valid for each in ranked.cells)
    assert _chosen(ranked).variant == "tflite-fp16"


def test_two_that_were_never_in_the_same_round_are_not_compared() -> None:
    early = {number: block(number, 20_000) for number in range(4)}
    late = {number: block(number, 20_000) for number in range(4, 8)}
    ranked = _rank({_SMALL: early, _LARGE: late})
    assert [each.as_fast for each in ranked.cells] == [True, False]
    assert ranked.cells[1].relative is None


def test_percentiles_are_of_all_rounds_and_only_those_that_can_be_told() -> None:
    ranked = _rank({_SMALL: blocks(*[20_000] * 8)})
    (only,) = ranked.cells
    assert only.queries == 8 * 21
    assert only.p90_ns == 20_008
    # Eight of 168 may lie above; the eighth highest is left.
    assert only.p90_early_ns == 20_010
    # 168 answers; 662 are needed.
    assert only.p99_ns is None
    assert only.valid
    assert ranked.reason == "the only one that passed the gate and could be measured"


def test_the_front_has_what_nothing_beats_in_everything() -> None:
    fast, exact = cell("tflite-fp32", size_bytes=900), cell("tflite-fp16", overlap=1.0)
    small, beaten = cell("tflite-static-int8", size_bytes=10), cell("tflite-dynamic-int8")
    ranked = _rank(
        {
            fast: blocks(*[10_000] * 8),
            exact: blocks(*[20_000] * 8),
            small: blocks(*[30_000] * 8),
            beaten: blocks(*[40_000] * 8),
        }
    )
    front = {each.variant for each in ranked.cells if each.on_front}
    assert front == {"tflite-fp32", "tflite-fp16", "tflite-static-int8"}


def test_what_is_said_against_a_quarter_of_the_blocks_is_a_reservation() -> None:
    found = blocks(*[20_000] * 8)
    for number in range(2):
        found[number] = block(number, 20_000, reasons=("background_load",))
    found[7] = block(7, 20_000, reasons=("throttled",))
    assert _rank({_SMALL: found}).reservations == ("background_load",)


@pytest.mark.parametrize(
    ("quality", "value", "name"),
    [
        (Quality(1, overlap=0.98), 0.98, "overlap@10 with fp32"),
        (Quality(1, argmax_same=0.97), 0.97, "same class as fp32"),
        (Quality(1, range_err=0.25), 0.75, "1 - largest error as a share of the range"),
    ],
)
def test_each_kind_of_model_has_its_own_quality(quality: Quality, value: float, name: str) -> None:
    assert quality_of(quality) == value
    assert quality_name([None, quality]) == name


def test_without_a_quality_none_is_told() -> None:
    assert quality_of(None) is None
