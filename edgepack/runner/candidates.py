"""Opens the candidate of a release with its runtime.

For onnxruntime-gpu this looks at the box's card first; no other bundle imports anything of that.
It is not aware of who wants the engine. Used by the daemon, `check`, `bench` and the choice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines import Engine, open_engine
from edgepack.runner.release import Release
from edgepack.runner.rows import powers_of_two

if TYPE_CHECKING:
    from edgepack.runner.engines.onnxruntime_gpu import GpuRequest

#: Candidates of one release that are opened one after the other: a choice measures each of them.
_CANDIDATES = 3
#: Releases whose engines are of use: the one that serves, one on trial beside it, and the one that
#: a rollback returns to.
_RELEASES = 3
#: Folders with TensorRT's engines that are kept; each holds what took minutes to build.
KEPT_CACHES = _CANDIDATES * _RELEASES


def open_candidate(
    release: Release,
    options: EngineOptions,
    state: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Engine:
    """Loads a release's candidate.

    Args:
        release: The release with its candidate, checked.
        options: How it is opened.
        state: Where TensorRT's engines may be kept; None: nowhere.
        tell: Is told why the CPU computes where a GPU was asked for, when that is or becomes so.

    Returns:
        The engine, ready to run.

    Raises:
        DeviceError: The runtime is not installed or cannot load the file.
    """
    runtime = release.manifest.runtime.name
    if runtime is not RuntimeName.ONNXRUNTIME_GPU:
        return open_engine(runtime, release.model_path, options)
    return open_engine(
        runtime, release.model_path, options, _request(release, state, tell or (lambda _: None))
    )


def _request(release: Release, state: Path | None, tell: Callable[[str], None]) -> GpuRequest:
    from edgepack.runner.engines.onnxruntime_gpu import GpuRequest
    from edgepack.runner.gpu.looking import look_and_judge, wish_of
    from edgepack.runner.gpu.needs import TENSORRT

    candidate = release.candidate
    verdict = look_and_judge(wish_of(release.manifest, candidate.size))
    cache = None
    if state is not None and TENSORRT in verdict.usable:
        cache = cache_folder(state, candidate.sha256)
    return GpuRequest(
        verdict,
        candidate.precision,
        cache,
        candidate.inputs,
        powers_of_two(candidate.max_batch),
        tell=tell,
    )


def cache_folder(state: Path, sha256: str) -> Path | None:
    """Makes a model's folder for TensorRT's engines and removes the oldest of others'.

    Args:
        state: The state folder.
        sha256: The model file's hash.

    Returns:
        The folder; None where it cannot be made.
    """
    import shutil

    parent = state / "gpu"
    folder = parent / sha256[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        others = sorted(parent.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    except OSError:
        # Then every start builds the engines anew; serving does not depend on it.
        return None
    for old in others[KEPT_CACHES:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder
