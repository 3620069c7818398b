"""Brings a TFLite file into its one smallest form. Runs in a worker.

The converter names tensors after layers, repeats a constant for each step of an unrolled layer,
records the host, and puts independent operators in the order of addresses in its memory. None
of it reaches the file a box gets: the same model is the same bytes. Used by `tflite`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from edgepack.formats.errors import ConversionError
from edgepack.formats.tensors import TensorSpec

#: The one metadata entry a box may want; the others hold versions and hashes of the host.
_KEPT_METADATA: Final = b"min_runtime_version"
_PLACES: Final = ("inputs", "outputs", "intermediates")


def compact(model: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Gives inputs and outputs their names and order, and the rest its canonical form.

    Constants that are equal in type, shape, bytes and scales become one tensor. Operators,
    tensors and buffers are numbered as they are met on the way from the outputs back.

    Args:
        model: A ModelT with the signature `arg_00` …, `out_00` …; changed in place.
        inputs: What the inputs are called, in order.
        outputs: What the outputs are called, in order.

    Raises:
        ConversionError: The file has no signature.
    """
    _name_signature(model, inputs, outputs)
    model.metadata = [each for each in model.metadata or [] if each.name == _KEPT_METADATA]
    for position, graph in enumerate(model.subgraphs):
        _merge_constants(model, graph)
        _order_operators(graph)
        numbers = _order_tensors(graph)
        named = {int(i) for i in [*graph.inputs, *graph.outputs]} if position == 0 else set()
        for index, tensor in enumerate(graph.tensors):
            if index not in named:
                tensor.name = b""
        if position == 0:
            signature = model.signatureDefs[0]
            for each in [*signature.inputs, *signature.outputs]:
                each.tensorIndex = numbers[each.tensorIndex]
    _order_buffers(model)
    _order_codes(model)


def _name_signature(
    model: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    graph = model.subgraphs[0]
    if not model.signatureDefs:
        raise ConversionError("the converter wrote a file without a signature")
    signature = model.signatureDefs[0]
    places = []
    for maps, specs in ((signature.inputs, inputs), (signature.outputs, outputs)):
        maps.sort(key=lambda each: each.name)
        for each, spec in zip(maps, specs, strict=True):
            each.name = spec.name.encode()
            graph.tensors[each.tensorIndex].name = spec.name.encode()
        places.append([each.tensorIndex for each in maps])
    graph.inputs, graph.outputs = (np.array(each, dtype=np.int32) for each in places)


def _merge_constants(model: Any, graph: Any) -> None:
    first: dict[Any, int] = {}
    merged = {}
    for index, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) == 0 or tensor.isVariable:
            continue
        identity = (
            *(tensor.type, _listed(tensor.shape), _quantisation(tensor.quantization)),
            bytes(data),
        )
        merged[index] = first.setdefault(identity, index)
    _renumber(graph, merged)


def _quantisation(value: Any) -> Any:
    if value is None:
        return None
    return (
        *(_listed(value.scale), _listed(value.zeroPoint), value.quantizedDimension),
        *(_listed(value.min), _listed(value.max)),
    )


def _listed(values: Any) -> Any:
    return None if values is None else tuple(float(each) for each in values)


def _order_operators(graph: Any) -> None:
    """Puts operators behind what they read, starting from the outputs."""
    makers = {int(i): n for n, op in enumerate(graph.operators) for i in op.outputs}
    order: list[int] = []
    for output in graph.outputs:
        order += _behind(graph, makers, int(output), set(order))
    if len(order) == len(graph.operators):
        graph.operators = [graph.operators[n] for n in order]
    # Else some work for their effect, such as assigning a variable, and the order is theirs.


def _behind(graph: Any, makers: Mapping[int, int], place: int, done: set[int]) -> Iterator[int]:
    """Gives the operators that a tensor needs, each after those it needs itself."""
    if place not in makers:
        return
    # An unrolled layer is far deeper than Python's own recursion may be.
    stack = [(makers[place], False)]
    while stack:
        number, ready = stack.pop()
        if number in done:
            continue
        if ready:
            done.add(number)
            yield number
            continue
        stack.append((number, True))
        needed = [makers[int(i)] for i in graph.operators[number].inputs if int(i) in makers]
        stack.extend((each, False) for each in reversed(needed))


def _order_tensors(graph: Any) -> dict[int, int]:
    """Numbers tensors by first use and drops the unused; returns new number by old."""
    numbers: dict[int, int] = {}
    places: list[Any] = [graph.inputs]
    for operator in graph.operators:
        places += [getattr(operator, name) for name in _PLACES]
    for group in [*places, graph.outputs]:
        for i in () if group is None else group:
            if i >= 0:
                numbers.setdefault(int(i), len(numbers))
    graph.tensors = [graph.tensors[old] for old in numbers]
    _renumber(graph, numbers)
    return numbers


def _renumber(graph: Any, numbers: Mapping[int, int]) -> None:
    def renamed(places: Any) -> Any:
        return np.array([numbers.get(int(i), int(i)) for i in places], dtype=np.int32)

    for operator in graph.operators:
        for name in _PLACES:
            if (places := getattr(operator, name)) is not None:
                setattr(operator, name, renamed(places))
    graph.inputs, graph.outputs = renamed(graph.inputs), renamed(graph.outputs)


def _order_buffers(model: Any) -> None:
    """Numbers buffers by first use and keeps equal bytes once; 0 is the empty one."""
    kept = [0]
    first = {b"": 0}

    def place(index: int) -> int:
        data = model.buffers[index].data
        content = b"" if data is None else bytes(data)
        found = first.setdefault(content, len(kept))
        if found == len(kept):
            kept.append(index)
        return found

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = place(tensor.buffer)
    for each in model.metadata:
        each.buffer = place(each.buffer)
    model.metadataBuffer = None
    model.buffers = [model.buffers[i] for i in kept]


def _order_codes(model: Any) -> None:
    numbers: dict[int, int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex = numbers.setdefault(operator.opcodeIndex, len(numbers))
    model.operatorCodes = [model.operatorCodes[old] for old in numbers]
