"""Matches the operators and tensors of a TFLite variant with those of its fp32 twin.

Both come from one graph, so they are walked from the outputs back side by side; what only
changes the type on the way (QUANTIZE, DEQUANTIZE) is stepped over. It is not aware of how the
variant was quantised. Runs in a worker; imports LiteRT's schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edgepack.build.convert.tflite_file import constant, operator_name
from edgepack.build.explain.naming import layer_names

#: Operators that change how a value is written and nothing else.
HELPERS: Final = frozenset({"QUANTIZE", "DEQUANTIZE"})


@dataclass(frozen=True, slots=True)
class Pair:
    """A variant and its fp32 twin.

    Attributes:
        twin: The fp32 ModelT.
        variant: The variant's ModelT.
        operators: The variant's operator by the twin's, both by their place in the file.
        tensors: The variant's tensor by the twin's, for everything that is computed or given.
        layers: The layer of each of the twin's operators.
        names: The name of each of the twin's tensors.
    """

    twin: Any
    variant: Any
    operators: dict[int, int]
    tensors: dict[int, int]
    layers: tuple[str, ...]
    names: tuple[str, ...] = field(default=())

    @property
    def unmatched(self) -> tuple[int, ...]:
        """The twin's operators that the variant has in another form, or not at all."""
        every = range(len(self.twin.subgraphs[0].operators))
        return tuple(i for i in every if i not in self.operators)

    def is_quantised(self, operator: int) -> bool:
        """Whether the variant computes an operator in other numbers than the twin does."""
        if operator not in self.operators:
            return False
        one = self.twin.subgraphs[0]
        other = self.variant.subgraphs[0]
        mine, its = one.operators[operator], other.operators[self.operators[operator]]
        makers = makers_of(other)
        places = zip([*mine.inputs, *mine.outputs], [*its.inputs, *its.outputs], strict=False)
        for here, there in places:
            if here < 0 or there < 0:
                continue
            wanted = one.tensors[int(here)].type
            source = source_of(self.variant, makers, int(there))
            # What another operator rounded is that one's doing; a constant is its reader's.
            kinds = {other.tensors[int(there)].type}
            if is_constant(self.variant, source):
                kinds.add(other.tensors[source].type)
            if kinds != {wanted}:
                return True
        return False


def pair_up(twin: Any, variant: Any, names: Sequence[str]) -> Pair:
    """Matches two files.

    Args:
        twin: The fp32 ModelT.
        variant: The variant's ModelT.
        names: The name of each of the twin's tensors.
    """
    one, other = twin.subgraphs[0], variant.subgraphs[0]
    mine, its = makers_of(one), makers_of(other)
    operators: dict[int, int] = {}
    tensors = {int(a): int(b) for a, b in zip(one.inputs, other.inputs, strict=True)}
    waiting = [(int(a), int(b)) for a, b in zip(one.outputs, other.outputs, strict=True)]
    while waiting:
        here, there = waiting.pop()
        source = source_of(variant, its, there)
        here = source_of(twin, mine, here)
        if here not in mine or source not in its or mine[here] in operators:
            continue
        left, right = one.operators[mine[here]], other.operators[its[source]]
        if operator_name(twin, left) != operator_name(variant, right):
            continue
        operators[mine[here]] = its[source]
        tensors |= {int(a): int(b) for a, b in zip(left.outputs, right.outputs, strict=False)}
        inputs = zip(left.inputs, right.inputs, strict=False)
        waiting += [(int(a), int(b)) for a, b in inputs if a >= 0 and b >= 0]
    kinds = [operator_name(twin, each) for each in one.operators]
    outputs = [names[int(each.outputs[0])] if names else "" for each in one.operators]
    return Pair(twin, variant, operators, tensors, tuple(layer_names(outputs, kinds)), tuple(names))


def makers_of(graph: Any) -> dict[int, int]:
    """Returns the operator that computes each tensor, both by place."""
    return {int(i): n for n, op in enumerate(graph.operators) for i in op.outputs}


def source_of(model: Any, makers: dict[int, int], tensor: int) -> int:
    """Returns the tensor that a tensor is another writing of; itself for most."""
    graph = model.subgraphs[0]
    while tensor in makers:
        operator = graph.operators[makers[tensor]]
        if operator_name(model, operator) not in HELPERS:
            break
        tensor = int(operator.inputs[0])
    return tensor


def is_constant(model: Any, tensor: int) -> bool:
    """Whether a tensor of the main graph holds its elements in the file."""
    return constant(model, model.subgraphs[0].tensors[tensor]) is not None
