"""Finds what is to be run, by order, by the choice that was made on this box, or by default.

The choice lies in `STATE/choice.json` and holds for one release, runtime version, kernel, CPU,
number of cores, and card with its driver. It is not aware of how a choice is made, and imports
nothing of that: a daemon that starts waits for this. Used by `serve`, `bench` and `choosing`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.formats.choice import MAX_CHOICE_BYTES, Choice, ChoiceKey, Choices, parse_choices
from edgepack.formats.errors import BundleError
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName
from edgepack.runner.bench.device import Platform, read_device, this_platform
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.choice.versions import find_version
from edgepack.runner.release import Release, load_release
from edgepack.runner.state import BoxPaths

if TYPE_CHECKING:
    from edgepack.runner.gpu.fit import Verdict

CHOICE_FILE = "choice.json"


@dataclass(frozen=True, slots=True)
class Box:
    """What a choice looks at to know the box.

    Attributes:
        system: Its file tree.
        here: The platform Python runs on.
        environment: Environment variables.
        import_path: Where Python looks for packages, such as `sys.path`.
        root: The file tree in which a card's driver and libraries are looked for.
        nvml: What has pynvml's functions; None: the package itself.
    """

    system: SystemTree
    here: Platform
    environment: Mapping[str, str]
    import_path: Sequence[str]
    root: Path = Path("/")
    nvml: Any = None


def this_box() -> Box:
    """Returns the box this process runs on."""
    return Box(SystemTree(), this_platform(), os.environ, sys.path)


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be run.

    Attributes:
        release: The release with its candidate, checked.
        options: How the candidate is opened.
        reason: Why this one, in words.
        choice: The choice it follows, or None.
        warning: What was wrong with the choice that lay there, or None.
    """

    release: Release
    options: EngineOptions
    reason: str
    choice: Choice | None = None
    warning: str | None = None


def settle_release(
    paths: BoxPaths, box: Box, *, variant: str | None = None, threads: int | None = None
) -> Settled:
    """Finds the candidate and the options to run.

    Args:
        paths: The box's folders.
        box: What box this is.
        variant: A candidate that was asked for.
        threads: Threads that were asked for.

    Returns:
        What was asked for; else what was chosen on this box; else the bundle's first candidate
        with the options it was tuned with, or one thread. A choice that is damaged or of another
        release or box is passed over.

    Raises:
        BundleError: The release is damaged or has no such candidate.
    """
    release = load_release(paths.release, variant)
    if variant is not None or threads is not None:
        return Settled(release, EngineOptions(threads or 1), "asked for")
    default = _default(release, box)
    kept, warning = read_choices(paths.state)
    if warning is not None:
        return _with_warning(default, warning)
    choice = kept.of_release(release.id)
    if choice is None:
        return default
    if choice.key != choice_key(release, box) or not _is_possible(choice, release):
        return _with_warning(default, "the choice was made on another runtime, kernel, CPU or GPU")
    if choice.variant != release.candidate.variant:
        release = load_release(paths.release, choice.variant)
    return Settled(release, choice.options, f"chosen on this box: {choice.reason}", choice)


def _default(release: Release, box: Box) -> Settled:
    tuned = release.candidate.options
    if tuned is None:
        return Settled(release, EngineOptions(), "the bundle's first candidate, one thread")
    if tuned.threads > (box.here.cores_allowed or 1):
        # Tuned on a box with more cores; here these threads would wait for each other.
        reason = f"the bundle's first candidate, one thread: {tuned} are more than the cores"
        return Settled(release, EngineOptions(), reason)
    return Settled(release, tuned, f"the bundle's first candidate as it was tuned: {tuned}")


def choice_key(release: Release, box: Box) -> ChoiceKey:
    """Says what a choice for this release on this box holds for."""
    device = read_device(box.system, box.here, box.environment)
    runtime = release.manifest.runtime.name
    verdict = judge_card(release, box)
    return ChoiceKey(
        release=release.id,
        runtime=runtime,
        runtime_version=find_version(runtime, box.import_path) or release.manifest.runtime.version,
        kernel=device.kernel,
        cpu_model=device.cpu_model,
        cores_allowed=device.cores_allowed,
        gpu=None if verdict is None else verdict.gpu,
    )


def judge_card(release: Release, box: Box) -> Verdict | None:
    """Judges the box's card for a release, whichever of its candidates; None: it asks for none."""
    if release.manifest.runtime.name is not RuntimeName.ONNXRUNTIME_GPU:
        return None
    from edgepack.runner.gpu.looking import look_and_judge, wish_of

    return look_and_judge(
        wish_of(release.manifest, model_bytes=0),
        environment=box.environment,
        import_path=box.import_path,
        root=box.root,
        nvml=box.nvml,
    )


def read_choices(state: Path | None) -> tuple[Choices, str | None]:
    """Reads the choices that were kept.

    Args:
        state: The state folder, or None.

    Returns:
        The choices, none when there is no file or a damaged one, and what is wrong with the file
        that lies there or None.
    """
    if state is None:
        return Choices(), None
    try:
        with (state / CHOICE_FILE).open("rb") as file:
            data = file.read(MAX_CHOICE_BYTES + 1)
    except FileNotFoundError:
        return Choices(), None
    except OSError as error:
        return Choices(), f"{CHOICE_FILE} cannot be read: {error.strerror or error}"
    try:
        return parse_choices(data), None
    except BundleError as error:
        return Choices(), f"{error.message.splitlines()[0]}; the choice is made anew by bench"


def _is_possible(choice: Choice, release: Release) -> bool:
    variants = [each.variant for each in release.manifest.candidates]
    return choice.variant in variants and choice.options.threads <= (choice.key.cores_allowed or 1)


def _with_warning(settled: Settled, warning: str) -> Settled:
    return Settled(settled.release, settled.options, settled.reason, None, warning)
