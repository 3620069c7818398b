"""What is tried for each variant, in which order. Data and pure functions only.

A rung is a form of the graph; a variant climbs down its ladder until a rung works. It is not
aware of processes or files. Used by the other modules of `edgepack.build.convert`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from edgepack.build.artifacts import NO_NEEDS, Needs
from edgepack.formats.variants import Format, Precision, VariantSpec

#: Raised when the same inputs give other bytes than before, so that caches forget those.
RECIPE_VERSION: Final = 14

#: Beyond this many steps the operators of an unrolled layer weigh more in the file than they
#: save in time: 1.4 to 2.5 kB a step and layer.
UNROLL_FIRST_STEPS: Final = 64
#: Bytes of a model up to which the unrolled form is tried first: all copies of the weights and
#: what else a call reads from end to end. XNNPACK packs each copy apart, so that beyond a core's
#: cache they come from memory at every call.
#: Source: benchmarks/variants/forms.py, GRU, LSTM and both directions, 10 to 50 steps, 32 to 256
#: wide: with 2 MB of level 2 cache a core, every layer of up to 1.3 MB was quicker unrolled (up
#: to 1.0 MB in 0.32 to 0.65 of the loop's time) and every one from 1.6 MB on as a loop. A
#: Cortex-A72 has 1 MB.
UNROLL_FIRST_BYTES: Final = 1_000_000
#: Copies of so few bytes are unrolled whatever else the model reads: out of the cache they take
#: 1.0 to 1.25 of the loop's time, in it less than half. Source: the same with `--cold`.
UNROLL_ALWAYS_BYTES: Final = 250_000
#: XNNPACK unpacks float16 weights to float32.
_FLOAT_BYTES: Final = 4
#: Beyond this an unrolled graph takes the converter minutes and the file megabytes.
UNROLL_MOST_STEPS: Final = 256


class Form(StrEnum):
    """How the graph a variant is made from writes its layers down."""

    PLAIN = "plain"
    #: Recurrent layers as a loop.
    ROLLED = "rolled"
    #: Recurrent layers as one copy of the cell for each step.
    UNROLLED = "unrolled"
    #: GRU, LSTM and LayerNormalization as the one ONNX operator each of them has, attention of
    #: several heads in few.
    NATIVE = "native"


def ladder(
    spec: VariantSpec, recurrent_steps: int, repeated_weights: int = 0, rest_weights: int = 0
) -> tuple[Form, ...]:
    """Returns the forms to try for a variant, best first.

    Args:
        spec: Which variant.
        recurrent_steps: Steps of the longest recurrent layer; 0 when there is none.
        repeated_weights: Weights that every step multiplies, of all recurrent layers together.
        rest_weights: The other weights that a call reads from end to end.

    Returns:
        At least one form.
    """
    if spec.format is Format.ONNX:
        return _onnx_ladder(recurrent_steps)
    if recurrent_steps == 0:
        return (Form.PLAIN,)
    if recurrent_steps > UNROLL_MOST_STEPS:
        return (Form.ROLLED,)
    # The calibrator dies of SIGSEGV on a loop (tensorflow#41305, #76672), so static int8 has
    # the loop only as a last resort.
    if spec.precision is Precision.STATIC_INT8:
        return (Form.UNROLLED, Form.ROLLED)
    if unrolled_is_faster(spec.precision, recurrent_steps, repeated_weights, rest_weights):
        return (Form.UNROLLED, Form.ROLLED)
    return (Form.ROLLED, Form.UNROLLED)


def unrolled_is_faster(
    precision: Precision, recurrent_steps: int, repeated_weights: int, rest_weights: int = 0
) -> bool:
    """Says by what was measured whether a copy of the cell for each step beats a loop.

    Args:
        precision: Of a TFLite variant.
        recurrent_steps: Steps of the longest recurrent layer.
        repeated_weights: Weights that every step multiplies, of all recurrent layers together.
        rest_weights: The other weights that a call reads from end to end.
    """
    floats = precision in (Precision.FP32, Precision.FP16)
    weight_bytes = _FLOAT_BYTES if floats else 1
    copied_bytes = recurrent_steps * repeated_weights * weight_bytes
    if recurrent_steps > UNROLL_FIRST_STEPS:
        return False
    read_bytes = copied_bytes + rest_weights * weight_bytes
    return copied_bytes <= UNROLL_ALWAYS_BYTES or read_bytes <= UNROLL_FIRST_BYTES


def rounds_by_batch(spec: VariantSpec) -> bool:
    """Whether a variant rounds its activations by what the whole call brings.

    In one call with others a row would then be answered a little differently (6e-5 was seen),
    depending on who else asked, so such a variant keeps a batch of 1.
    """
    return spec.format is Format.ONNX and spec.precision is Precision.DYNAMIC_INT8


def _onnx_ladder(recurrent_steps: int) -> tuple[Form, ...]:
    if recurrent_steps == 0:
        return (Form.NATIVE, Form.PLAIN)
    if recurrent_steps > UNROLL_MOST_STEPS:
        return (Form.NATIVE, Form.ROLLED)
    # A masked layer has no native form and stays a `Loop`, which cannot be quantised.
    return (Form.NATIVE, Form.UNROLLED, Form.ROLLED)


def variant_key(
    *,
    spec: VariantSpec,
    form: Form,
    model_sha256: str,
    graph_top_k: int | None,
    samples_sha256: str,
    tools: dict[str, str],
    needs: Needs = NO_NEEDS,
) -> dict[str, Any]:
    """Returns everything that one rung of one variant depends on, as a cache key.

    Args:
        spec: Which variant.
        form: Which rung.
        model_sha256: The model.
        graph_top_k: Items the finished graph returns; None for a tensor model.
        samples_sha256: Calibration data; a tensor model's shapes come from it too.
        tools: Version by package.
        needs: What its target needs of the graph.
    """
    # Only static int8 and tensor models read the samples; leaving them out elsewhere keeps
    # an entry alive when only the calibration data changed.
    reads_samples = spec.precision is Precision.STATIC_INT8 or graph_top_k is None
    return {
        # Left out where it says nothing: what was made before is found again.
        **needs.key(),
        "recipe": RECIPE_VERSION,
        "variant": spec.name,
        "form": str(form),
        "model": model_sha256,
        "graph_top_k": graph_top_k,
        "samples": samples_sha256 if reads_samples else None,
        "tools": tools,
    }
