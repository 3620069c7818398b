"""The closed sets of the field: formats, precisions, runtimes, and the variants they make.

It is not aware of how a variant is made or run. Anyone may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edgepack.formats.errors import ConfigError, did_you_mean


class Format(StrEnum):
    """A model file's format."""

    TFLITE = "tflite"
    ONNX = "onnx"

    @property
    def suffix(self) -> str:
        """The file name's ending, with its dot."""
        return f".{self.value}"


class Precision(StrEnum):
    """How weights and activations are kept in a variant's file."""

    FP32 = "fp32"
    FP16 = "fp16"
    DYNAMIC_INT8 = "dynamic-int8"
    DYNAMIC_INT8_PER_TENSOR = "dynamic-int8-per-tensor"
    STATIC_INT8 = "static-int8"

    @property
    def is_int8(self) -> bool:
        """Whether the weights are 8-bit integers."""
        return self not in (Precision.FP32, Precision.FP16)


class RuntimeName(StrEnum):
    """An inference runtime that a box may have."""

    LITERT = "litert"
    TFLITE_RUNTIME = "tflite-runtime"
    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_GPU = "onnxruntime-gpu"


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One way of writing a model down: a format and a precision."""

    format: Format
    precision: Precision

    @property
    def name(self) -> str:
        """The variant's name, such as `tflite-static-int8`."""
        return f"{self.format}-{self.precision}"

    @property
    def file_name(self) -> str:
        """The name of the variant's file, such as `tflite-static-int8.tflite`."""
        return f"{self.name}{self.format.suffix}"


#: Every variant edgepack makes, in the order of the table. Per-channel quantisation is
#: ONNX Runtime's own default for dynamic int8, so the per-tensor row is TFLite's alone.
ALL_VARIANTS: Final = (
    VariantSpec(Format.TFLITE, Precision.FP32),
    VariantSpec(Format.TFLITE, Precision.FP16),
    VariantSpec(Format.TFLITE, Precision.DYNAMIC_INT8),
    VariantSpec(Format.TFLITE, Precision.DYNAMIC_INT8_PER_TENSOR),
    VariantSpec(Format.TFLITE, Precision.STATIC_INT8),
    VariantSpec(Format.ONNX, Precision.FP32),
    VariantSpec(Format.ONNX, Precision.FP16),
    VariantSpec(Format.ONNX, Precision.DYNAMIC_INT8),
    VariantSpec(Format.ONNX, Precision.STATIC_INT8),
)

_RUNTIME_FORMATS: Final = {
    RuntimeName.LITERT: Format.TFLITE,
    RuntimeName.TFLITE_RUNTIME: Format.TFLITE,
    RuntimeName.ONNXRUNTIME: Format.ONNX,
    RuntimeName.ONNXRUNTIME_GPU: Format.ONNX,
}


def runtime_format(runtime: RuntimeName) -> Format:
    """Returns the format that a runtime loads."""
    return _RUNTIME_FORMATS[runtime]


def parse_variant_name(name: str) -> VariantSpec:
    """Turns a variant's name back into its parts.

    Args:
        name: Such as `onnx-dynamic-int8`.

    Returns:
        The variant of that name.

    Raises:
        ConfigError: No variant has that name.
    """
    known = {spec.name: spec for spec in ALL_VARIANTS}
    if name in known:
        return known[name]
    raise ConfigError(
        f"no variant is called '{name}'{did_you_mean(name, known)}",
        hint="variants: " + ", ".join(known),
    )
