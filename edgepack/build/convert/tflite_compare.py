"""Spares a comparison with one number the way over general broadcasting. Runs in a worker.

The kernel goes straight through two tensors of one shape; of a tensor and a number it counts four
indices for each element. So the number is written down once for each element.
Used by `tflite`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from edgepack.build.convert.tflite_edit import TfliteEditor
from edgepack.build.convert.tflite_file import constant, operator_name

#: Source: tensorflow/lite/kernels/comparisons.cc.
_COMPARISONS: Final = frozenset(
    {"EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"}
)
#: A history, not a picture: four bytes each.
_MOST_NUMBERS: Final = 1_024


def fill_compared_numbers(model: Any) -> int:
    """Gives the number that a short tensor is compared with the tensor's shape, in place.

    Args:
        model: A ModelT.

    Returns:
        How many comparisons were changed.
    """
    found = 0
    for graph in model.subgraphs:
        for operator in graph.operators:
            if operator_name(model, operator) in _COMPARISONS:
                found += _fill(model, graph, operator)
    return found


def _fill(model: Any, graph: Any, operator: Any) -> bool:
    compared, number = (graph.tensors[int(i)] for i in operator.inputs)
    value = constant(model, number)
    shape = [] if compared.shape is None else [int(n) for n in compared.shape]
    signature = shape if compared.shapeSignature is None else list(compared.shapeSignature)
    size = int(np.prod(shape))
    if value is None or value.size != 1 or not 1 < size <= _MOST_NUMBERS or -1 in signature:
        return False
    filled = TfliteEditor(model, graph).constant(np.full(shape, value.reshape(-1)[0]), number.type)
    graph.tensors[filled].quantization = number.quantization
    operator.inputs = np.array([operator.inputs[0], filled], np.int32)
    return True
