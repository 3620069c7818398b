"""The parts of edgepack itself that travel: the bundle's program and the runner.

They are read as data through `importlib.resources`, from a checkout or a wheel alike; the
runner is never imported here. It is not aware of archives. Used by `bundle` and the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from edgepack.formats.bundle import MAIN_MEMBER
from edgepack.formats.variants import RuntimeName

_ENTRY = "runner/boot/entry.py"
#: What only a bundle for a graphics card ever imports; 15 kB of a bundle.
_FOR_CARDS = (
    "runner/gpu/",
    "runner/engines/binding.py",
    "runner/engines/onnxruntime_gpu.py",
    "runner/http/metrics/gpu.py",
)
#: What only a release that is being tuned runs.
_FOR_TUNING = ("formats/tuning.py", "runner/tuning/")


def program_files(runtime: RuntimeName | None = None) -> Mapping[str, bytes]:
    """Returns the bundle's own program by member name, `__main__.py` included.

    Args:
        runtime: The bundle's; what judges graphics cards travels only where one is asked for.
    """
    package = files("edgepack")
    members = {MAIN_MEMBER: package.joinpath(_ENTRY).read_bytes()}
    for name in ("__init__.py", "runner/__init__.py"):
        members[f"edgepack/{name}"] = package.joinpath(name).read_bytes()
    folders = ["formats", "runner/boot"]
    if runtime is RuntimeName.ONNXRUNTIME_GPU:
        folders.append("runner/gpu")
    for folder in folders:
        for path, data in _walk(package.joinpath(folder), folder):
            if path != _ENTRY and not path.startswith(_FOR_TUNING):
                members[f"edgepack/{path}"] = data
    return members


def runner_files(runtime: RuntimeName | None = None) -> Mapping[str, bytes]:
    """Returns the runner's sources by their path in a release.

    `edgepack.formats` and `edgepack.runner` with everything below them, the bundle's program
    too: the runner installs updates with it.

    Args:
        runtime: The release's; what is for graphics cards alone is left out where none is asked
            for. None: everything. What tunes is not among them (`tuning_files`).
    """
    left_out = () if runtime in (None, RuntimeName.ONNXRUNTIME_GPU) else _FOR_CARDS
    left_out = (*left_out, *_FOR_TUNING)
    package = files("edgepack")
    found = {"runner/edgepack/__init__.py": package.joinpath("__init__.py").read_bytes()}
    for folder in ("formats", "runner"):
        for path, data in _walk(package.joinpath(folder), folder):
            if not path.startswith(left_out):
                found[f"runner/edgepack/{path}"] = data
    return found


def tuning_files() -> Mapping[str, bytes]:
    """Returns the sources of what tunes by their path in a release, beside `runner_files()`."""
    package = files("edgepack")
    return {
        f"runner/edgepack/{path}": data
        for folder in ("formats", "runner")
        for path, data in _walk(package.joinpath(folder), folder)
        if path.startswith(_FOR_TUNING)
    }


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        place = f"{path}/{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, place)
        elif entry.name.endswith(".py"):
            yield place, entry.read_bytes()
