"""Opens a model file with the engine of a runtime, importing only that runtime.

It is not aware of releases or hashes: the caller has checked the file. Used by the runner.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines.contract import Engine

if TYPE_CHECKING:
    from edgepack.runner.engines.onnxruntime_gpu import GpuRequest
    from edgepack.runner.gpu.fit import Verdict

_DEFAULT = EngineOptions()


def open_engine(
    runtime: RuntimeName,
    model_path: Path,
    options: EngineOptions = _DEFAULT,
    gpu: GpuRequest | None = None,
) -> Engine:
    """Loads a model.

    Args:
        runtime: Which runtime loads it.
        model_path: The `.tflite` or `.onnx` file.
        options: How it is opened; one thread by default.
        gpu: For onnxruntime-gpu, the verdict on this box's card; looked for when it is None.

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
        case RuntimeName.ONNXRUNTIME:
            from edgepack.runner.engines.onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(model_path, options)
        case RuntimeName.ONNXRUNTIME_GPU:
            from edgepack.runner.engines.onnxruntime_gpu import GpuRequest, OnnxRuntimeGpuEngine

            return OnnxRuntimeGpuEngine(
                model_path, options, gpu or GpuRequest(_judge_here(model_path))
            )
        case _:
            assert_never(runtime)


def _judge_here(model_path: Path) -> Verdict:
    from edgepack.runner.gpu.fit import Wish
    from edgepack.runner.gpu.looking import look_and_judge

    return look_and_judge(Wish(model_bytes=model_path.stat().st_size))
