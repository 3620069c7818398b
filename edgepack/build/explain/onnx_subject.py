"""An ONNX variant beside its fp32 twin (a `Subject`). Runs in a worker.

Imports onnx and ONNX Runtime; used by `worker`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgepack.build.convert.onnx_file import file_specs, merge_initializers, sort_nodes, tie_tables
from edgepack.build.explain.errors import ErrorSums, Grid
from edgepack.build.explain.naming import distinct, tensor_name
from edgepack.build.explain.onnx_mix import mix
from edgepack.build.explain.onnx_pair import OnnxPair, pair_up
from edgepack.build.explain.subject import Layer, Rows, SeenTensor
from edgepack.formats.errors import ConversionError
from edgepack.formats.tensors import TensorSpec

_FLOATS: Final = ("float32", "float16")
_QUANTISED: Final = "_quantized"


class OnnxSubject:
    """An `.onnx` variant and its twin."""

    def __init__(self, twin: Path, names: Path, variant: Path, *, by_operator: bool) -> None:
        import onnx

        before = json.loads(variant.with_suffix(".names.json").read_text())
        self._pair: OnnxPair = pair_up(
            onnx.load(str(twin)),
            json.loads(names.read_text()),
            onnx.load(str(variant)),
            before,
        )
        self._variant_path = variant
        self._before = before
        layers = list(self._pair.layers)
        self._layers = distinct(layers) if by_operator else layers

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The file's inputs."""
        return file_specs(self._pair.twin)[0]

    def layers(self) -> list[Layer]:
        """Returns the layers in the graph's order; see `Subject.layers`."""
        members: dict[str, list[int]] = {}
        for number, name in enumerate(self._layers):
            members.setdefault(name, []).append(number)
        nodes = self._pair.twin.graph.node
        return [
            Layer(
                name=name,
                operators=tuple(nodes[i].op_type for i in numbers),
                quantised=any(i in self._pair.quantised for i in numbers),
                unmatched=sum(not self._pair.is_matched(i) for i in numbers),
            )
            for name, numbers in members.items()
        ]

    def mixed(self, quantised: Collection[str]) -> bytes:
        """Returns a file with these layers quantised; see `Subject.mixed`."""
        chosen = [i for i in self._pair.quantised if self._layers[i] in quantised]
        model = mix(self._pair, chosen)
        # As a variant is written, or a table that both read would count twice.
        merge_initializers(model)
        tie_tables(model)
        sort_nodes(model)
        return bytes(model.SerializeToString(deterministic=True))

    def run(self, data: bytes, rows: Rows) -> list[npt.NDArray[Any]]:
        """Returns the outputs of a file as the runtime ships it; see `Subject.run`."""
        session = open_session(data)
        names = [each.name for each in session.get_inputs()]
        answers = [session.run(None, dict(zip(names, row, strict=True))) for row in rows]
        return [np.stack([each[0] for each in column]) for column in zip(*answers, strict=True)]

    def tensors(self, rows: Rows) -> list[SeenTensor]:
        """Runs both with every value as an output; see `Subject.tensors`."""
        watched = list(self._watched())
        twin = _Watched(self._pair.twin, [name for name, _ in watched])
        variant = _Watched(self._pair.variant, [there for _, there in watched])
        grids = [self._grid_of(there) for _, there in watched]
        sums = [ErrorSums(grid) for grid in grids]
        dtypes = ["float32"] * len(watched)
        shapes: list[tuple[int, ...]] = [()] * len(watched)
        for row in rows:
            found = zip(twin.run(row), variant.run(row), strict=True)
            for place, (expected, arrived) in enumerate(found):
                dtypes[place] = "uint8" if grids[place] else str(arrived.dtype)
                shapes[place] = tuple(expected.shape)
                same = arrived.shape == expected.shape
                sums[place].add(expected, arrived if same else None)
        seen = []
        for place, (name, _) in enumerate(watched):
            layer = self._layers[self._pair.twin_makers[name]]
            called = tensor_name(self._pair.names.get(name, name), layer, "activation")
            figures = sums[place].figures()
            seen.append(
                SeenTensor(called, layer, "activation", dtypes[place], shapes[place], figures)
            )
        return seen + list(self._weights())

    def node_layers(self, outputs: dict[str, list[str]]) -> dict[str, str]:
        """Returns the layer of each node that the runtime made of the variant.

        Args:
            outputs: What each node answers with, by the node's name.

        Returns:
            Layer by node; a node that belongs to none is left out.
        """
        found: dict[str, str] = {}
        back = {rounded: name for name, rounded in self._pair.rounded.items()}
        owner: dict[str, str] = {}
        for number, node in enumerate(self._pair.twin.graph.node):
            for name in node.output:
                owner[name] = self._layers[number]
                for inner in self._pair.cone(name) if name in self._pair.variant_makers else ():
                    for each in self._pair.variant.graph.node[inner].output:
                        owner.setdefault(each, self._layers[number])
        for node, names in outputs.items():
            for name in names:
                before = self._before.get(name, name)
                # ONNX Runtime's own passes make new names by adding to those they replace.
                for known in (before, back.get(before, ""), _trimmed(before)):
                    if known in owner:
                        found.setdefault(node, owner[known])
        return found

    def _watched(self) -> Iterator[tuple[str, str]]:
        """Gives the float values that both have: the twin's name, and the variant's to look at."""
        mine, _ = self._pair.types
        for node in self._pair.twin.graph.node:
            for name in node.output:
                if mine.get(name) == 1 and name in self._pair.variant_makers:
                    yield name, self._pair.rounded.get(name, name)

    def _grid_of(self, there: str) -> Grid | None:
        """Returns the grid of a value that was rounded and read back."""
        number = self._pair.variant_makers.get(there)
        node = self._pair.variant.graph.node[number] if number is not None else None
        if node is None or node.op_type != "DequantizeLinear":
            return None
        return self._grid(node)

    def _grid(self, node: Any) -> Grid | None:
        scale = self._constant(node.input[1])
        zero = self._constant(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004 - optional
        if scale is None:
            return None
        scale = scale.astype(np.float64).reshape(-1)
        least, most = _ends(zero.dtype if zero is not None else np.dtype("uint8"))
        zeros = np.zeros_like(scale) if zero is None else zero.astype(np.float64).reshape(-1)
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        return Grid(scale, zeros, least, most, axis=int(axis))

    def _constant(self, name: str) -> npt.NDArray[Any] | None:
        from onnx import numpy_helper

        for each in self._pair.variant.graph.initializer:
            if each.name == name:
                return np.asarray(numpy_helper.to_array(each))
        return None

    def _weights(self) -> Iterator[SeenTensor]:
        """Compares the constants that the quantiser wrote as integers."""
        from onnx import numpy_helper

        twin = {each.name: each for each in self._pair.twin.graph.initializer}
        readers: dict[str, int] = {}
        for number, node in enumerate(self._pair.twin.graph.node):
            for name in node.input:
                readers.setdefault(name, number)
        grids = {
            node.input[0]: node
            for node in self._pair.variant.graph.node
            if node.op_type == "DequantizeLinear"
        }
        for found, values in self._integers():
            name = found.removesuffix(_QUANTISED)
            if name == found or name not in twin or name not in readers:
                continue
            expected = numpy_helper.to_array(twin[name])
            if expected.shape != values.shape:
                continue
            grid = self._grid(grids[found]) if found in grids else None
            grid = grid or _fitted(expected, values)
            sums = ErrorSums(grid)
            sums.add(expected, grid.dequantised(values))
            layer = self._layers[readers[name]]
            called = tensor_name(self._pair.names.get(name, name), layer, "weights")
            shape = tuple(int(n) for n in expected.shape)
            yield SeenTensor(called, layer, "weights", str(values.dtype), shape, sums.figures())

    def _integers(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Gives the variant's constants; a table that is kept once is read turned round too."""
        from onnx import numpy_helper

        graph = self._pair.variant.graph
        known = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        yield from known.items()
        for node in graph.node:
            if node.op_type == "Transpose" and node.input[0] in known:
                yield node.output[0], known[node.input[0]].T


class _Watched:
    """A model with values of its inside as outputs."""

    def __init__(self, model: Any, names: list[str]) -> None:
        from onnx import helper

        watched = type(model)()
        watched.CopyFrom(model)
        del watched.graph.value_info[:]
        there = {each.name for each in watched.graph.output}
        for name in dict.fromkeys(names):
            if name not in there:
                # Without a type: the runtime knows it, and a wrong one would be refused.
                watched.graph.output.append(helper.make_empty_tensor_value_info(name))
        self._session = open_session(watched.SerializeToString(), optimised=False)
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._names = names

    def run(self, row: Any) -> list[npt.NDArray[Any]]:
        """Returns the values in the order they were asked for."""
        names = list(dict.fromkeys(self._names))
        found = self._session.run(names, dict(zip(self._inputs, row, strict=True)))
        known = dict(zip(names, found, strict=True))
        return [known[name] for name in self._names]


def open_session(data: bytes, *, optimised: bool = True, **settings: Any) -> Any:
    """Opens a file in ONNX Runtime on one thread.

    Args:
        data: The file.
        optimised: Whether nodes may be fused.
        settings: Further attributes of the session's options.

    Raises:
        ConversionError: The runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for name, value in settings.items():
        setattr(options, name, value)
    try:
        return onnxruntime.InferenceSession(
            bytes(data), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # ONNX Runtime's own exceptions share no base class but Exception.
        raise ConversionError(f"ONNX Runtime cannot open it: {error}") from error


def _fitted(expected: npt.NDArray[Any], values: npt.NDArray[Any]) -> Grid:
    """Returns the grid that a constant was put on, found from what became of it.

    Its scale is multiplied into others in the file, and equal constants are kept once.
    """
    integers = values.astype(np.float64).reshape(-1)
    numbers = expected.astype(np.float64).reshape(-1)
    spread = float(np.square(integers - integers.mean()).sum())
    product = float(((integers - integers.mean()) * (numbers - numbers.mean())).sum())
    scale = product / spread if spread and product > 0 else 1.0
    zero = float(np.rint(integers.mean() - numbers.mean() / scale))
    least, most = _ends(values.dtype)
    return Grid(np.array([scale]), np.array([zero]), least, most)


def _ends(dtype: npt.DTypeLike) -> tuple[int, int]:
    info = np.iinfo(np.dtype(dtype))
    return int(info.min), int(info.max)


def _trimmed(name: str) -> str:
    for mark in ("_QuantizeLinear", "_DequantizeLinear", "_output", "_quantized", "/duplicated"):
        name = name.partition(mark)[0]
    return name
