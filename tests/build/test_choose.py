"""The choice: gate and target first, then field latency, then size; always with a reason."""

from __future__ import annotations

from pathlib import Path

from edgepack.build.artifacts import ConvertedVariant
from edgepack.build.choose import VariantRow, Verdict, choose
from edgepack.formats.variants import RuntimeName, parse_variant_name


def _row(
    name: str,
    size_bytes: int,
    *,
    verdict: Verdict = Verdict.PASSED,
    runtime: RuntimeName = RuntimeName.LITERT,
    site_bytes: int = 1000,
) -> VariantRow:
    variant = ConvertedVariant(parse_variant_name(name), Path(name), size_bytes, "0" * 64)
    return VariantRow("arm64", runtime, "1", variant, verdict, "", site_bytes=site_bytes)


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


def test_field_latency_beats_size() -> None:
    fast = {
        (RuntimeName.ONNXRUNTIME, "onnx-dynamic-int8"): 40_000.0,
        (RuntimeName.LITERT, "tflite-fp32"): 90_000.0,
    }
    choice = choose([BIG, ORT, SMALL], field_latency_ns=fast)
    assert choice is not None
    assert choice.rows == (ORT,)
    assert "lowest field latency, 40 µs, of 2 with reports" in choice.reason


def test_reports_about_a_variant_that_fails_do_not_count() -> None:
    broken = _row("tflite-fp32", 1, verdict=Verdict.FAILS_GATE)
    latency = {(RuntimeName.LITERT, "tflite-fp32"): 1.0}
    choice = choose([broken, SMALL], field_latency_ns=latency)
    assert choice is not None
    assert choice.rows == (SMALL,)


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
