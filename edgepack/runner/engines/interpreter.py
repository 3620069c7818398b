"""The TFLite interpreter's calls, shared by the two packages that bring one.

LiteRT and tflite-runtime have the same Python class; only where it is imported from differs.
Its exceptions are translated here. Used by `litert` and `tflite_runtime`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.engines.contract import Array, check_inputs
from edgepack.runner.engines.mapped import give_pages_back


class InterpreterEngine:
    """A `.tflite` file in a TFLite interpreter (an `Engine`)."""

    def __init__(
        self,
        interpreter_class: Any,
        name: str,
        version: str,
        model_path: Path,
        options: EngineOptions,
    ) -> None:
        self._name = name
        self._version = version
        self._options = options
        try:
            interpreter = interpreter_class(model_path=str(model_path), num_threads=options.threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError, OSError) as error:
            raise DeviceError(
                f"{name} {version} cannot load {model_path.name}: {_last_words(error)}",
                hint="edgepack build checks every operator against the runtime; build it again",
            ) from error
        # By now XNNPACK has packed the tables; of the file only rows are looked up.
        give_pages_back(model_path)
        self._interpreter: Any = interpreter
        inputs = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        self._inputs = tuple(_spec(each) for each in inputs)
        self._outputs = tuple(_spec(each) for each in outputs)
        self._input_indices = [int(each["index"]) for each in inputs]
        self._output_indices = [int(each["index"]) for each in outputs]
        self._allocated = [tuple(int(n) for n in each["shape"]) for each in inputs]

    @property
    def name(self) -> str:
        """The runtime's name."""
        return self._name

    @property
    def version(self) -> str:
        """The runtime's version."""
        return self._version

    @property
    def provider(self) -> str:
        """`XNNPACK`: both packages apply that delegate to float and int8 graphs by default."""
        return "XNNPACK"

    @property
    def fallback(self) -> None:
        """None: there is nothing else that could have been asked for."""
        return None

    @property
    def threads(self) -> int:
        """Threads inside one call."""
        return self._options.threads

    @property
    def options(self) -> EngineOptions:
        """How it is open."""
        return self._options

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs in file order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs in file order."""
        return self._outputs

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the model once; see `Engine.run`."""
        interpreter = self._interpreter
        if interpreter is None:
            raise DeviceError(f"the {self._name} engine is closed")
        check_inputs(self._inputs, inputs)
        try:
            self._fit_shapes(inputs)
            for index, array in zip(self._input_indices, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in self._output_indices]
        except (ValueError, RuntimeError) as error:
            raise DeviceError(f"{self._name} failed to run: {_last_words(error)}") from error

    def close(self) -> None:
        """Gives the interpreter's memory back."""
        self._interpreter = None

    def _fit_shapes(self, inputs: Sequence[Array]) -> None:
        changed = False
        for i, array in enumerate(inputs):
            if array.shape != self._allocated[i]:
                self._interpreter.resize_tensor_input(self._input_indices[i], array.shape)
                self._allocated[i] = array.shape
                changed = True
        if changed:
            self._interpreter.allocate_tensors()


def _spec(detail: dict[str, Any]) -> TensorSpec:
    signature = detail.get("shape_signature")
    # An empty signature means "as the shape": the converter leaves it out for fixed shapes.
    shape = signature if signature is not None and len(signature) else detail["shape"]
    extents = tuple(int(extent) for extent in shape)
    return TensorSpec(str(detail["name"]), np.dtype(detail["dtype"]).name, extents)


def _last_words(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
