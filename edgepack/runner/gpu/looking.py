"""Looks at this box's card and judges it for a bundle.

It is not aware of engines or HTTP. Used by the engine before it makes a session, by `doctor`,
`check` and `bench`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepack.formats.manifest import Manifest
from edgepack.runner.gpu import needs
from edgepack.runner.gpu.driver import read_driver
from edgepack.runner.gpu.fit import Verdict, Wish, judge
from edgepack.runner.gpu.libraries import find_libraries, search_folders
from edgepack.runner.gpu.nvml import look_at_cards

_DEFAULT = (needs.CUDA, needs.CPU)


def wish_of(manifest: Manifest, model_bytes: int) -> Wish:
    """Returns what a bundle asks of a card."""
    runtime = manifest.runtime
    wheels = {each.name for each in runtime.external}
    return Wish(
        providers=runtime.providers or _DEFAULT,
        bundled=any(each.wheel in wheels for each in needs.CUDA_LIBRARIES),
        model_bytes=model_bytes,
    )


def look_and_judge(
    wish: Wish,
    *,
    environment: Mapping[str, str] = os.environ,
    import_path: Sequence[str] | None = None,
    root: Path = Path("/"),
    nvml: Any = None,
) -> Verdict:
    """Looks at the driver, the card and the libraries of this box, and judges them.

    Args:
        wish: What is asked for.
        environment: Environment variables.
        import_path: Where Python looks for packages, such as `sys.path`.
        root: The file tree to look at.
        nvml: What has pynvml's functions; the package itself by default.

    Returns:
        The verdict. Nothing of CUDA is loaded by this; NVML is, which only talks to the driver.
    """
    folders = search_folders(environment, sys.path if import_path is None else import_path, root)
    driver = read_driver(environment, folders, root)
    look = look_at_cards(driver.visible, nvml)
    wanted = {lib.soname: lib for each in wish.providers for lib in needs.libraries_of(each)}
    found = find_libraries((*wanted.values(), *needs.HELPERS), folders)
    return judge(wish, driver, look, found)


def summary(verdict: Verdict) -> str:
    """Says in a few words what will compute."""
    if verdict.provider == needs.CPU:
        return f"the CPU computes: {verdict.fallback or 'no GPU was asked for'}"
    name = verdict.gpu or "a card"
    return f"{name}: {', '.join(verdict.usable)}"
