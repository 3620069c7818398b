"""A stand-in for NVIDIA's library, compiled where a test needs one."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("standin_nvml.c")
_COMPILER = ("gcc", "-shared", "-fPIC", "-Wall", "-Werror")


def compile_library(folder: Path, name: str, source: Path | None = None) -> None:
    """Makes a shared library; without a source one that has nothing in it."""
    if source is None:
        source = folder / "empty.c"
        source.write_text("int edgepack_stand_in;\n")
    subprocess.run(
        [*_COMPILER, f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)],
        check=True,
        timeout=120,
    )


def compile_driver(folder: Path) -> Path:
    """Puts the stand-in for the driver's library into a folder, for LD_LIBRARY_PATH."""
    compile_library(folder, "libnvidia-ml.so.1", _SOURCE)
    return folder
