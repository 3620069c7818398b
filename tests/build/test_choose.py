"""The choice: gate and target first, then field latency, then size; always with a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.build.artifacts import ConvertedVariant, Quality
from edgepack.build.choose import VariantRow, Verdict, choose, choose_tuned
from edgepack.formats.errors import ConfigError
from edgepack.formats.evidence import Evidence, Limits, Pick
from edgepack.formats.variants import RuntimeName, parse_variant_name
from tests.build.tune.tunings import FP32, INT8, tuning


def _row(
    name: str,
    size_bytes: int,
    *,
    quality: Quality | None = None,
    verdict: Verdict = Verdict.PASSED,
    runtime: RuntimeName = RuntimeName.LITERT,
    site_bytes: int = 1000,
) -> VariantRow:
    variant = ConvertedVariant(parse_variant_name(name), Path(name), size_bytes, "0" * 64)
    return VariantRow(
        "arm64", runtime, "1", variant, verdict, "", quality=quality, site_bytes=site_bytes
    )


SMALL = _row("tflite-dynamic-int8", 100)
BIG = _row("tflite-fp32", 400)
ORT = _row("onnx-dynamic-int8", 90, runtime=RuntimeName.ONNXRUNTIME, site_bytes=5000)


def test_nothing_that_failed_is_ever_chosen() -> None:
    failed = [
        _row("tflite-fp32", 1, verdict=verdict)
        for verdict in (
            Verdict.NOT_CONVERTED,
            Verdict.REFUSED,
            Verdict.FAILS_GATE,
            Verdict.FAILS_ON_TARGET,
        )
    ]
    assert choose(failed) is None
    choice = choose([*failed, BIG])
    assert choice is not None
    assert choice.rows == (BIG,)
    assert choice.reason == "the only one that passed the gate and ran on the target"


def test_without_field_reports_the_smallest_bundle_wins() -> None:
    choice = choose([BIG, ORT, SMALL])
    assert choice is not None
    assert choice.rows == (SMALL,)
    assert "the smallest of 3" in choice.reason
    assert "no field reports" in choice.reason


def _ranking(overlap: float, top1: float, ndcg_ratio: float = 1.0) -> Quality:
    return Quality(100, ndcg_ratio=ndcg_ratio, overlap=overlap, top1_same=top1)


FAR = _row("tflite-dynamic-int8-per-tensor", 100, quality=_ranking(0.979, 0.97))
NEAR = _row("tflite-dynamic-int8", 120, quality=_ranking(0.98, 0.97, 0.995))


def test_what_ranks_nearly_like_fp32_goes_before_what_is_hardly_smaller() -> None:
    choice = choose([FAR, NEAR, BIG], candidates=3)
    assert choice is not None
    assert choice.rows == (NEAR, FAR, BIG)
    assert choice.reason.startswith(
        "ranks nearly like fp32, hardly larger than tflite-dynamic-int8-per-tensor on litert, "
        "the smallest of 3 that passed the gate"
    )


@pytest.mark.parametrize(
    "other",
    [
        replace(NEAR, site_bytes=1_003),
        replace(NEAR, quality=_ranking(0.9799, 0.99)),
        replace(NEAR, quality=_ranking(0.99, 0.9699)),
        replace(NEAR, quality=_ranking(0.99, 0.99, 0.9949)),
        replace(NEAR, quality=None),
        _row("tflite-fp16", 110, quality=_ranking(1.0, 1.0)),
    ],
    ids=["2 % larger", "overlap", "top item", "NDCG", "not measured", "in float"],
)
def test_what_is_not_near_or_not_hardly_larger_does_not(other: VariantRow) -> None:
    choice = choose([FAR, other])
    assert choice is not None
    assert choice.rows == (FAR,)
    assert choice.reason.startswith("the smallest of 2")


def test_the_smallest_that_is_near_itself_stays() -> None:
    small = replace(FAR, quality=_ranking(0.98, 0.97))
    choice = choose([replace(NEAR, quality=_ranking(1.0, 1.0)), small])
    assert choice is not None
    assert choice.rows == (small,)


def _evidence(*picks: Pick, settled: bool = True) -> Evidence:
    return Evidence(
        created="2026-03-01T12:00:00Z",
        source="hub.sqlite",
        target="arm64",
        model="session",
        scenario="single_stream",
        limits=Limits(),
        picks=picks,
        settled=settled,
        reason="",
    )


def _pick(
    row: VariantRow, relative: float, *, spread: float = 0.01, boxes: int = 20, kinds: int = 1
) -> Pick:
    return Pick(
        runtime=row.runtime,
        variant=row.variant.spec.name,
        relative=relative,
        low=relative - spread,
        high=relative + spread,
        p50_ns=int(relative * 40_000),
        boxes=boxes,
        kinds=kinds,
    )


def test_field_latency_beats_size() -> None:
    choice = choose([BIG, ORT, SMALL], evidence=_evidence(_pick(ORT, 1.0), _pick(BIG, 2.25)))
    assert choice is not None
    assert choice.rows == (ORT,)
    assert choice.reason == (
        "the lowest field latency, 40 µs on 20 boxes, "
        "of 2 with reports that count from this kind of box"
    )


def test_of_what_the_field_cannot_tell_apart_the_smallest_is_taken() -> None:
    choice = choose(
        [BIG, ORT, SMALL],
        evidence=_evidence(_pick(BIG, 1.0, spread=0.1), _pick(SMALL, 1.05, spread=0.1)),
    )
    assert choice is not None
    assert choice.rows == (SMALL,)
    assert choice.reason == (
        "field latency 42 µs on 20 boxes, which cannot be told apart from that of "
        "tflite-fp32 on litert; the smallest of these"
    )


def test_a_small_one_that_is_clearly_slower_does_not_win() -> None:
    choice = choose([BIG, SMALL], evidence=_evidence(_pick(BIG, 1.0), _pick(SMALL, 1.05)))
    assert choice is not None
    assert choice.rows == (BIG,)


def test_one_that_is_known_on_fewer_kinds_of_boxes_does_not_win_by_that() -> None:
    choice = choose(
        [BIG, SMALL], evidence=_evidence(_pick(BIG, 1.2, kinds=2), _pick(SMALL, 1.0, kinds=1))
    )
    assert choice is not None
    assert choice.rows == (BIG,)


def test_the_only_one_with_evidence_wins_and_what_is_open_is_said() -> None:
    choice = choose([BIG, SMALL], evidence=_evidence(_pick(BIG, 1.0), settled=False))
    assert choice is not None
    assert choice.rows == (BIG,)
    assert "the only one with reports that count from this kind of box" in choice.reason
    assert "more reports may still change that" in choice.reason


def test_candidates_are_packed_by_field_latency_and_the_unmeasured_after_them() -> None:
    middle = _row("tflite-fp16", 200)
    choice = choose(
        [BIG, middle, SMALL],
        candidates=3,
        evidence=_evidence(_pick(BIG, 1.0), _pick(middle, 1.5)),
    )
    assert choice is not None
    assert choice.rows == (BIG, middle, SMALL)


def test_reports_about_a_variant_that_fails_do_not_count() -> None:
    broken = _row("tflite-fp32", 1, verdict=Verdict.FAILS_GATE)
    choice = choose([broken, SMALL, ORT], evidence=_evidence(_pick(broken, 1.0)))
    assert choice is not None
    assert choice.rows == (SMALL,)
    assert "no field reports that count of any of them yet" in choice.reason


def test_several_candidates_share_one_runtime() -> None:
    choice = choose([BIG, ORT, SMALL], candidates=3)
    assert choice is not None
    assert choice.rows == (SMALL, BIG)
    assert "2 candidates are packed for the box to measure" in choice.reason


def test_equal_sizes_are_settled_the_same_way_every_time() -> None:
    twin = _row("tflite-static-int8", 100)
    first, second = choose([SMALL, twin]), choose([twin, SMALL])
    assert first is not None
    assert second is not None
    assert first.rows == second.rows


def test_an_unverified_choice_says_that_nothing_was_run() -> None:
    choice = choose([_row("tflite-fp32", 1, verdict=Verdict.NOT_RUN)])
    assert choice is not None
    assert "none was run on the target" in choice.reason


_TUNED_ROWS = [INT8.row, FP32.row, ORT]


def test_a_tuning_chooses_with_its_options_and_says_so() -> None:
    choice = choose_tuned(_TUNED_ROWS, tuning())
    assert choice.rows == (INT8.row,)
    assert choice.options == {"tflite-dynamic-int8": INT8.options}
    assert choice.reason.startswith("tuned on Simulated CPU (2 threads): the fastest of 2")


def test_behind_what_was_tuned_come_the_next_fastest_of_its_runtime() -> None:
    choice = choose_tuned(_TUNED_ROWS, tuning(), candidates=3)
    assert choice.rows == (INT8.row, FP32.row)
    assert choice.options == {"tflite-dynamic-int8": INT8.options, "tflite-fp32": FP32.options}
    assert choice.reason.endswith("2 candidates are packed for the box to measure")


def test_what_was_tuned_and_is_another_file_now_is_refused() -> None:
    changed = replace(INT8.row, variant=replace(INT8.row.variant, sha256="9" * 64))
    with pytest.raises(ConfigError, match="another file now") as caught:
        choose_tuned([changed, FP32.row], tuning())
    assert "run `edgepack tune` again" in str(caught.value.hint)


def test_what_was_tuned_and_may_not_ship_now_is_refused() -> None:
    failed = replace(INT8.row, verdict=Verdict.FAILS_GATE)
    with pytest.raises(ConfigError, match="not among those that may ship now"):
        choose_tuned([failed, FP32.row], tuning())


def test_what_was_tuned_on_a_box_and_could_not_be_run_here_may_be_chosen() -> None:
    unverified = replace(INT8.row, verdict=Verdict.NOT_RUN)
    assert choose_tuned([unverified, FP32.row], tuning()).rows == (unverified,)


def test_machines_that_chose_differently_cannot_decide() -> None:
    one, other = tuning("a"), tuning("b", chosen=FP32)
    both = replace(one, machines=(*one.machines, *other.machines))
    with pytest.raises(ConfigError, match="its 2 machines chose differently") as caught:
        choose_tuned(_TUNED_ROWS, both)
    assert "tflite-fp32 on litert" in caught.value.message
    agreeing = choose_tuned(_TUNED_ROWS, tuning("a", "b"))
    assert agreeing.reason.startswith("tuned on 2 machines that agree")


def test_a_tuning_that_chose_nothing_is_refused() -> None:
    made = tuning()
    nothing = replace(made, machines=(replace(made.machines[0], chosen=None),))
    with pytest.raises(ConfigError, match="nothing could be chosen"):
        choose_tuned(_TUNED_ROWS, nothing)
