"""The tflite-runtime engine; the only file that imports `tflite_runtime`.

Used through `open_engine`.
"""

from __future__ import annotations

from pathlib import Path

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines.interpreter import InterpreterEngine


class TfliteRuntimeEngine(InterpreterEngine):
    """A `.tflite` file in tflite-runtime (an `Engine`)."""

    def __init__(self, model_path: Path, options: EngineOptions) -> None:
        try:
            import tflite_runtime
            from tflite_runtime.interpreter import Interpreter
        # Built against numpy 1, its wrapper fails under numpy 2 with an AttributeError.
        except (ImportError, OSError, AttributeError) as error:
            raise DeviceError(
                f"the runtime tflite-runtime cannot be imported: {error}",
                hint="it needs Python 3.11 at most and numpy<2; run the launcher of a bundle",
            ) from error
        version = str(tflite_runtime.__version__)
        super().__init__(Interpreter, RuntimeName.TFLITE_RUNTIME, version, model_path, options)
