"""Ranks a large catalogue in two stages in a TFLite graph, and spares it a copy of the scores.

One top-k looks at a million scores one by one; the largest of each stretch is found with vector
instructions, and only the best stretches are looked at, the best of them first: what comes
after that seldom moves a winner. The scores are the same, since an item outside the best k
stretches has k others no worse, one in each. Which of several items with one score comes first,
or last of all that fit, is another matter than in one stage: a lower number no longer decides.

Before the top-k the graph cuts off padding's score, a copy of all others. Where the scores come
out of one product, padding gets a score that never wins instead, and the product gets as many
such rows as fill up the last stretch. Imports LiteRT's schema; used by `tflite`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgepack.build.convert.tflite_edit import TfliteEditor
from edgepack.build.convert.tflite_file import constant, operator_name

#: A stretch has so many scores at most.
_LONGEST: Final = 128
#: Fewer are ranked as quickly in one stage (`benchmarks/variants/topk.py`).
LEAST_ITEMS: Final = 3_000
#: Below any score; not infinite, because a product's clamp would make it the lowest float.
_NEVER: Final = np.float32(-1e30)

_FLOAT, _INT = schema.TensorType.FLOAT32, schema.TensorType.INT32


def stretch_of(count: int, k: int) -> int:
    """How many scores a stretch has, a power of two.

    Looked at one by one are the largest of each stretch and then all of k stretches, together
    count / stretch + k * stretch: fewest at the square root of count / k, and the larger of the
    two powers of two around that was measured to be the better one.

    Args:
        count: Scores, at least as many as k.
        k: How many are wanted.
    """
    return min(_LONGEST, 1 << math.ceil(math.log2(math.sqrt(count / k))))


def stage_top_k(model: Any, least_items: int = LEAST_ITEMS) -> int:
    """Replaces each top-k over one long row of float scores by one in two stages.

    Args:
        model: A ModelT, changed in place.
        least_items: A top-k of fewer scores is left alone.

    Returns:
        How many were replaced.
    """
    graph = model.subgraphs[0]
    replaced = 0
    for operator in [each for each in graph.operators if operator_name(model, each) == "TOPK_V2"]:
        scores = graph.tensors[operator.inputs[0]]
        counted = constant(model, graph.tensors[operator.inputs[1]])
        shape = [int(n) for n in scores.shape]
        if counted is None or scores.type != _FLOAT or len(shape) != 2:  # noqa: PLR2004 - a matrix
            continue
        k = int(counted.reshape(-1)[0])
        if shape[0] != 1 or shape[1] < max(least_items, 2 * k):
            continue
        # A stretch of one would be the first stage again.
        if shape[1] < k * stretch_of(shape[1], k) or stretch_of(shape[1], k) == 1:
            continue
        _Stages(model, operator, k).replace()
        replaced += 1
    return replaced


class _Stages:
    """Rewrites the graph around one top-k."""

    def __init__(self, model: Any, operator: Any, k: int) -> None:
        self._model = model
        self._graph = model.subgraphs[0]
        self._edit = TfliteEditor(model, self._graph)
        self._operator = operator
        self._k = k
        self._new: list[Any] = []
        scores = self._graph.tensors[operator.inputs[0]]
        self._stretch = stretch_of(int(scores.shape[1]), k)

    def replace(self) -> None:
        source = int(self._operator.inputs[0])
        best, at = (int(i) for i in self._operator.outputs)
        count = int(self._graph.tensors[source].shape[1])
        whole = self._with_padding(source)
        first = 0
        if whole is not None:
            source, count, first = whole, int(self._graph.tensors[whole].shape[1]), 1
        elif count % self._stretch:
            source, count = self._filled_up(source, count)
        rows = count // self._stretch
        table = self._tensor([rows, self._stretch], _FLOAT)
        self._reshape(source, table)
        largest = self._tensor([rows], _FLOAT)
        self._add("REDUCE_MAX", [table, self._constant([1])], [largest], schema.ReducerOptionsT())
        stretches = self._tensor([self._k], _INT)
        self._top_k(largest, self._tensor([self._k], _FLOAT), stretches)
        scores = self._tensor([self._k, self._stretch], _FLOAT)
        self._add("GATHER", [table, stretches], [scores], schema.GatherOptionsT())
        flat = self._tensor([1, self._k * self._stretch], _FLOAT)
        self._reshape(scores, flat)
        place = self._tensor([1, self._k], _INT)
        self._top_k(flat, best, place)
        self._items(stretches, place, at, first)
        position = self._graph.operators.index(self._operator)
        self._graph.operators[position : position + 1] = self._new

    def _items(self, stretches: int, place: int, at: int, first: int) -> None:
        """Where the winners were: a stretch's start, and the place in it."""
        starts, shift = (self._tensor([self._k], _INT) for _ in range(2))
        self._add(
            "MUL", [stretches, self._constant([self._stretch])], [starts], schema.MulOptionsT()
        )
        taken = np.arange(self._k) * self._stretch + first
        self._add("SUB", [starts, self._constant(taken)], [shift], schema.SubOptionsT())
        number, moved = (self._tensor([1, self._k], _INT) for _ in range(2))
        divided = [place, self._constant([self._stretch])]
        self._add("FLOOR_DIV", divided, [number], schema.FloorDivOptionsT())
        self._add("GATHER", [shift, number], [moved], schema.GatherOptionsT())
        self._add("ADD", [place, moved], [at], schema.AddOptionsT())

    def _with_padding(self, source: int) -> int | None:
        """Makes padding's score one that never wins; returns all scores, or None.

        Only where the scores are one product's with a constant table, and nothing else reads
        them. The product gets rows up to a whole number of stretches.
        """
        cut = self._maker(source)
        if cut is None or not self._cuts_first(cut):
            return None
        product = self._maker(int(cut.inputs[0]))
        if product is None or operator_name(self._model, product) != "FULLY_CONNECTED":
            return None
        readers = [op for op in self._graph.operators if cut.inputs[0] in op.inputs]
        weights = self._graph.tensors[product.inputs[1]]
        table = constant(self._model, weights)
        bias = self._bias(product)
        if len(readers) != 1 or table is None or bias is None or self._is_output(source):
            return None
        more = -len(table) % self._stretch
        self._edit.fill(weights, np.pad(table, ((0, more), (0, 0))))
        _more_scales(weights.quantization, more)
        bias[0] = _NEVER
        inputs = np.array([*product.inputs, -1][:3], dtype=np.int32)
        inputs[2] = self._constant(np.pad(bias, (0, more), constant_values=_NEVER), _FLOAT)
        product.inputs = inputs
        scores = self._graph.tensors[cut.inputs[0]]
        scores.shape = np.array([1, len(table) + more], dtype=np.int32)
        scores.shapeSignature = None
        self._graph.operators.remove(cut)
        return int(cut.inputs[0])

    def _cuts_first(self, operator: Any) -> bool:
        """Whether it is `scores[:, 1:]`."""
        if operator_name(self._model, operator) != "STRIDED_SLICE":
            return False
        begin = constant(self._model, self._graph.tensors[operator.inputs[1]])
        steps = constant(self._model, self._graph.tensors[operator.inputs[3]])
        before = self._graph.tensors[operator.inputs[0]].shape
        after = self._graph.tensors[operator.outputs[0]].shape
        return (
            begin is not None
            and steps is not None
            and begin.reshape(-1)[1] == 1
            and (steps == 1).all()
            and list(after) == [1, before[-1] - 1]
        )

    def _bias(self, product: Any) -> npt.NDArray[np.float32] | None:
        """What the product adds, float32[rows], a copy; zeros where it adds nothing."""
        rows = int(self._graph.tensors[product.outputs[0]].shape[-1])
        place = int(product.inputs[2]) if len(product.inputs) > 2 else -1  # noqa: PLR2004 - the bias
        if place < 0:
            return np.zeros(rows, dtype=np.float32)
        tensor = self._graph.tensors[place]
        values = constant(self._model, tensor) if tensor.type == _FLOAT else None
        return None if values is None else values.reshape(-1).copy()

    def _filled_up(self, source: int, count: int) -> tuple[int, int]:
        more = -count % self._stretch
        out = self._tensor([1, count + more], _FLOAT)
        around = self._constant(np.array([[0, 0], [0, more]]))
        never = self._constant(np.array(_NEVER), _FLOAT)
        self._add("PADV2", [source, around, never], [out], schema.PadV2OptionsT())
        return out, count + more

    def _top_k(self, source: int, best: int, at: int) -> None:
        k = self._constant(np.array(self._k))
        self._add("TOPK_V2", [source, k], [best, at], schema.TopKV2OptionsT())

    def _reshape(self, source: int, target: int) -> None:
        self._new.append(self._edit.reshape(source, target))

    def _add(self, name: str, inputs: list[int], outputs: list[int], options: Any) -> None:
        self._new.append(self._edit.operator(name, inputs, outputs, options))

    def _tensor(self, shape: list[int], kind: int) -> int:
        return self._edit.tensor(shape, kind)

    def _constant(self, values: Any, kind: int = _INT) -> int:
        array = np.asarray(values, dtype=np.float32 if kind == _FLOAT else np.int32)
        return self._edit.constant(array, kind)

    def _maker(self, place: int) -> Any | None:
        return next((op for op in self._graph.operators if place in op.outputs), None)

    def _is_output(self, place: int) -> bool:
        return place in self._graph.outputs


def _more_scales(quantization: Any, more: int) -> None:
    """A table with a scale for each row needs one for each new row."""
    if quantization is not None and quantization.scale is not None and len(quantization.scale) > 1:
        quantization.scale = np.pad(quantization.scale, (0, more), constant_values=1.0)
        quantization.zeroPoint = np.pad(quantization.zeroPoint, (0, more))
