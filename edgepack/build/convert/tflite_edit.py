"""Adds tensors, constants and operators to a TFLite graph. Runs in a worker.

It is not aware of what they are for. Imports LiteRT's schema; used by the `tflite` modules that
change a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

#: Source: `BuiltinOperator_PLACEHOLDER_FOR_GREATER_OP_CODES` in the schema.
_PLACEHOLDER: Final = 127


class TfliteEditor:
    """Makes the parts of a graph; the caller puts operators in their places.

    Attributes:
        model: A ModelT.
        graph: One of its subgraphs.
    """

    def __init__(self, model: Any, graph: Any) -> None:
        self.model = model
        self.graph = graph

    def tensor(self, shape: Sequence[int], kind: int) -> int:
        """Adds a computed tensor.

        Args:
            shape: Its extents.
            kind: Its `TensorType`.

        Returns:
            Its number.
        """
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = np.array(shape, dtype=np.int32), kind, b""
        tensor.buffer, tensor.quantization = 0, schema.QuantizationParametersT()
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values: npt.NDArray[Any], kind: int) -> int:
        """Adds a constant and returns its number.

        Args:
            values: Its elements, of the type that `kind` says.
            kind: Its `TensorType`.
        """
        place = self.tensor(values.shape, kind)
        self.fill(self.graph.tensors[place], values)
        return place

    def fill(self, tensor: Any, values: npt.NDArray[Any]) -> None:
        """Gives a tensor elements and their shape; its old ones may be another tensor's too."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        tensor.buffer = len(self.model.buffers) - 1
        tensor.shape = np.array(values.shape, dtype=np.int32)

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
    ) -> Any:
        """Returns an operator that is in no graph yet.

        Args:
            name: Such as `TOPK_V2`.
            inputs: Numbers of tensors.
            outputs: Numbers of tensors.
            options: The schema's object for its options; None where it has none.
            version: Of the operator.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, name), version)
        operator.inputs = np.array(inputs, dtype=np.int32)
        operator.outputs = np.array(outputs, dtype=np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        return operator

    def reshape(self, source: int, target: int) -> Any:
        """Returns an operator that gives a tensor another one's shape."""
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(self.graph.tensors[target].shape, dtype=np.int32)
        extents = self.constant(options.newShape, schema.TensorType.INT32)
        return self.operator("RESHAPE", [source, extents], [target], options)

    def _code(self, builtin: int, version: int) -> int:
        for index, each in enumerate(self.model.operatorCodes):
            known = max(each.builtinCode, each.deprecatedBuiltinCode)
            if (known, each.version) == (builtin, version):
                return index
        code = schema.OperatorCodeT()
        # The older field has one byte; what does not fit says so there.
        code.builtinCode, code.version = builtin, version
        code.deprecatedBuiltinCode = min(builtin, _PLACEHOLDER)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1
