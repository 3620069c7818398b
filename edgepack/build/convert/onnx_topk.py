"""Ranks a large catalogue in stages: the best of each stretch of items, then the best of those.

The answer is the same, ties included. On a card it is what makes the top-k of a large catalogue
quick: ONNX Runtime's CUDA kernel gives each row of its input to one block of threads, so one
history's scores, a single row, would keep one multiprocessor busy and leave the others idle. On
a CPU one stage is quicker. Imports onnx; used by `onnx_export`.

Source: onnxruntime/core/providers/cuda/math/topk_impl.cuh, `RadixTopK<<<N, ...>>>`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

#: Scores that one block of threads ranks. Four a thread; a thousand stretches of a million
#: items keep every multiprocessor of a large card busy.
STRETCH: Final = 1024
#: Up to here one block is quick enough, and the CPU, a card's fallback, quicker by far.
LEAST_ITEMS: Final = 32_768
_LOWEST: Final = float("-inf")


def stage_top_k(model: Any, stretch: int = STRETCH, least_items: int = LEAST_ITEMS) -> int:
    """Replaces each top-k of many scores by one in stages.

    Args:
        model: An ONNX model, changed in place. Its inferred shapes tell how many scores a
            top-k ranks; one over another axis than the last, of another type than
            float32, or with an unknown extent is left alone.
        stretch: Scores that are ranked together in a stage.
        least_items: A top-k of fewer scores is left alone.

    Returns:
        How many were replaced.
    """
    import onnx
    from onnx import numpy_helper

    inferred = onnx.shape_inference.infer_shapes(model)
    extents = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*inferred.graph.value_info, *inferred.graph.input]
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    constants = {each.name: each for each in model.graph.initializer}
    replaced = 0
    for node in [each for each in model.graph.node if each.op_type == "TopK"]:
        shape, counted = extents.get(node.input[0], []), constants.get(node.input[1])
        if counted is None or len(shape) != 2 or not _is_plain(node):  # noqa: PLR2004 - a matrix
            continue
        k, items = int(numpy_helper.to_array(counted).reshape(-1)[0]), shape[1]
        # A stage must leave fewer scores than it took, or it would go on for ever.
        if items < least_items or stretch < 2 * k:
            continue
        _replace(model, node, _Stages(node, f"staged{replaced}", k, stretch).make(items))
        replaced += 1
    return replaced


def _is_plain(node: Any) -> bool:
    """Whether it takes the largest along the last axis, in order."""
    given = {each.name: each.i for each in node.attribute}
    return given.get("axis", -1) in (-1, 1) and given.get("largest", 1) == 1 == given.get(
        "sorted", 1
    )


class _Stages:
    """Writes the nodes of one top-k."""

    def __init__(self, node: Any, prefix: str, k: int, stretch: int) -> None:
        self._node = node
        self._prefix = prefix
        self._k = k
        self._stretch = stretch
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def make(self, items: int) -> _Stages:
        """Writes the stages for so many scores a row."""
        scores, places, left, stage = self._node.input[0], "", items, 0
        while left > max(2 * self._stretch, 2 * self._k):
            scores, places, left = self._stage(stage, scores, places, left)
            stage += 1
        if not places:
            raise AssertionError("nothing to stage")
        best, at = self._node.output
        self._add("TopK", [scores, self._node.input[1]], [best, self._name("last")])
        self._add("GatherElements", [places, self._name("last")], [at], axis=1)
        return self

    def _stage(self, stage: int, scores: str, places: str, left: int) -> tuple[str, str, int]:
        """Keeps the best of each stretch; returns their scores, where they were, how many."""
        rows = -(-left // self._stretch)
        width = -(-left // rows)
        scores = self._padded(f"scores{stage}", scores, rows * width - left, np.float32(_LOWEST))
        shape = self._constant(f"stretches{stage}", [-1, rows, width])
        flat = self._constant(f"flat{stage}", [-1, rows * self._k])
        split, best, at = (self._name(f"{word}{stage}") for word in ("split", "best", "at"))
        self._add("Reshape", [scores, shape], [split])
        self._add("TopK", [split, self._node.input[1]], [best, at])
        kept, found = self._name(f"kept{stage}"), self._name(f"found{stage}")
        self._add("Reshape", [best, flat], [kept])
        if places:
            places = self._padded(f"places{stage}", places, rows * width - left, np.int64(0))
            before = self._name(f"before{stage}")
            self._add("Reshape", [places, shape], [before])
            self._add("GatherElements", [before, at], [self._name(f"there{stage}")], axis=2)
        else:
            starts = np.arange(rows, dtype=np.int64).reshape(1, rows, 1) * width
            offset = self._constant(f"starts{stage}", starts)
            self._add("Add", [at, offset], [self._name(f"there{stage}")])
        self._add("Reshape", [self._name(f"there{stage}"), flat], [found])
        return kept, found, rows * self._k

    def _padded(self, word: str, name: str, missing: int, value: Any) -> str:
        if not missing:
            return name
        out = self._name(f"{word}_padded")
        pads = self._constant(f"{word}_pads", [0, 0, 0, missing])
        self._add("Pad", [name, pads, self._constant(f"{word}_pad", value)], [out])
        return out

    def _add(self, operator: str, inputs: list[str], outputs: list[str], **given: int) -> None:
        from onnx import helper

        name = f"{self._prefix}_{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, outputs, name, **given))

    def _constant(self, word: str, value: Any) -> str:
        from onnx import numpy_helper

        name = self._name(word)
        if all(each.name != name for each in self.constants):
            array = value if isinstance(value, np.generic | np.ndarray) else np.array(value)
            self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _name(self, word: str) -> str:
        return f"{self._prefix}_{word}"


def _replace(model: Any, node: Any, stages: _Stages) -> None:
    at = next(i for i, each in enumerate(model.graph.node) if each is node or each == node)
    del model.graph.node[at]
    for position, each in enumerate(stages.nodes):
        model.graph.node.insert(at + position, each)
    model.graph.initializer.extend(stages.constants)
