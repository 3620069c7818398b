"""Trains a project through the cache: `train(project, ...) -> TrainedModel`.

Not aware of variants or bundles. TensorFlow is imported only when there is something to train.
May be imported by `edgepack.build` and `edgepack.cli`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.build.artifacts import Progress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.data.baselines import markov_metrics, popularity_metrics
from edgepack.build.data.catalogue import ask_all
from edgepack.build.data.interactions import (
    DataSource,
    Interactions,
    file_sha256,
    load_interactions,
)
from edgepack.build.data.ranking import CUT, metrics_of_ranks
from edgepack.build.data.sequences import Sequences, batches, make_sequences
from edgepack.build.data.synthetic import SyntheticShop, generate_interactions
from edgepack.build.projects.project import Project
from edgepack.build.training.archive import rewrite_keras_archive, write_arrays
from edgepack.build.training.optimise.teacher import Teacher
from edgepack.build.training.quiet import import_tensorflow
from edgepack.build.training.record import (
    FORMAT,
    asked_histories,
    data_facts,
    make_samples,
    popular_items,
    project_facts,
    reference_distributions,
)
from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.errors import MissingExtraError
from edgepack.formats.vocabulary import Vocabulary

# Raise it when the same inputs would train to something else, or be written differently.
RECIPE_VERSION = 5
_KIND = "trained"


def train(
    project: Project,
    source: DataSource | None,
    cache: Cache,
    progress: Progress,
    *,
    teacher: Teacher | None = None,
) -> TrainedModel:
    """Trains a project, or finds it trained.

    Args:
        project: What to train and how.
        source: A log to learn from; None for what the project says.
        cache: Where trained models are kept; a training that is interrupted leaves nothing.
        progress: Told of each step.
        teacher: What `[optimise.distil]` names, trained on the same log.

    Raises:
        ConfigError: The data cannot be used.
        MissingExtraError: TensorFlow is not installed.
    """
    if (teacher is None) != (project.optimise.distil is None):
        raise AssertionError(f"'{project.name}' and its teacher belong together")
    data = source or project.data
    tools = {name: _installed(name) for name in ("tensorflow", "keras", "numpy")}
    key = {
        "recipe": RECIPE_VERSION,
        "project": project.training_key(),
        "data": {type(data).__name__: data.to_key()},
        "tools": tools,
        **({"teacher": teacher.model.sha256} if teacher else {}),
    }
    directory = cache.get_or_make(
        _KIND, key, lambda draft: _make(project, data, tools, draft, progress, teacher)
    )
    return load_trained(project, directory)


def load_trained(project: Project, directory: Path) -> TrainedModel:
    """Describes a directory that `train` filled.

    Args:
        project: The project it was trained from.
        directory: Holds model.keras, vocabulary.json, samples.npz and training.json.
    """
    vocabulary = Vocabulary.from_bytes((directory / "vocabulary.json").read_bytes())
    facts = parse_json((directory / "training.json").read_bytes(), what="training.json")
    model_path, samples_path = directory / "model.keras", directory / "samples.npz"
    return TrainedModel(
        name=project.name,
        version=project.version,
        kind="recommender",
        architecture=project.architecture.value,
        directory=directory,
        model_path=model_path,
        sha256=file_sha256(model_path),
        samples_path=samples_path,
        samples_sha256=file_sha256(samples_path),
        gate=project.gate,
        sequence_length=project.sequence_length,
        top_k=project.top_k,
        graph_top_k=min(project.top_k + project.sequence_length, len(vocabulary)),
        vocabulary=vocabulary,
        facts=facts,
    )


def load_sequences(data: DataSource | SyntheticShop) -> tuple[Interactions, Sequences]:
    """Reads or generates a log and groups it into sequences.

    Args:
        data: A log file, or the sample shop.

    Raises:
        ConfigError: The data cannot be used.
    """
    if isinstance(data, SyntheticShop):
        interactions = generate_interactions(data)
    else:
        interactions = load_interactions(data)
    return interactions, make_sequences(interactions)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingExtraError(package, "build", "training") from error


def _make(
    project: Project,
    data: DataSource | SyntheticShop,
    tools: Mapping[str, str],
    draft: Path,
    progress: Progress,
    teacher: Teacher | None,
) -> None:
    # First, because importing TensorFlow takes seconds and a log that cannot be used needs none.
    progress.start("Reading the log")
    try:
        interactions, sequences = load_sequences(data)
    finally:
        progress.finish("Reading the log")
    import_tensorflow()
    from edgepack.build.training.fit import FitResult, fit
    from edgepack.build.training.optimise.steps import OptimisedSteps
    from edgepack.build.training.optimise.teacher import load_teacher
    from edgepack.build.training.scoring import Scorer

    steps = OptimisedSteps(project, sequences, draft)
    result: FitResult = fit(
        project,
        sequences,
        progress,
        teacher=partial(load_teacher, teacher) if teacher else None,
        finished=steps.finished,
    )
    known = result.sequences
    _save_model(project, result.ranker.inference, draft)
    (draft / "vocabulary.json").write_bytes(known.vocabulary.to_bytes())
    write_arrays(draft / "samples.npz", make_samples(project, known))
    progress.start("Evaluating")
    try:
        metrics, reference = _evaluate(project, sequences, known, Scorer(result.ranker))
    finally:
        progress.finish("Evaluating")
    facts = {
        "format": FORMAT,
        "project": project_facts(project),
        "hyper_parameters": dict(result.hyper_parameters),
        "data": data_facts(interactions, sequences),
        "epochs": {"run": result.epochs_run, "best": result.best_epoch},
        "validation": result.validation.to_json(),
        "metrics": metrics,
        **steps.to_json(),
        "reference": reference,
        "popular": popular_items(known),
        "tools": dict(tools),
    }
    (draft / "training.json").write_bytes(canonical_json(facts))


def _evaluate(
    project: Project, sequences: Sequences, known: Sequences, scorer: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of model and baselines on every test target, and the score distributions.

    Args:
        project: Its sequence length and seed.
        sequences: With the whole catalogue: all are asked, whatever the model knows.
        known: With the items that the model knows.
        scorer: The model.
    """
    questions = ask_all(sequences, len(known.vocabulary), project.sequence_length)
    asked = asked_histories(project, known)
    cut = min(CUT, len(known.vocabulary))
    tops = [
        -np.sort(-scorer.scores(asked[rows])[:, 1:], axis=1)[:, :cut]
        for rows in batches(len(asked), 256)
    ]
    metrics = {
        "model": metrics_of_ranks(questions.ranks(scorer.ranks)).to_json(),
        "markov": markov_metrics(sequences).to_json(),
        "popularity": popularity_metrics(sequences).to_json(),
    }
    return metrics, reference_distributions(asked, np.concatenate(tops))


def _save_model(project: Project, model: Any, draft: Path) -> None:
    path = draft / "model.keras"
    model.save(path)
    rewrite_keras_archive(path)
    if project.training.h5:
        model.save(draft / "model.h5")
