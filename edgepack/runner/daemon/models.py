"""Opens what is served: the current release, and the one on trial where there is one.

It is not aware of HTTP. Used by `serve` and `reload`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgepack.formats.errors import BundleError
from edgepack.runner.choice.settling import Settled, settle_release, this_box
from edgepack.runner.daemon.around import Around
from edgepack.runner.engines import Engine, open_engine
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
        BundleError: A release is damaged, or the one on trial is another model's.
        DeviceError: The runtime cannot load or run one.
        QualityError: Golden answers do not come out here.
    """
    models = LiveModels(open_release(around, around.paths.release))
    directory = trial_directory(around)
    if directory is not None:
        models.canary = open_release(around, directory, model=models.name)
    return models


def trial_directory(around: Around) -> Path | None:
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


def open_release(around: Around, directory: Path, *, model: str | None = None) -> LiveModel:
    """Opens one release.

    Args:
        around: How it is opened.
        directory: Where it lies.
        model: The name its model must have; any by default.

    Returns:
        The release, proven on this box.

    Raises:
        BundleError: The release is damaged, or another model's.
        DeviceError: The runtime cannot load or run it.
        QualityError: Its golden answers do not come out here.
    """
    settled = settle(around, directory)
    found = settled.release.manifest.model.name
    if model is not None and found != model:
        raise BundleError(
            f"{directory} is the model '{found}'; '{model}' is served here",
            hint="one root serves one model; several models are several roots",
        )

    def open_candidate(release: Release) -> Engine:
        name = release.manifest.runtime.name
        return open_engine(name, release.model_path, settled.options)

    return open_live_model(settled.release, open_candidate, around.clock, around.log)
