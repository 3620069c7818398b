"""Which forms are tried, in which order, and what makes two conversions the same."""

from __future__ import annotations

from typing import Any

import pytest

from edgepack.build.convert.recipes import (
    UNROLL_FIRST_STEPS,
    UNROLL_MOST_STEPS,
    Form,
    ladder,
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


def test_dynamic_int8_prefers_the_faster_form_until_it_grows_too_large() -> None:
    assert ladder(DYNAMIC, UNROLL_FIRST_STEPS)[0] is Form.UNROLLED
    assert ladder(DYNAMIC, UNROLL_FIRST_STEPS + 1)[0] is Form.ROLLED


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
