"""The ONNX Runtime engine on the CPU; the only file that imports `onnxruntime`.

What the GPU engine shares with it is here too: the import, the options of a session and the
reading of its inputs. Used through `open_engine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions, ExecutionMode
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines.contract import Array, check_inputs

_CPU = "CPUExecutionProvider"
#: ONNX Runtime's log level for errors only; its warnings are about graphs, not about answers.
_LOG_ERRORS = 3
#: The element types a graph's inputs and outputs may have here.
#: Source: onnxruntime/core/framework/data_types.cc, `tensor(...)` names.
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}


class OnnxRuntimeEngine:
    """A `.onnx` file in ONNX Runtime on the CPU (an `Engine`)."""

    def __init__(
        self,
        model_path: Path,
        options: EngineOptions,
        name: RuntimeName = RuntimeName.ONNXRUNTIME,
    ) -> None:
        """Loads a model.

        Args:
            model_path: The `.onnx` file.
            options: How it is opened.
            name: The runtime's name; the GPU's package computes on the CPU as well.

        Raises:
            DeviceError: The runtime is not installed or cannot load the file.
        """
        ort = import_onnxruntime()
        self._name = name
        self._version = str(ort.__version__)
        self._options = options
        try:
            session = ort.InferenceSession(
                str(model_path), session_options(ort, options), providers=[_CPU]
            )
        # Its exceptions share no base class below Exception (Fail, InvalidGraph, NotImplemented).
        except Exception as error:
            raise cannot_load(name, self._version, model_path, error) from error
        self._session: Any = session
        self._inputs = tuple(spec_of(each) for each in session.get_inputs())
        self._outputs = tuple(spec_of(each) for each in session.get_outputs())
        self._input_names = [spec.name for spec in self._inputs]

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
        """The execution provider: the CPU's."""
        return _CPU

    @property
    def fallback(self) -> None:
        """None: the CPU is what was asked for."""
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
        if self._session is None:
            raise DeviceError(f"the {self._name} engine is closed")
        check_inputs(self._inputs, inputs)
        feed = dict(zip(self._input_names, inputs, strict=True))
        try:
            outputs: list[Array] = self._session.run(None, feed)
        except Exception as error:
            raise DeviceError(f"{self._name} failed to run: {last_words(error)}") from error
        return outputs

    def close(self) -> None:
        """Gives the session's memory back."""
        self._session = None


def import_onnxruntime() -> Any:
    """Imports the runtime and returns its module.

    Raises:
        DeviceError: It is not installed or cannot be loaded here.
    """
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"the runtime ONNX Runtime (onnxruntime) cannot be imported: {error}",
            hint="pip install 'edgepack[onnx]', or run the launcher of an installed bundle",
        ) from error
    return onnxruntime


def session_options(ort: Any, options: EngineOptions) -> Any:
    """Returns ONNX Runtime's options of a session."""
    session = ort.SessionOptions()
    session.intra_op_num_threads = options.threads
    session.inter_op_num_threads = 1
    if options.execution_mode is ExecutionMode.PARALLEL:
        session.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        session.inter_op_num_threads = options.threads
    session.log_severity_level = _LOG_ERRORS
    spinning = "1" if options.spinning else "0"
    for pool in ("intra_op", "inter_op"):
        session.add_session_config_entry(f"session.{pool}.allow_spinning", spinning)
    return session


def cannot_load(name: str, version: str, model_path: Path, error: Exception) -> DeviceError:
    """Composes the error of a model that the runtime refuses."""
    return DeviceError(
        f"{name} {version} cannot load {model_path.name}: {last_words(error)}",
        hint="edgepack build checks every operator against the runtime; build it again",
    )


def spec_of(node: Any) -> TensorSpec:
    """Describes an input or output of a session; an extent that varies is -1.

    Raises:
        DeviceError: It is no numeric tensor.
    """
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise DeviceError(f"'{node.name}' is a {node.type}; only numeric tensors are taken")
    shape = tuple(extent if isinstance(extent, int) else -1 for extent in node.shape)
    return TensorSpec(str(node.name), dtype, shape)


def last_words(error: Exception) -> str:
    """Returns what an exception says, on one line, or its name where it says nothing."""
    return " ".join(str(error).split())[:500] or type(error).__name__
