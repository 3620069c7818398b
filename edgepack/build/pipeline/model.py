"""Finds or makes the model of a build: a project to train, or a file the user has.

It is not aware of targets. Used by `build`, and by `edgepack train` and `edgepack convert`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgepack.build.artifacts import Progress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.load import load_user_model, looks_like_model, user_model_name
from edgepack.build.pipeline.request import ModelRequest
from edgepack.build.projects import Project, load_project
from edgepack.build.training.optimise.teacher import Teacher, check_teaching
from edgepack.build.training.train import train
from edgepack.formats.errors import ConfigError


def model_name(request: ModelRequest) -> str:
    """Returns the name that a build's model will have, without loading or training it.

    Raises:
        ConfigError: There is no such project.
    """
    path = Path(request.model)
    if looks_like_model(path):
        return user_model_name(path)
    return load_project(request.model, request.search).name


def obtain_model(request: ModelRequest, cache: Cache, progress: Progress) -> TrainedModel:
    """Loads the model a build starts from, training it first where it is a project.

    Args:
        request: Which model, from what.
        cache: Where trained models are kept.
        progress: Told of each step.

    Returns:
        The model.

    Raises:
        ConfigError: There is no such project or file, its data cannot be used, or an option
            does not fit it.
        ConversionError: The file is not a model.
        MissingExtraError: Something that reads it is not installed.
    """
    path = Path(request.model)
    if looks_like_model(path):
        unfit = "--data" if request.source is not None else "--recipe" if request.recipe else None
        if unfit is not None:
            raise ConfigError(
                f"{path} is a finished model and is not trained, but {unfit} was given",
                hint=f"leave {unfit} out, or name a model project with --model",
            )
        return load_user_model(path, request.samples, cache, request.gate)
    if request.samples is not None:
        raise ConfigError(
            f"'{request.model}' is a model project, which has its own test data; --samples "
            "belongs to a model file",
            hint="leave --samples out, or give --model a .keras, .h5 or .onnx file",
        )
    project = load_project(request.model, request.search, request.recipe)
    teacher = _teacher(project, request, cache, progress)
    return train(project, request.source, cache, progress, teacher=teacher)


def _teacher(
    project: Project, request: ModelRequest, cache: Cache, progress: Progress
) -> Teacher | None:
    """Trains the model that a project learns from, on the log that it learns from."""
    if project.optimise.distil is None:
        return None
    found = load_project(project.optimise.distil.teacher, request.search)
    check_teaching(project, found)
    trained = train(replace(found, data=project.data), request.source, cache, progress)
    return Teacher(found, trained)
