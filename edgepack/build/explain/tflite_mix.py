"""Writes a TFLite file that takes some operators from a variant and the others from its twin.

So a single layer can be quantised in an fp32 file, or a single one be left in float in an int8
file, with the very scales that the variant has. Runs in a worker; imports LiteRT's schema.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepack.build.convert.tflite_file import operator_name
from edgepack.build.explain.tflite_pair import Pair, makers_of
from edgepack.formats.errors import ConversionError

#: int8 since version 2. Source: register.cc of LiteRT's kernels.
_DEQUANTIZE_VERSION: Final = 2
_TWIN, _VARIANT = "twin", "variant"


def mix(pair: Pair, quantised: Collection[int]) -> Any:
    """Returns a ModelT with these operators as the variant has them.

    Args:
        pair: The variant and its twin.
        quantised: Operators of the twin by their place; those that could not be matched stay
            as the twin has them.

    Raises:
        ConversionError: The variant computes something on the way that the twin does not have.
    """
    return _Mixing(pair, {i for i in quantised if i in pair.operators}).make()


class _Mixing:
    """One file in the making. A value is known by whose it is and its place there."""

    def __init__(self, pair: Pair, quantised: set[int]) -> None:
        self._pair = pair
        self._quantised = quantised
        self._models = {_TWIN: pair.twin, _VARIANT: pair.variant}
        self._makers = makers_of(pair.variant.subgraphs[0])
        self._twin_of = {there: here for here, there in pair.tensors.items()}
        self._places: dict[tuple[str, int], int] = {}
        self._constants: dict[Any, int] = {}
        self._buffers: dict[bytes, int] = {b"": 0}
        self._codes: dict[Any, int] = {}
        self._subgraphs: dict[tuple[str, int], int] = {}
        self._model = schema.ModelT()
        self._model.version = pair.twin.version
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = []
        self._model.metadata, self._model.signatureDefs = [], []
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model.subgraphs = [self._graph]

    def make(self) -> Any:
        """Writes the operators in the twin's order."""
        twin = self._pair.twin.subgraphs[0]
        inputs = []
        for place in twin.inputs:
            inputs.append(self._add(_TWIN, int(place)))
            there = self._pair.tensors[int(place)]
            if self._type(_VARIANT, there) == self._type(_TWIN, int(place)):
                self._places[_VARIANT, there] = inputs[-1]
        for number, operator in enumerate(twin.operators):
            if number in self._quantised:
                there = self._pair.operators[number]
                self._copy(_VARIANT, self._pair.variant.subgraphs[0].operators[there])
            else:
                self._copy(_TWIN, operator)
        self._graph.inputs = np.array(inputs, dtype=np.int32)
        outputs = [self._value(_TWIN, int(place)) for place in twin.outputs]
        self._graph.outputs = np.array(outputs, dtype=np.int32)
        return self._model

    def _copy(self, whose: str, operator: Any) -> None:
        inputs = [self._value(whose, int(i)) if i >= 0 else -1 for i in operator.inputs]
        new = copy.copy(operator)
        new.inputs = np.array(inputs, dtype=np.int32)
        new.outputs = np.array([self._add(whose, int(i)) for i in operator.outputs], dtype=np.int32)
        if (inner := operator.intermediates) is not None:
            new.intermediates = np.array([self._add(whose, int(i)) for i in inner], dtype=np.int32)
        new.opcodeIndex = self._code(self._models[whose].operatorCodes[operator.opcodeIndex])
        new.builtinOptions = self._options(whose, operator.builtinOptions)
        self._graph.operators.append(new)

    def _value(self, whose: str, place: int) -> int:
        """Returns where a value lies in the new file, writing what it takes to have it."""
        if (whose, place) in self._places:
            return self._places[whose, place]
        if whose == _VARIANT and place in self._makers and place not in self._twin_of:
            # Another writing of something else: its scale and type are the variant's own.
            operator = self._pair.variant.subgraphs[0].operators[self._makers[place]]
            if operator_name(self._pair.variant, operator) not in ("QUANTIZE", "DEQUANTIZE"):
                raise ConversionError(
                    f"{operator_name(self._pair.variant, operator)} is not in the fp32 graph"
                )
            self._copy(whose, operator)
            return self._places[whose, place]
        other, there = self._other(whose, place)
        if there is None:
            return self._add(whose, place)
        if (other, there) not in self._places:
            raise ConversionError("a value is computed in another order than in the fp32 graph")
        known = self._places[other, there]
        if self._type(whose, place) == self._type(other, there):
            return known
        return self._convert(known, whose, place)

    def _other(self, whose: str, place: int) -> tuple[str, int | None]:
        if whose == _TWIN:
            return _VARIANT, self._pair.tensors.get(place)
        return _TWIN, self._twin_of.get(place)

    def _convert(self, known: int, whose: str, place: int) -> int:
        """Writes the operator between a float value and the same one in integers."""
        name, version = ("DEQUANTIZE", _DEQUANTIZE_VERSION) if whose == _TWIN else ("QUANTIZE", 1)
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = version
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(code)
        operator.inputs = np.array([known], dtype=np.int32)
        operator.outputs = np.array([self._add(whose, place)], dtype=np.int32)
        self._graph.operators.append(operator)
        return self._places[whose, place]

    def _add(self, whose: str, place: int) -> int:
        """Copies a tensor; constants that are equal are kept once."""
        model = self._models[whose]
        tensor = model.subgraphs[0].tensors[place]
        data = _bytes(model, tensor)
        identity = (data, tensor.type, _listed(tensor.shape), _scales(tensor.quantization))
        if data and identity in self._constants:
            self._places[whose, place] = self._constants[identity]
            return self._places[whose, place]
        new = copy.copy(tensor)
        new.buffer = self._buffer(data)
        self._graph.tensors.append(new)
        index = len(self._graph.tensors) - 1
        if data:
            self._constants[identity] = index
        self._places[whose, place] = index
        return index

    def _buffer(self, data: bytes) -> int:
        if data not in self._buffers:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data, dtype=np.uint8)
            self._model.buffers.append(buffer)
            self._buffers[data] = len(self._model.buffers) - 1
        return self._buffers[data]

    def _code(self, code: Any) -> int:
        identity = (code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version)
        if identity not in self._codes:
            self._model.operatorCodes.append(copy.copy(code))
            self._codes[identity] = len(self._model.operatorCodes) - 1
        return self._codes[identity]

    def _options(self, whose: str, options: Any) -> Any:
        """Copies an operator's options; a loop's name the graphs of its condition and body."""
        names = [
            name
            for name in (vars(options) if options is not None else ())
            if name.endswith("ubgraphIndex")
        ]
        if options is None or not names:
            return options
        options = copy.copy(options)
        for name in names:
            setattr(options, name, self._subgraph(whose, int(getattr(options, name))))
        return options

    def _subgraph(self, whose: str, place: int) -> int:
        if (whose, place) in self._subgraphs:
            return self._subgraphs[whose, place]
        model = self._models[whose]
        new = copy.deepcopy(model.subgraphs[place])
        self._model.subgraphs.append(new)
        self._subgraphs[whose, place] = len(self._model.subgraphs) - 1
        for tensor in new.tensors:
            tensor.buffer = self._buffer(_bytes(model, tensor))
        for operator in new.operators:
            operator.opcodeIndex = self._code(model.operatorCodes[operator.opcodeIndex])
            operator.builtinOptions = self._options(whose, operator.builtinOptions)
        return self._subgraphs[whose, place]

    def _type(self, whose: str, place: int) -> int:
        return int(self._models[whose].subgraphs[0].tensors[place].type)


def _bytes(model: Any, tensor: Any) -> bytes:
    data = model.buffers[tensor.buffer].data
    return b"" if data is None else bytes(data)


def _listed(values: Any) -> Any:
    return None if values is None else tuple(float(each) for each in values)


def _scales(value: Any) -> Any:
    if value is None:
        return None
    return _listed(value.scale), _listed(value.zeroPoint), value.quantizedDimension
