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
RECIPE_VERSION: Final = 10

#: Up to here the unrolled form is tried first where both work: it is about twice as fast as
#: a loop, and every step adds some 2 kB to the file.
UNROLL_FIRST_STEPS: Final = 64
#: Beyond this an unrolled graph takes the converter minutes and the file megabytes.
UNROLL_MOST_STEPS: Final = 256


class Form(StrEnum):
    """How the graph a variant is made from writes its layers down."""

    PLAIN = "plain"
    #: Recurrent layers as a loop.
    ROLLED = "rolled"
    #: Recurrent layers as one copy of the cell for each step.
    UNROLLED = "unrolled"
    #: GRU, LSTM and LayerNormalization as the one ONNX operator each of them has.
    NATIVE = "native"


def ladder(spec: VariantSpec, recurrent_steps: int) -> tuple[Form, ...]:
    """Returns the forms to try for a variant, best first.

    Args:
        spec: Which variant.
        recurrent_steps: Steps of the longest recurrent layer; 0 when there is none.

    Returns:
        At least one form.
    """
    if spec.format is Format.ONNX:
        return _onnx_ladder(recurrent_steps)
    if recurrent_steps == 0:
        return (Form.PLAIN,)
    if recurrent_steps > UNROLL_MOST_STEPS:
        return (Form.ROLLED,)
    if spec.precision in (Precision.FP32, Precision.FP16):
        return (Form.ROLLED, Form.UNROLLED)
    # The calibrator dies of SIGSEGV on a loop (tensorflow#41305, #76672), so static int8 has
    # the loop only as a last resort.
    if spec.precision is Precision.STATIC_INT8 or recurrent_steps <= UNROLL_FIRST_STEPS:
        return (Form.UNROLLED, Form.ROLLED)
    return (Form.ROLLED, Form.UNROLLED)


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
