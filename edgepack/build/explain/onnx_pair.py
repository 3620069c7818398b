"""Matches the nodes and values of an ONNX variant with those of the fp32 file it was made from.

The quantisers and our own passes keep the name of a value that stays what it was, and both
files have a list of what their values were called. So what stands for an fp32 node in the
variant is whatever lies between the values of that name. Runs in a worker; imports onnx.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from edgepack.build.explain.naming import layer_names

#: What a value is written in and read from; their other inputs are scale and zero point.
_ROUNDING: Final = ("QuantizeLinear", "DequantizeLinear")
#: Nodes that hand integers on as they are: what they read was rounded by its maker. A `Gather` is
#: one where it picks positions, not rows of a table.
PASSING: Final = frozenset(
    {
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Flatten", "Identity", "Split"),
        "Gather",
    }
)
_FLOAT, _HALF = 1, 10


@dataclass(frozen=True)
class OnnxPair:
    """A variant and its fp32 twin.

    Attributes:
        twin: The fp32 ModelProto.
        variant: The variant's ModelProto, whose values bear the twin's names where they are
            the same value.
        names: What the exporter called the twin's values.
        layers: The layer of each of the twin's nodes.
    """

    twin: Any
    variant: Any
    names: Mapping[str, str]
    layers: tuple[str, ...]

    @cached_property
    def twin_makers(self) -> dict[str, int]:
        """The twin's node that computes each value."""
        return makers_of(self.twin)

    @cached_property
    def variant_makers(self) -> dict[str, int]:
        """The variant's node that computes each value."""
        return makers_of(self.variant)

    @cached_property
    def types(self) -> tuple[dict[str, int], dict[str, int]]:
        """The element type of each value of the twin and of the variant, where it is known."""
        return _types(self.twin), _types(self.variant)

    @cached_property
    def constants(self) -> set[str]:
        """The variant's constants."""
        return {each.name for each in self.variant.graph.initializer}

    @cached_property
    def rounded(self) -> dict[str, str]:
        """A value's name after it was rounded and read back, by its own name."""
        found = {}
        for node in self.variant.graph.node:
            if node.op_type != "DequantizeLinear" or node.input[0] not in self.variant_makers:
                continue
            before = self.variant.graph.node[self.variant_makers[node.input[0]]]
            if before.op_type == "QuantizeLinear" and before.input[0] not in self.constants:
                found[before.input[0]] = node.output[0]
        return found

    @cached_property
    def quantised(self) -> frozenset[int]:
        """The twin's nodes that the variant computes in other numbers."""
        return frozenset(
            number
            for number, node in enumerate(self.twin.graph.node)
            if self.is_matched(number) and self._is_quantised(node)
        )

    def is_matched(self, number: int) -> bool:
        """Whether the variant has all that a node of the twin answers with."""
        outputs = [name for name in self.twin.graph.node[number].output if name]
        return all(name in self.variant_makers for name in outputs)

    def cone(self, name: str) -> Iterator[int]:
        """Gives the variant's nodes behind a value, up to values that the twin has too."""
        waiting = [name]
        seen: set[int] = set()
        while waiting:
            number = self.variant_makers.get(waiting.pop())
            if number is None or number in seen:
                continue
            seen.add(number)
            yield number
            waiting += [
                each
                for each in self.variant.graph.node[number].input
                if each and each not in self.twin_makers
            ]

    def _is_quantised(self, node: Any) -> bool:
        mine, its = self.types
        for name in node.output:
            if mine.get(name) == _FLOAT and its.get(name) == _HALF:
                return True
            behind = [self.variant.graph.node[number] for number in self.cone(name)]
            if any("Integer" in each.op_type or "Dynamic" in each.op_type for each in behind):
                return True
            if any(self._reads_constant(each) for each in behind):
                return True
        if node.op_type in PASSING:
            return False
        # A product of two computed values: quantised where all it reads was rounded.
        last = self.variant.graph.node[self.variant_makers[node.output[0]]]
        read = [name for name in last.input if name]
        back = set(self.rounded.values())
        return bool(read) and all(name in back for name in read)

    def _reads_constant(self, node: Any) -> bool:
        if node.op_type == "DequantizeLinear":
            source = node.input[0]
            if source in self.constants:
                return True
            number = self.variant_makers.get(source)
            return number is not None and self._gathers_constant(number)
        return False

    def _gathers_constant(self, number: int) -> bool:
        node = self.variant.graph.node[number]
        return node.op_type not in _ROUNDING and node.input[0] in self.constants


def pair_up(
    twin: Any, twin_names: Mapping[str, str], variant: Any, variant_names: Mapping[str, str]
) -> OnnxPair:
    """Matches two files.

    Args:
        twin: The fp32 ModelProto.
        twin_names: What the exporter called its values, by their name in the file.
        variant: The variant's ModelProto; its values get their earlier names back.
        variant_names: What its values were called in the fp32 file.
    """
    for node in variant.graph.node:
        for places in (node.input, node.output):
            for i, name in enumerate(places):
                places[i] = variant_names.get(name, name)
    for each in variant.graph.initializer:
        each.name = variant_names.get(each.name, each.name)
    kinds = [node.op_type for node in twin.graph.node]
    outputs = [twin_names.get(node.output[0], node.output[0]) for node in twin.graph.node]
    return OnnxPair(twin, variant, twin_names, tuple(layer_names(outputs, kinds)))


def makers_of(model: Any) -> dict[str, int]:
    """Returns the node that computes each value, by the value's name."""
    return {name: n for n, node in enumerate(model.graph.node) for name in node.output if name}


def _types(model: Any) -> dict[str, int]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    return {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
