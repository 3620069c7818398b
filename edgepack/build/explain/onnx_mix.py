"""Writes an ONNX file that takes some nodes from a variant and the others from its fp32 twin.

A value has the twin's name in both; what only the variant has gets a prefix. Where a value is
rounded between two nodes, the rounding is its maker's doing if that one is quantised, else its
reader's. Runs in a worker; imports onnx.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from edgepack.build.explain.onnx_pair import PASSING, OnnxPair

_OWN: Final = "variant/"
_CAST: Final = "as_variant/"
_PASSED: Final = "passed/"


def mix(pair: OnnxPair, quantised: Collection[int]) -> Any:
    """Returns a ModelProto with these nodes as the variant has them.

    Args:
        pair: The variant and its twin.
        quantised: Nodes of the twin by their place; those that the variant has in no other
            numbers, or not at all, stay as the twin has them.
    """
    return _Mixing(pair, pair.quantised.intersection(quantised)).make()


class _Mixing:
    """One file in the making."""

    def __init__(self, pair: OnnxPair, chosen: frozenset[int]) -> None:
        self._pair = pair
        self._chosen = chosen
        self._rounded_of = {back: name for name, back in pair.rounded.items()}
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._kept = {
            "": {each.name: each for each in pair.twin.graph.initializer},
            _OWN: {each.name: each for each in pair.variant.graph.initializer},
        }
        self._done: set[str] = set()

    def make(self) -> Any:
        """Writes the nodes in the twin's order."""
        import onnx

        twin = self._pair.twin
        for number, node in enumerate(twin.graph.node):
            if number in self._chosen:
                for name in node.output:
                    if name:
                        self._take(name)
            else:
                self._copy_twin(node)
        model = onnx.ModelProto()
        model.CopyFrom(twin)
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(self._nodes)
        model.graph.initializer.extend(self._constants.values())
        self._name_operator_sets(model)
        return model

    def _copy_twin(self, node: Any) -> None:
        new = type(node)()
        new.CopyFrom(node)
        for i, name in enumerate(node.input):
            new.input[i] = self._read(name)
        self._nodes.append(new)
        # A loop's body reads values and constants of the graph around it by their names.
        if any(attribute.HasField("g") for attribute in node.attribute):
            self._constants |= self._kept[""]

    def _read(self, name: str) -> str:
        """Returns what a node of the twin reads for a value."""
        if name in self._kept[""]:
            self._constants[name] = self._kept[""][name]
            return name
        if self._is_chosen(name) and name in self._pair.rounded:
            return self._take_rounded(name)
        return name

    def _take(self, name: str) -> None:
        """Writes the variant's nodes behind a value, and the value under the twin's name."""
        self._own(name)
        if self._differs(name):
            self._cast(_OWN + name, name, self._pair.types[0][name])

    def _own(self, name: str) -> str:
        """Writes the node of the variant that makes a value; returns its name in the new file."""
        written = self._written(name)
        if written in self._done or name not in self._pair.variant_makers:
            return written
        self._done.add(written)
        node = self._pair.variant.graph.node[self._pair.variant_makers[name]]
        new = type(node)()
        new.CopyFrom(node)
        for i, read in enumerate(node.input):
            new.input[i] = self._read_own(read)
        for i, made in enumerate(node.output):
            new.output[i] = self._written(made) if made else ""
            self._done.add(new.output[i])
        new.name = _OWN + node.name
        self._nodes.append(new)
        return written

    def _read_own(self, name: str) -> str:
        """Returns what a node of the variant reads for a value."""
        if not name:
            return ""
        if name in self._kept[_OWN]:
            return self._constant(name)
        if name in self._rounded_of:
            before = self._rounded_of[name]
            number = self._pair.twin_makers.get(before)
            # Its maker's rounding, which only comes along with it.
            if number in self._pair.quantised:
                return self._take_rounded(before) if number in self._chosen else before
            return self._take_rounded(before)
        if name in self._pair.twin_makers:
            return self._as_variant(name)
        return self._own(name) if name in self._pair.variant_makers else name

    def _take_rounded(self, name: str) -> str:
        back = self._pair.rounded[name]
        dequantise = self._pair.variant.graph.node[self._pair.variant_makers[back]]
        quantise = self._pair.variant.graph.node[self._pair.variant_makers[dequantise.input[0]]]
        if _OWN + back in self._done:
            return _OWN + back
        self._done.add(_OWN + back)
        first = self._passed_on(name)
        for node, source in ((quantise, first), (dequantise, _OWN + quantise.output[0])):
            new = type(node)()
            new.CopyFrom(node)
            new.name = _OWN + node.name
            new.input[0] = source
            for i, read in enumerate(node.input[1:], 1):
                new.input[i] = self._constant(read) if read else ""
            new.output[0] = _OWN + node.output[0]
            self._nodes.append(new)
        return _OWN + back

    def _passed_on(self, name: str) -> str:
        """Returns what a reader's rounding of a value starts from.

        A node that hands integers on, between a float maker and a quantised reader, was rounded
        before it as well as behind it; both roundings are that reader's.
        """
        number = self._pair.variant_makers.get(name)
        if number is None or self._is_chosen(name):
            return name
        node = self._pair.variant.graph.node[number]
        before = self._rounded_of.get(node.input[0]) if node.op_type in PASSING else None
        # A chosen maker has had its value rounded for every reader already.
        if before is None or self._is_chosen(before):
            return name
        written = _PASSED + name
        if written not in self._done:
            self._done.add(written)
            new = type(node)()
            new.CopyFrom(node)
            new.name = _PASSED + node.name
            new.input[0] = self._take_rounded(before)
            for i, read in enumerate(node.input[1:], 1):
                new.input[i] = self._read_own(read)
            new.output[0] = written
            self._nodes.append(new)
        return written

    def _as_variant(self, name: str) -> str:
        """Returns a value of the twin in the type the variant has it in."""
        if not self._differs(name):
            return name
        if self._is_chosen(name):
            return _OWN + name
        if _CAST + name not in self._done:
            self._done.add(_CAST + name)
            self._cast(name, _CAST + name, self._pair.types[1][name])
        return _CAST + name

    def _written(self, name: str) -> str:
        shared = name in self._pair.twin_makers and not self._differs(name)
        return name if shared else _OWN + name

    def _differs(self, name: str) -> bool:
        mine, its = (types.get(name) for types in self._pair.types)
        return name in self._pair.twin_makers and None not in (mine, its) and mine != its

    def _is_chosen(self, name: str) -> bool:
        return self._pair.twin_makers.get(name) in self._chosen

    def _constant(self, name: str) -> str:
        kept = self._kept[_OWN].get(name)
        if kept is None:
            return self._own(name)
        new = type(kept)()
        new.CopyFrom(kept)
        new.name = _OWN + name
        self._constants[new.name] = new
        return str(new.name)

    def _cast(self, source: str, target: str, kind: int) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node("Cast", [source], [target], f"cast {target}", to=kind))

    def _name_operator_sets(self, model: Any) -> None:
        known = {each.domain for each in model.opset_import}
        for each in self._pair.variant.opset_import:
            if each.domain not in known:
                model.opset_import.append(each)
