"""Makes a choice and keeps it; finds what is to be run, by order, by choice or by default.

The choice lies in `STATE/choice.json` and holds for one release, runtime version, kernel, CPU and
number of cores; when any of them changes it is measured again. It is not aware of how trials are
measured. Used by `bench` and `serve`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.choice import MAX_CHOICE_BYTES, Choice, ChoiceKey, parse_choice
from edgepack.formats.errors import BundleError
from edgepack.formats.options import EngineOptions
from edgepack.runner.bench.device import Platform, read_device, this_platform
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.choice.deciding import decide
from edgepack.runner.choice.process import Launch, measure_in_processes
from edgepack.runner.choice.trials import plan_trials
from edgepack.runner.choice.versions import find_version
from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.durable import write_durably
from edgepack.runner.release import Release, load_release
from edgepack.runner.state import BoxPaths

_FILE = "choice.json"


@dataclass(frozen=True, slots=True)
class Box:
    """What a choice looks at to know the box.

    Attributes:
        system: Its file tree.
        here: The platform Python runs on.
        environment: Environment variables.
        import_path: Where Python looks for packages, such as `sys.path`.
    """

    system: SystemTree
    here: Platform
    environment: Mapping[str, str]
    import_path: Sequence[str]


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
        with one thread. A choice that is damaged or of another release or box is passed over.

    Raises:
        BundleError: The release is damaged or has no such candidate.
    """
    release = load_release(paths.release, variant)
    if variant is not None or threads is not None:
        return Settled(release, EngineOptions(threads or 1), "asked for")
    default = Settled(release, EngineOptions(), "the bundle's first candidate, one thread")
    choice, warning = read_choice(paths.state)
    if warning is not None:
        return _with_warning(default, warning)
    if choice is None or choice.key.release != release.id:
        return default
    if choice.key != choice_key(release, box) or not _is_possible(choice, release):
        return _with_warning(default, "the choice was made on another runtime, kernel or CPU")
    if choice.variant != release.candidate.variant:
        release = load_release(paths.release, choice.variant)
    return Settled(release, choice.options, f"chosen on this box: {choice.reason}", choice)


def choose(release: Release, box: Box, clock: Clock, launch: Launch) -> Choice | None:
    """Measures what the bundle offers and decides.

    Args:
        release: The release with any of its candidates.
        box: What box this is.
        clock: Dates the choice.
        launch: Starts a measuring process.

    Returns:
        The choice; None where there is nothing to choose between.

    Raises:
        DeviceError: No candidate runs on this box.
    """
    runtime = release.manifest.runtime.name
    variants = [each.variant for each in release.manifest.candidates]
    trials = plan_trials(runtime, variants, box.here.cores_allowed)
    if len(trials) == 1:
        return None
    key = choice_key(release, box)
    rows = measure_in_processes(release.directory, trials, launch)
    decision = decide(rows)
    return Choice(
        created=rfc3339(clock.utc_now()),
        key=key,
        variant=decision.row.variant,
        options=decision.row.options,
        reason=decision.reason,
        rows=rows,
    )


def choice_key(release: Release, box: Box) -> ChoiceKey:
    """Says what a choice for this release on this box holds for."""
    device = read_device(box.system, box.here, box.environment)
    runtime = release.manifest.runtime.name
    return ChoiceKey(
        release=release.id,
        runtime=runtime,
        runtime_version=find_version(runtime, box.import_path) or release.manifest.runtime.version,
        kernel=device.kernel,
        cpu_model=device.cpu_model,
        cores_allowed=device.cores_allowed,
    )


def read_choice(state: Path | None) -> tuple[Choice | None, str | None]:
    """Reads the choice that was kept.

    Args:
        state: The state folder, or None.

    Returns:
        The choice or None, and what is wrong with the file that lies there or None.
    """
    if state is None:
        return None, None
    try:
        with (state / _FILE).open("rb") as file:
            data = file.read(MAX_CHOICE_BYTES + 1)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"{_FILE} cannot be read: {error.strerror or error}"
    try:
        return parse_choice(data), None
    except BundleError as error:
        return None, f"{error.message.splitlines()[0]}; the choice is made anew by bench"


def keep_choice(state: Path | None, choice: Choice) -> str | None:
    """Writes a choice durably.

    Args:
        state: The state folder, made if needed; or None.
        choice: The choice.

    Returns:
        Why it could not be kept, or None.
    """
    if state is None:
        return "the choice is not kept: no state folder is known"
    try:
        state.mkdir(parents=True, exist_ok=True)
        write_durably(state / _FILE, choice.to_bytes())
    except OSError as error:
        return f"the choice is not kept: {error.strerror or error}"
    return None


def _is_possible(choice: Choice, release: Release) -> bool:
    variants = [each.variant for each in release.manifest.candidates]
    return choice.variant in variants and choice.options.threads <= (choice.key.cores_allowed or 1)


def _with_warning(settled: Settled, warning: str) -> Settled:
    return Settled(settled.release, settled.options, settled.reason, None, warning)
