"""Says whether a bundle for a GPU will find one it can use on this box; the CPU serves otherwise.

What it judges with travels only in bundles for onnxruntime-gpu, so it is imported for those alone.
Used by `main`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepack.formats.manifest import Manifest
from edgepack.formats.variants import RuntimeName
from edgepack.runner.boot.doctor import Check

if TYPE_CHECKING:
    from edgepack.runner.gpu.fit import Verdict

_LIBRARIES = ("library_missing", "wrong_library")


def gpu_checks(
    manifest: Manifest, judge: Callable[[Manifest], Verdict] | None = None
) -> list[Check]:
    """Judges the box's card for a bundle.

    Args:
        manifest: The bundle's.
        judge: Looks at the box; by default this one.

    Returns:
        A check for each thing in the way, or one that says that nothing is; none for a bundle
        that asks for no GPU.
    """
    if manifest.runtime.name is not RuntimeName.ONNXRUNTIME_GPU:
        return []
    from edgepack.runner.gpu.looking import look_and_judge, wish_of
    from edgepack.runner.gpu.needs import CUDA_LIBRARIES

    wish = wish_of(manifest, manifest.candidate().size)
    verdict = look_and_judge(wish) if judge is None else judge(manifest)
    # Before an installation what the bundle brings is not there yet. TensorRT it never brings.
    brought = {each.soname for each in CUDA_LIBRARIES} if wish.bundled else set()
    obstacles = [
        each
        for each in verdict.obstacles
        if not (each.name in _LIBRARIES and each.needed in brought)
    ]
    if obstacles:
        return [
            Check("gpu", "warn", f"{each.what}: {each.found}", each.needed, each.hint)
            for each in obstacles
        ]
    return [Check("gpu", "ok", verdict.gpu or "a card and its driver", verdict.provider)]
