"""Static int8 for TFLite that keeps the ranking: an integer body, float scores.

Eight bits give a catalogue of thousands only 256 different scores, so the top ten would be ties.
The last matrix product therefore takes float activations and int8 weights, and everything
behind it is float. Several bodies are made from one calibration; the first that agrees with
fp32 on real inputs is taken. Imports TensorFlow; used by `tflite`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgepack.build.convert.tflite_file import operator_name, parse_tflite
from edgepack.build.convert.tflite_head import head_tensor_names, make_hybrid
from edgepack.formats.errors import ConversionError

Rows = Sequence[Sequence[npt.NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Body:
    """How much of the body is integer.

    Attributes:
        name: For the table's notes.
        integer_operators: The only operators that become integer; None for all that can.
        per_channel: Whether each output of a dense layer has a scale of its own.
    """

    name: str
    integer_operators: frozenset[str] | None
    per_channel: bool = False


_PRODUCTS = frozenset(
    {
        *("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"),
        *("GATHER", "EMBEDDING_LOOKUP"),
    }
)
#: From the most integer to the most exact. What is cheap and exact in float costs a ranking
#: most in 8 bits: a normalisation's variance, a gate's product, the state before scoring.
#: Scales for each channel gain nothing measurable and repeat for every step of a recurrent
#: layer.
BODIES: Final = (
    Body("integer body", None),
    Body("integer products", _PRODUCTS),
    Body("integer products, per channel", _PRODUCTS, per_channel=True),
)
#: Enough agreement to stop looking: above the default gate by what its own noise needs.
_ENOUGH: Final = 0.985
#: Rows the candidates are compared on.
_COMPARED_ROWS: Final = 300
_CUT: Final = 10


def make_static(
    *,
    calibrated: Callable[[], bytes],
    original: Callable[[], bytes],
    rows: Rows,
    finish: Callable[[Any], bytes],
    ranks: bool,
) -> tuple[bytes, str]:
    """Makes the static int8 file.

    Args:
        calibrated: Gives the fp32 file with measured ranges; may crash the process.
        original: Gives the fp32 file.
        rows: Real inputs at batch 1, in the graph's order.
        finish: Names inputs and outputs and writes the file.
        ranks: The graph is a recommender's, with scores and items.

    Returns:
        The file, and what is worth noting about it.

    Raises:
        ConversionError: No body could be quantised.
    """
    ranges = calibrated()
    expected = run_rows(finish(parse_tflite(original())), rows[:_COMPARED_ROWS])
    best: tuple[float, bytes, str] | None = None
    last = "no body could be quantised"
    for body in BODIES:
        try:
            data = finish(_quantised(ranges, body))
        except (RuntimeError, ValueError, ConversionError) as error:
            last = str(error)
            continue
        found = agreement(expected, run_rows(data, rows[:_COMPARED_ROWS]), ranks=ranks)
        if best is None or found > best[0]:
            best = (found, data, body.name)
        if found >= _ENOUGH:
            break
    if best is None:
        raise ConversionError(f"static int8: {last}")
    return best[1], best[2]


def agreement(
    expected: Sequence[npt.NDArray[Any]], found: Sequence[npt.NDArray[Any]], *, ranks: bool
) -> float:
    """Returns how much of fp32 a candidate keeps, 0 … 1.

    Args:
        expected: fp32's outputs, each [rows, ...].
        found: The candidate's, in the same order.
        ranks: Whether these are scores and items: then the mean share of equal items among
            the best ten; else 1 minus the mean distance as a share of the output's range.
    """
    if ranks:
        one, other = (
            next(each for each in outputs if np.issubdtype(each.dtype, np.integer))
            for outputs in (expected, found)
        )
        return float((one[:, :_CUT, None] == other[:, None, :_CUT]).any(axis=2).mean())
    shares = []
    for one, other in zip(expected, found, strict=True):
        span = float(np.ptp(one)) or 1.0
        distance = np.abs(one.astype(np.float64) - other.astype(np.float64)).mean()
        shares.append(1.0 - float(distance) / span)
    return min(shares)


def run_rows(data: bytes, rows: Rows) -> list[npt.NDArray[Any]]:
    """Returns the outputs [rows, ...] of a TFLite file, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    places = [each["index"] for each in interpreter.get_input_details()]
    outputs = [each["index"] for each in interpreter.get_output_details()]
    collected: list[list[npt.NDArray[Any]]] = [[] for _ in outputs]
    for row in rows:
        for place, value in zip(places, row, strict=True):
            interpreter.set_tensor(place, value)
        interpreter.invoke()
        for column, place in zip(collected, outputs, strict=True):
            column.append(interpreter.get_tensor(place)[0])
    return [np.stack(column) for column in collected]


def _quantised(ranges: bytes, body: Body) -> Any:
    """Returns the ModelT with this body and a hybrid head."""
    from tensorflow.lite.python.convert import mlir_quantize

    measured = parse_tflite(ranges)
    head = head_tensor_names(measured)
    data = mlir_quantize(
        ranges,
        denylisted_ops=_float_operators(measured, body) or None,
        denylisted_nodes=head or None,
        disable_per_channel_for_dense_layers=not body.per_channel,
    )
    model = parse_tflite(bytes(data))
    if head:
        make_hybrid(model, head)
    return model


def _float_operators(model: Any, body: Body) -> set[str]:
    if body.integer_operators is None:
        return set()
    used = {operator_name(model, each) for graph in model.subgraphs for each in graph.operators}
    return used - body.integer_operators
