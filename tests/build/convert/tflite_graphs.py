"""Small TFLite graphs made by hand, for the tests of what changes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema


class TfliteGraph:
    """A model of one graph, filled tensor by tensor and operator by operator."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, b""
        self.model.operatorCodes, self.model.metadata, self.model.signatureDefs = [], [], []
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], b""
        self.model.subgraphs = [self.graph]

    def tensor(self, shape: tuple[int, ...], kind: int, values: Any = None) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = np.array(shape, np.int32), kind, b""
        tensor.quantization, tensor.buffer = schema.QuantizationParametersT(), 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def ints(self, *values: int) -> int:
        return self.tensor((len(values),), schema.TensorType.INT32, np.array(values, np.int32))

    def add(self, name: str, version: int, inputs: list[int], outputs: list[int], o: Any) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = version
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array(outputs, np.int32)
        kind = type(o).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = o
        self.graph.operators.append(operator)
