"""The LiteRT engine; the only file that imports `ai_edge_litert`.

Of that package only the interpreter, its wrapper and its common library are loaded, so a box's
site may leave the rest out. Used through `open_engine`.
"""

from __future__ import annotations

from pathlib import Path

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines.interpreter import InterpreterEngine


class LiteRtEngine(InterpreterEngine):
    """A `.tflite` file in LiteRT (an `Engine`)."""

    def __init__(self, model_path: Path, options: EngineOptions) -> None:
        try:
            import ai_edge_litert
            from ai_edge_litert.interpreter import Interpreter
        except (ImportError, OSError) as error:
            raise DeviceError(
                f"the runtime LiteRT (ai_edge_litert) cannot be imported: {error}",
                hint="pip install 'edgepack[litert]', or run the launcher of an installed bundle",
            ) from error
        version = str(ai_edge_litert.__version__)
        super().__init__(Interpreter, RuntimeName.LITERT, version, model_path, options)
