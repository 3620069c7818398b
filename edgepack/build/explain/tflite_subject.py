"""A TFLite variant beside its fp32 twin (a `Subject`). Runs in a worker.

Imports LiteRT and its schema, not TensorFlow; used by `worker`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgepack.build.convert.tflite_file import (
    constant,
    file_specs,
    operator_name,
    parse_tflite,
    tflite_bytes,
    type_name,
)
from edgepack.build.explain.errors import ErrorSums, Grid
from edgepack.build.explain.naming import distinct, tensor_name
from edgepack.build.explain.subject import Layer, Rows, SeenTensor
from edgepack.build.explain.tflite_mix import mix
from edgepack.build.explain.tflite_pair import Pair, makers_of, pair_up, source_of
from edgepack.formats.tensors import TensorSpec

_KINDS: Final = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


class TfliteSubject:
    """A `.tflite` variant and its twin."""

    def __init__(self, twin: Path, names: Path, variant: Path, *, by_operator: bool) -> None:
        given = json.loads(names.read_text())
        self._pair: Pair = pair_up(
            parse_tflite(twin.read_bytes()), parse_tflite(variant.read_bytes()), given
        )
        operators = self._pair.twin.subgraphs[0].operators
        self._kinds = [operator_name(self._pair.twin, each) for each in operators]
        self._layers = distinct(self._pair.layers) if by_operator else list(self._pair.layers)
        self._quantised = {i for i in range(len(operators)) if self._pair.is_quantised(i)}

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The file's inputs."""
        return file_specs(self._pair.twin)[0]

    @property
    def variant(self) -> Any:
        """The variant's ModelT."""
        return self._pair.variant

    def layers(self) -> list[Layer]:
        """Returns the layers in the graph's order; see `Subject.layers`."""
        unmatched = set(self._pair.unmatched)
        members: dict[str, list[int]] = {}
        for number, name in enumerate(self._layers):
            members.setdefault(name, []).append(number)
        return [
            Layer(
                name=name,
                operators=tuple(self._kinds[i] for i in numbers),
                quantised=any(i in self._quantised for i in numbers),
                unmatched=len(unmatched.intersection(numbers)),
            )
            for name, numbers in members.items()
        ]

    def mixed(self, quantised: Collection[str]) -> bytes:
        """Returns a file with these layers quantised; see `Subject.mixed`."""
        chosen = {i for i in self._quantised if self._layers[i] in quantised}
        return tflite_bytes(mix(self._pair, chosen))

    def variant_layers(self) -> list[str]:
        """Returns the layer of each of the variant's operators, for its timing."""
        graph = self._pair.variant.subgraphs[0]
        twin_of = {there: here for here, there in self._pair.operators.items()}
        found: list[str | None] = [
            self._layers[twin_of[i]] if i in twin_of else None for i in range(len(graph.operators))
        ]
        readers: dict[int, int] = {}
        for number, operator in enumerate(graph.operators):
            for place in operator.inputs:
                readers.setdefault(int(place), number)
        # What only prepares a value is part of the layer that reads it.
        for number in reversed(range(len(graph.operators))):
            if found[number] is None:
                after = readers.get(int(graph.operators[number].outputs[0]))
                found[number] = found[after] if after is not None else None
        return [name or self._layers[-1] for name in found]

    def run(self, data: bytes, rows: Rows) -> list[npt.NDArray[Any]]:
        """Returns the outputs of a file as the runtime ships it; see `Subject.run`."""
        from edgepack.build.convert.tflite_static import run_rows

        return run_rows(data, rows)

    def tensors(self, rows: Rows) -> list[SeenTensor]:
        """Runs both without a delegate, which would hide what it fuses; see `Subject.tensors`."""
        one = _opened(tflite_bytes(self._pair.twin))
        other = _opened(tflite_bytes(self._pair.variant))
        watched = self._watched()
        grids = {here: self._grid(there) for here, there in watched.items()}
        sums = {here: ErrorSums(grid) for here, grid in grids.items()}
        for row in rows:
            for interpreter in (one, other):
                _give(interpreter, row)
            for here, there in watched.items():
                expected, found = _value(one, here), _value(other, there)
                if expected is None or found is None:
                    continue
                if (grid := grids[here]) is not None:
                    found = grid.dequantised(found)
                sums[here].add(expected, found if found.shape == expected.shape else None)
        makers = makers_of(self._pair.twin.subgraphs[0])
        seen = [
            self._seen(here, there, self._layers[makers[here]], "activation", sums[here])
            for here, there in watched.items()
        ]
        return seen + self._weights()

    def _watched(self) -> dict[int, int]:
        """Returns the float tensors that are computed: the variant's by the twin's."""
        graph = self._pair.twin.subgraphs[0]
        computed = makers_of(graph)
        specs = {i: type_name(graph.tensors[i]) for i in computed}
        # In the graph's order, so that a report reads from the input to the answer.
        return {
            i: self._pair.tensors[i]
            for i in sorted(computed, key=lambda each: computed[each])
            if specs[i] == "float32" and i in self._pair.tensors
        }

    def _weights(self) -> list[SeenTensor]:
        """Compares the constants of operators that are quantised."""
        twin, variant = self._pair.twin.subgraphs[0], self._pair.variant.subgraphs[0]
        makers = makers_of(variant)
        seen: dict[tuple[int, int, str], SeenTensor] = {}
        for number in sorted(self._quantised):
            here = twin.operators[number].inputs
            there = variant.operators[self._pair.operators[number]].inputs
            for a, b in zip(here, there, strict=False):
                if a < 0 or b < 0:
                    continue
                place = source_of(self._pair.variant, makers, int(b))
                expected = constant(self._pair.twin, twin.tensors[int(a)])
                grid = self._grid(place)
                values = constant(self._pair.variant, variant.tensors[place])
                # A table that embeds and scores is a constant of two layers.
                key = int(a), place, self._layers[number]
                if expected is None or values is None or grid is None or key in seen:
                    continue
                if expected.shape != values.shape or expected.dtype != np.float32:
                    continue
                sums = ErrorSums(grid)
                sums.add(expected, grid.dequantised(values))
                seen[key] = self._seen(*key, "weights", sums)
        return list(seen.values())

    def _seen(self, here: int, there: int, layer: str, role: str, sums: ErrorSums) -> SeenTensor:
        tensor = self._pair.variant.subgraphs[0].tensors[there]
        shape = tensor.shape if tensor.shape is not None else ()
        return SeenTensor(
            name=tensor_name(self._pair.names[here], layer, role),
            layer=layer,
            role=role,
            dtype=type_name(tensor),
            shape=tuple(int(n) for n in shape),
            figures=sums.figures(),
        )

    def _grid(self, place: int) -> Grid | None:
        tensor = self._pair.variant.subgraphs[0].tensors[place]
        found = tensor.quantization
        kind = type_name(tensor)
        if found is None or found.scale is None or len(found.scale) == 0 or kind not in _KINDS:
            return None
        scale = np.asarray(found.scale, dtype=np.float64)
        zero = np.asarray(found.zeroPoint, dtype=np.float64)
        zero = zero if zero.size == scale.size else np.zeros_like(scale)
        return Grid(scale, zero, *_KINDS[kind], axis=int(found.quantizedDimension))


def _opened(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=data,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def _value(interpreter: Any, place: int) -> npt.NDArray[Any] | None:
    """Returns what a tensor holds; None for what a loop hands on, which the runtime frees."""
    try:
        return np.asarray(interpreter.get_tensor(place))
    except ValueError:
        return None


def _give(interpreter: Any, row: Any) -> None:
    for detail, value in zip(interpreter.get_input_details(), row, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
