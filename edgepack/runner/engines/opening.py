"""Opens a model file with the engine of a runtime, importing only that runtime.

It is not aware of releases or hashes: the caller has checked the file. Used by the runner.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines.contract import Engine

_DEFAULT = EngineOptions()


def open_engine(
    runtime: RuntimeName, model_path: Path, options: EngineOptions = _DEFAULT
) -> Engine:
    """Loads a model.

    Args:
        runtime: Which runtime loads it.
        model_path: The `.tflite` or `.onnx` file.
        options: How it is opened; one thread by default.

    Returns:
        The engine, ready to run.

    Raises:
        DeviceError: The runtime is not installed or cannot load the file.
    """
    if not model_path.is_file():
        raise DeviceError(f"{model_path}: no such model file")
    match runtime:
        case RuntimeName.LITERT:
            from edgepack.runner.engines.litert import LiteRtEngine

            return LiteRtEngine(model_path, options)
        case RuntimeName.TFLITE_RUNTIME:
            from edgepack.runner.engines.tflite_runtime import TfliteRuntimeEngine

            return TfliteRuntimeEngine(model_path, options)
        case RuntimeName.ONNXRUNTIME | RuntimeName.ONNXRUNTIME_GPU:
            from edgepack.runner.engines.onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(
                model_path, options, use_gpu=runtime is RuntimeName.ONNXRUNTIME_GPU
            )
        case _:
            assert_never(runtime)
