"""Inputs and outputs bound to buffers on a device, once for each shape, and run from there.

ONNX Runtime's I/O binding: without it every call allocates on the device. With a CUDA graph the
buffers' addresses are part of what was recorded, so they must stay. It is not aware of providers
or of falling back. Used by the GPU engine; it works on the CPU as well, which is how it is tested.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack.runner.engines.contract import Array

#: Shapes that have buffers at one time; the batch sizes of a busy box are fewer.
MAX_SHAPES = 16
_NO_GRAPH = -1
#: Source: onnxruntime_run_options_config_keys.h, `kOrtRunOptionsConfigCudaGraphAnnotation`.
_GRAPH_ID = "gpu_graph_id"


@dataclass(frozen=True, slots=True)
class _Bound:
    """The buffers for one set of input shapes."""

    binding: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    run_options: Any


class BoundSession:
    """A session whose inputs and outputs lie in fixed buffers.

    Not safe to be called by two threads at once.
    """

    def __init__(self, ort: Any, session: Any, device: str, *, graphs: bool = False) -> None:
        """Prepares binding; buffers are made at the first call of each shape.

        Args:
            ort: The module onnxruntime.
            session: An open session.
            device: Where the buffers are: `cuda` or `cpu`.
            graphs: Whether each shape's work is recorded and replayed as a CUDA graph; the
                session must have been opened for that.

        Raises:
            ValueError: The shape of an output cannot be told from the inputs' shapes.
        """
        self._ort = ort
        self._session = session
        self._device = device
        self._graphs = graphs
        self._inputs = session.get_inputs()
        self._outputs = session.get_outputs()
        self._bound: OrderedDict[tuple[tuple[int, ...], ...], _Bound] = OrderedDict()
        self._recorded = 0
        named = {extent for each in self._inputs for extent in each.shape}
        for output in self._outputs:
            for extent in output.shape:
                if not isinstance(extent, int) and (extent is None or extent not in named):
                    raise ValueError(f"the shape of output '{output.name}' is not known before")

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs once.

        Args:
            inputs: One array for each input, checked already.

        Returns:
            One array for each output, copied from the device; the caller owns them.
        """
        shapes = tuple(array.shape for array in inputs)
        bound = self._bound.get(shapes)
        if bound is None:
            bound = self._bind(inputs)
            self._bound[shapes] = bound
        elif not self._graphs:
            self._bound.move_to_end(shapes)
        for value, array in zip(bound.inputs, inputs, strict=True):
            value.update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(bound.binding, bound.run_options)
        outputs: list[Array] = [value.numpy() for value in bound.outputs]
        # On the CPU that is a view of the buffer, which the next call writes to.
        return [array.copy() for array in outputs] if self._device == "cpu" else outputs

    def _bind(self, inputs: Sequence[Array]) -> _Bound:
        if len(self._bound) >= MAX_SHAPES:
            # A recorded graph cannot be given back, so with graphs the first shapes stay.
            self._bound.popitem(last=self._graphs)
        ort, device = self._ort, self._device
        extents = {
            name: size
            for node, array in zip(self._inputs, inputs, strict=True)
            for name, size in zip(node.shape, array.shape, strict=True)
            if not isinstance(name, int)
        }
        binding = self._session.io_binding()
        bound_inputs = []
        for node, array in zip(self._inputs, inputs, strict=True):
            value = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, device, 0)
            binding.bind_ortvalue_input(node.name, value)
            bound_inputs.append(value)
        bound_outputs = []
        for node in self._outputs:
            shape = [each if isinstance(each, int) else extents[each] for each in node.shape]
            dtype = _NUMPY_TYPES[node.type]
            value = ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device, 0)
            binding.bind_ortvalue_output(node.name, value)
            bound_outputs.append(value)
        return _Bound(binding, tuple(bound_inputs), tuple(bound_outputs), self._run_options())

    def _run_options(self) -> Any:
        if not self._graphs:
            return None
        options = self._ort.RunOptions()
        number = _NO_GRAPH
        if self._recorded < MAX_SHAPES:
            # Zero is a graph too, but it is the one that is recorded without being asked for.
            self._recorded += 1
            number = self._recorded
        options.add_run_config_entry(_GRAPH_ID, str(number))
        return options


#: Source: onnxruntime/core/framework/data_types.cc, `tensor(...)` names.
_NUMPY_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}
