"""Finds the version of an installed runtime without importing it.

Importing takes as long as a cold start is measured to take, and would spoil that measurement. It
is not aware of what the version is for. Used by `choosing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgepack.formats.variants import RuntimeName

#: The distributions that bring each runtime, as their `.dist-info` folders are called.
_DISTRIBUTIONS: Final = {
    RuntimeName.LITERT: ("ai_edge_litert",),
    RuntimeName.TFLITE_RUNTIME: ("tflite_runtime",),
    RuntimeName.ONNXRUNTIME: ("onnxruntime",),
    RuntimeName.ONNXRUNTIME_GPU: ("onnxruntime_gpu", "onnxruntime"),
}
_SUFFIX: Final = ".dist-info"
_MAX_VERSION: Final = 100


def find_version(runtime: RuntimeName, import_path: Iterable[str]) -> str | None:
    """Looks for a runtime's `.dist-info` folder.

    Args:
        runtime: Which runtime.
        import_path: Where Python looks for packages, first to last.

    Returns:
        The version the folder's name says, such as `2.3.0`; None when there is no such folder.

    Source: PyPA, "Recording installed projects", the name of the folder.
    """
    for entry in import_path:
        for name in _DISTRIBUTIONS[runtime]:
            found = sorted(Path(entry or ".").glob(f"{name}-*{_SUFFIX}"))
            if found:
                return found[0].name[len(name) + 1 : -len(_SUFFIX)][:_MAX_VERSION] or None
    return None
