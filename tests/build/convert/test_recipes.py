"""Which forms are tried, in which order, and what makes two conversions the same."""

from __future__ import annotations

from typing import Any

import pytest

from edgepack.build.convert.recipes import (
    UNROLL_FIRST_BYTES,
    UNROLL_FIRST_STEPS,
    UNROLL_MOST_STEPS,
    Form,
    ladder,
    unrolled_is_faster,
    variant_key,
)
from edgepack.formats.variants import ALL_VARIANTS, Format, Precision, VariantSpec

STATIC = VariantSpec(Format.TFLITE, Precision.STATIC_INT8)
DYNAMIC = VariantSpec(Format.TFLITE, Precision.DYNAMIC_INT8)


@pytest.mark.parametrize("spec", ALL_VARIANTS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("steps", [0, 1, 20, 200, 5000])
def test_every_variant_has_a_ladder_without_repeats(spec: VariantSpec, steps: int) -> None:
    forms = ladder(spec, steps)
    assert forms
    assert len(set(forms)) == len(forms)


def test_static_int8_of_a_recurrent_model_starts_unrolled() -> None:
    assert ladder(STATIC, 20) == (Form.UNROLLED, Form.ROLLED)
    assert ladder(STATIC, UNROLL_FIRST_STEPS + 1)[0] is Form.UNROLLED


def test_a_long_sequence_is_not_unrolled() -> None:
    assert ladder(STATIC, UNROLL_MOST_STEPS + 1) == (Form.ROLLED,)
    onnx = ladder(VariantSpec(Format.ONNX, Precision.FP32), UNROLL_MOST_STEPS + 1)
    assert Form.UNROLLED not in onnx


@pytest.mark.parametrize(
    ("precision", "steps", "weights", "faster"),
    [
        # Rows of the benchmark's table: 64 wide, 20 steps, of a GRU, of an LSTM in two directions.
        (Precision.FP32, 20, 3 * 64 * 64, True),
        (Precision.FP16, 20, 3 * 64 * 64, True),
        (Precision.FP32, 20, 2 * 4 * 64 * 64, False),
        (Precision.FP16, 20, 2 * 4 * 64 * 64, False),
        (Precision.DYNAMIC_INT8, 20, 2 * 4 * 64 * 64, True),
        (Precision.DYNAMIC_INT8_PER_TENSOR, 20, 2 * 4 * 64 * 64, True),
        (Precision.DYNAMIC_INT8, 20, 4 * 256 * 256, False),
        (Precision.DYNAMIC_INT8, 50, 3 * 128 * 128, False),
        (Precision.FP32, 50, 4 * 32 * 32, True),
    ],
)
def test_what_was_measured_faster_is_tried_first(
    precision: Precision, steps: int, weights: int, faster: bool
) -> None:
    assert unrolled_is_faster(precision, steps, weights) is faster
    first = ladder(VariantSpec(Format.TFLITE, precision), steps, weights)[0]
    assert first is (Form.UNROLLED if faster else Form.ROLLED)


def test_copies_that_leave_the_cache_are_a_loop() -> None:
    weights = UNROLL_FIRST_BYTES // 20
    assert unrolled_is_faster(Precision.DYNAMIC_INT8, 20, weights)
    assert not unrolled_is_faster(Precision.DYNAMIC_INT8, 20, weights + 1)
    # The same weights in float take four times the room.
    assert not unrolled_is_faster(Precision.FP32, 20, weights)


def test_copies_that_a_catalogue_drives_out_of_the_cache_are_a_loop() -> None:
    # A GRU of 64 before 10,000 items of 64, as it was timed: 203 us as a loop and 222 unrolled
    # in fp32, and in int8 the whole model stays in the cache.
    gru, items = 3 * 64 * 64, 10_001 * 64
    assert not unrolled_is_faster(Precision.FP32, 20, gru, items)
    assert unrolled_is_faster(Precision.FP32, 20, gru)
    assert unrolled_is_faster(Precision.DYNAMIC_INT8, 20, gru, items)
    # So few copies cost nothing where they are not in it.
    assert unrolled_is_faster(Precision.DYNAMIC_INT8, 20, gru, 100 * items)
    assert not unrolled_is_faster(Precision.DYNAMIC_INT8, 20, 2 * gru, 100 * items)


def test_many_steps_are_a_loop_however_small_the_layer() -> None:
    assert unrolled_is_faster(Precision.DYNAMIC_INT8, UNROLL_FIRST_STEPS, 1)
    assert not unrolled_is_faster(Precision.DYNAMIC_INT8, UNROLL_FIRST_STEPS + 1, 1)


def test_static_int8_is_never_calibrated_as_a_loop_first() -> None:
    # The calibrator dies on loops; however large the copies are, a file comes out.
    assert ladder(STATIC, 20, 100 * UNROLL_FIRST_BYTES)[0] is Form.UNROLLED


def test_onnx_starts_with_native_nodes_and_a_masked_layer_falls_through_to_unrolled() -> None:
    forms = ladder(VariantSpec(Format.ONNX, Precision.DYNAMIC_INT8), 20)
    assert forms == (Form.NATIVE, Form.UNROLLED, Form.ROLLED)


def _key(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "spec": STATIC,
        "form": Form.PLAIN,
        "model_sha256": "a",
        "graph_top_k": 30,
        "samples_sha256": "s",
        "tools": {"tensorflow": "2.21"},
    }
    return variant_key(**{**values, **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"spec": DYNAMIC},
        {"form": Form.UNROLLED},
        {"model_sha256": "b"},
        {"graph_top_k": 31},
        {"samples_sha256": "t"},
        {"tools": {"tensorflow": "2.22"}},
    ],
)
def test_whatever_shapes_the_bytes_changes_the_key(change: dict[str, Any]) -> None:
    assert _key(**change) != _key()


def test_only_those_that_read_the_samples_depend_on_them() -> None:
    assert _key(spec=DYNAMIC, samples_sha256="t") == _key(spec=DYNAMIC)
    # A tensor model's shapes come from its samples.
    tensor = {"spec": DYNAMIC, "graph_top_k": None}
    assert _key(**tensor, samples_sha256="t") != _key(**tensor)
