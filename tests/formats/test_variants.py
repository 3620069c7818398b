"""Variants have one name each, and every runtime one format."""

from __future__ import annotations

import pytest

from edgepack.formats.errors import ConfigError
from edgepack.formats.variants import (
    ALL_VARIANTS,
    Format,
    Precision,
    RuntimeName,
    parse_variant_name,
    runtime_format,
)


@pytest.mark.parametrize("spec", ALL_VARIANTS, ids=lambda spec: spec.name)
def test_a_name_leads_back_to_its_variant(spec: object) -> None:
    assert parse_variant_name(spec.name) == spec  # type: ignore[attr-defined]


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tflite-static-int8'"):
        parse_variant_name("tflite-static-in8")


def test_every_runtime_loads_one_format() -> None:
    formats = {runtime: runtime_format(runtime) for runtime in RuntimeName}
    assert formats[RuntimeName.LITERT] is formats[RuntimeName.TFLITE_RUNTIME] is Format.TFLITE
    assert formats[RuntimeName.ONNXRUNTIME] is formats[RuntimeName.ONNXRUNTIME_GPU] is Format.ONNX


def test_only_the_int8_precisions_are_int8() -> None:
    assert [each for each in Precision if not each.is_int8] == [Precision.FP32, Precision.FP16]
