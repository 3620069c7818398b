"""Runs a variant on this host as the box would: through the runner, in a process of its own.

Used by the other modules of `edgepack.build.quality`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.build.artifacts import ConvertedVariant
from edgepack.build.cache import Cache
from edgepack.build.process import run_limited
from edgepack.formats.errors import DeviceError
from edgepack.formats.variants import Format, RuntimeName

#: The host's runtime for each format.
HOST_RUNTIMES = {Format.TFLITE: RuntimeName.LITERT, Format.ONNX: RuntimeName.ONNXRUNTIME}
_TIMEOUT_S = 1800.0
_MEMORY_BYTES = 8 * 2**30


def predict(
    variant: ConvertedVariant, inputs: Mapping[str, npt.NDArray[Any]], cache: Cache
) -> list[npt.NDArray[Any]]:
    """Returns a variant's outputs for rows of inputs.

    Args:
        variant: A converted variant.
        inputs: One array [n, ...] for each input, by name or `arg0` … in file order.
        cache: Gives the scratch directory.

    Returns:
        One array [n, ...] for each output in file order.

    Raises:
        DeviceError: The runtime refuses the file, crashes or passes its limits.
    """
    with cache.temporary_directory("predict-") as work:
        source, answers = work / "in.npz", work / "out.npz"
        np.savez(source, **inputs)  # type: ignore[arg-type]
        result = run_limited(
            [
                *(sys.executable, "-m", "edgepack.runner.predict"),
                *("--runtime", str(HOST_RUNTIMES[variant.spec.format])),
                *("--model", str(variant.path), "--inputs", source, "--outputs", answers),
            ],
            timeout_s=_TIMEOUT_S,
            memory_bytes=_MEMORY_BYTES,
            env=_environment(),
        )
        if not result.ok:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            last = next((line for line in lines if line.startswith("error:")), "")
            raise DeviceError(
                f"{variant.spec.name} cannot be run on this host: the runtime "
                f"{result.describe()}{': ' if last else ''}{last.removeprefix('error: ')}"
            )
        return _read_outputs(answers)


def _read_outputs(path: Path) -> list[npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[f"out{i}"] for i in range(len(archive.files))]


def _environment() -> dict[str, str]:
    # The child must find this very edgepack, installed or not.
    package = Path(__file__).resolve().parents[3]
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{known}" if known else str(package)}
