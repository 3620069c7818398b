"""Loads CUDA's libraries from where they were found, before the runtime looks for them itself.

The loader takes a library that is loaded already by its name, wherever it came from; so wheels
and folders that it does not search work too. onnxruntime's own `preload_dlls` takes one flat
folder, prints, and looks where `python3 -IS` has no packages, so it is not used. Used by the GPU
engine alone, after the verdict.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from edgepack.runner.gpu.libraries import Found
from edgepack.runner.gpu.needs import CUDA_LIBRARIES, HELPERS, TENSORRT_LIBRARIES


def preload(found: Found, load: Callable[[str], object] = ctypes.CDLL) -> str | None:
    """Loads what was found, what others depend on first.

    Args:
        found: Where the libraries are.
        load: Loads one file.

    Returns:
        Why one of CUDA's could not be loaded, with its name; None when all could. What only helps
        may be missing, and without TensorRT's its provider cannot open and CUDA is next.
    """
    for library in (*HELPERS, *CUDA_LIBRARIES, *TENSORRT_LIBRARIES):
        path = found.paths.get(library.soname)
        if path is None:
            continue
        try:
            load(str(path))
        except OSError as error:
            if library not in CUDA_LIBRARIES:
                continue
            return f"{library.soname} cannot be loaded: {error}"
    return None
