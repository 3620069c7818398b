"""Opens what is served: the current release, and the one on trial where there is one.

It is not aware of HTTP. Used by `serve` and `reload`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from edgepack.formats.errors import BundleError, EdgepackError
from edgepack.formats.manifest import Manifest
from edgepack.runner.candidates import open_candidate
from edgepack.runner.choice.settling import Settled, settle_release, this_box
from edgepack.runner.daemon.around import Around
from edgepack.runner.engines import Engine
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.models import LiveModels
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.release import Release

#: The link beside `current` that names the release on trial.
_TRIAL = "trial"


def open_models(around: Around) -> LiveModels:
    """Opens everything that is to be served.

    Args:
        around: Where it lies and how it is opened.

    Returns:
        The models, proven on this box.

    Raises:
        BundleError: The current release is damaged.
        DeviceError: The runtime cannot load or run it.
        QualityError: Its golden answers do not come out here.
    """
    stable = open_release(around, settle(around, around.paths.release))
    return LiveModels(stable, open_trial(around, stable, []))


def open_trial(around: Around, stable: LiveModel, known: Sequence[LiveModel]) -> LiveModel | None:
    """Opens the release on trial; one that fails is told to the log and ends nothing.

    Args:
        around: How it is opened.
        stable: The release in service.
        known: Releases that are open already.

    Returns:
        The release, or None when there is none to be served.
    """
    directory = _trial_directory(around)
    if directory is None:
        return None
    try:
        settled = settle(around, directory)
        _check_trial(settled.release.manifest, stable.release.manifest)
        return open_as(settled, known) or open_release(around, settled)
    except EdgepackError as error:
        around.log.write("error", "trial refused", reason=error.message)
        return None


def open_as(settled: Settled, known: Sequence[LiveModel]) -> LiveModel | None:
    """Returns the open release that is just as this one would be opened, or None."""
    release = settled.release
    for live in known:
        engine = live.usable_engine
        if (
            engine is not None
            and engine.options == settled.options
            # A reload is how a GPU that failed is tried again.
            and engine.fallback is None
            and (live.release.id, live.variant) == (release.id, release.candidate.variant)
        ):
            return live
    return None


def _check_trial(trial: Manifest, stable: Manifest) -> None:
    if trial.model.name != stable.model.name:
        raise BundleError(
            f"the release on trial is the model '{trial.model.name}'; '{stable.model.name}' is "
            "served here",
            hint="one root serves one model; several models are several roots",
        )
    if trial.runtime != stable.runtime:
        ours, theirs = (f"{each.runtime.name} {each.runtime.version}" for each in (stable, trial))
        raise BundleError(f"the release on trial needs {theirs}; this process has {ours}")


def _trial_directory(around: Around) -> Path | None:
    """Returns the release on trial: the one that was named, else `ROOT/trial`; None without."""
    named = around.settings.serve.trial
    if named is not None:
        return named
    beside = around.paths.release.parent / _TRIAL
    return beside if beside.is_dir() else None


def settle(around: Around, directory: Path) -> Settled:
    """Loads a release and finds the candidate and the options to run.

    Raises:
        BundleError: The release is damaged or has no such candidate.
    """
    serve = around.settings.serve
    paths = dataclasses.replace(around.paths, release=directory)
    settled = settle_release(paths, this_box(), variant=serve.variant, threads=serve.threads)
    if settled.warning is not None:
        around.log.write("warning", "choice passed over", reason=settled.warning)
    return settled


def open_release(around: Around, settled: Settled) -> LiveModel:
    """Opens one release.

    Args:
        around: Clock and log.
        settled: The release, and how it is opened.

    Returns:
        The release, proven on this box.

    Raises:
        BundleError: The graph is not what the manifest says.
        DeviceError: The runtime cannot load or run it.
        QualityError: Its golden answers do not come out here.
        ConfigError: It does not take as many rows in one call as the settings say.
    """

    def tell(reason: str) -> None:
        around.log.write("warning", "the CPU computes, not the GPU", reason=reason)

    def open_settled(release: Release) -> Engine:
        return open_candidate(release, settled.options, around.paths.state, tell)

    return open_live_model(
        *(settled.release, open_settled, around.clock, around.log),
        batch_size=around.settings.serve.batch_size,
    )
