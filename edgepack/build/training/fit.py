"""When to train on what: early stopping on validation NDCG@10, best weights, refit.

Not aware of projects' files, the cache or what is saved. TensorFlow is imported on use. May be
imported by `edgepack.build.training`.

First the model learns from everything but the last two events of each sequence, and the epoch
with the best validation NDCG@10 is kept. Then it learns for a few epochs, at a lower rate, from
everything but the last event, as the Markov baseline does: the event before the last is the
newest thing known about a session, and a shipped model should not be without it. The test
targets are never learnt from and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.build.artifacts import Progress
from edgepack.build.data.ranking import RankingMetrics
from edgepack.build.data.sequences import Sequences
from edgepack.build.models.ranker import Ranker, build_ranker
from edgepack.build.projects.project import Project
from edgepack.build.training.item_codes import ItemCodes, code_items
from edgepack.build.training.optimise.prune import pruned
from edgepack.build.training.scoring import Validation
from edgepack.build.training.steps import Batches, Trainer
from edgepack.formats.errors import ConfigError

# Share of the learning rate the refit starts with: it continues where a schedule has ended.
_REFIT_SHARE = 0.25
#: Passes with item codes in the place of the table.
_CODED_EPOCHS = 2
_TASK = "Training"


@dataclass(frozen=True, slots=True)
class FitResult:
    """A trained model and how it came about.

    Attributes:
        ranker: With the final weights.
        epochs_run: Passes over the data before the refit.
        best_epoch: The pass whose weights were kept, from 1.
        validation: Metrics of those weights on the validation targets, before the refit.
        hyper_parameters: Of the model as it is now; pruning makes widths smaller.
    """

    ranker: Ranker
    epochs_run: int
    best_epoch: int
    validation: RankingMetrics
    hyper_parameters: Mapping[str, int | float]


def make_deterministic(seed: int) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras, and asks for deterministic operations.

    It holds for the whole process. Names of layers start again from one as well, so that what
    was built before in the process does not show in a saved model.

    Args:
        seed: Any whole number from 0 to 2^32 - 1.
    """
    import keras
    import tensorflow as tf

    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _nothing(_step: str, _ranker: Ranker) -> None:
    """What is told of finished steps to nobody."""


def fit(
    project: Project,
    sequences: Sequences,
    progress: Progress,
    *,
    teacher: Ranker | None = None,
    finished: Callable[[str, Ranker], None] = _nothing,
) -> FitResult:
    """Trains a project's model, and makes it smaller as `[optimise]` says.

    Args:
        project: What to train and how.
        sequences: What to learn from.
        progress: Told of each step; the note has the loss and the validation NDCG@10.
        teacher: What `[optimise.distil]` names, trained on the same sequences.
        finished: Told the name of each of `Optimise`'s steps, `trained` first, and the model as
            it is then.

    Raises:
        ConfigError: The loss is no number any more: the learning rate is too high.
    """
    settings = project.training
    make_deterministic(settings.seed)
    codes = int(project.hyper_parameters.get("item_codes", 0))
    ranker = _build(project, sequences, item_codes=0)
    _start_from_popularity(ranker, sequences)
    steps = Batches(ranker, sequences, project, 2).steps()
    trainer = Trainer(ranker, project, len(sequences.vocabulary), teacher=teacher)
    prune, rounded = project.optimise.prune, project.optimise.rounded_epochs
    epochs = settings.epochs + settings.refit_epochs + (_CODED_EPOCHS if codes else 0)
    epochs += rounded + (prune.epochs if prune else 0)
    progress.start(_TASK, epochs * steps)
    try:
        best, epochs_run = _search(project, ranker, trainer, sequences, progress)
        _refit(project, ranker, trainer, sequences, progress)
        ranker.finish()
        finished("trained", ranker)
        if prune:
            project, ranker = pruned(project, ranker, sequences)
            trainer = Trainer(ranker, project, len(sequences.vocabulary), teacher=teacher)
            _train_on(project, ranker, trainer, sequences, progress, prune.epochs, "pruned")
            finished("pruned", ranker)
        if codes:
            ranker = _coded(project, ranker, sequences, progress)
            finished("item codes", ranker)
        if rounded:
            trainer = Trainer(
                ranker, project, len(sequences.vocabulary), teacher=teacher, rounded=True
            )
            _train_on(project, ranker, trainer, sequences, progress, rounded, "rounded")
            finished("rounded", ranker)
    finally:
        progress.finish(_TASK)
    ranker.finish()
    return FitResult(ranker, epochs_run, best.epoch, best.metrics, project.hyper_parameters)


@dataclass(frozen=True, slots=True)
class _Best:
    epoch: int
    metrics: RankingMetrics
    weights: list[NDArray[np.float32]]


def _search(
    project: Project, ranker: Ranker, trainer: Trainer, sequences: Sequences, progress: Progress
) -> tuple[_Best, int]:
    """Trains until validation gets no better; leaves the best weights in the model."""
    settings = project.training
    source = Batches(ranker, sequences, project, 2)
    trainer.plan(settings.learning_rate, settings.epochs * source.steps())
    validation = Validation(ranker, sequences, project)
    best = _Best(0, RankingMetrics(hr=0.0, ndcg=-1.0, mrr=0.0, questions=0), [])
    epoch = 0
    for epoch in range(1, settings.epochs + 1):
        loss = _one_epoch(trainer, source, progress)
        _check_loss(project, epoch, loss)
        metrics = validation.measure()
        if metrics.ndcg > best.metrics.ndcg:
            best = _Best(epoch, metrics, trainer.weights())
        note = f"epoch {epoch}/{settings.epochs}, loss {loss:.3f}"
        progress.advance(_TASK, 0, f"{note}, validation NDCG@10 {metrics.ndcg:.4f}")
        if epoch - best.epoch >= settings.patience:
            break
    trainer.restore(best.weights)
    return best, epoch


def _refit(
    project: Project, ranker: Ranker, trainer: Trainer, sequences: Sequences, progress: Progress
) -> None:
    epochs = project.training.refit_epochs
    _train_on(project, ranker, trainer, sequences, progress, epochs, "refit")


def _build(project: Project, sequences: Sequences, *, item_codes: int) -> Ranker:
    settings = dict(project.hyper_parameters)
    if "item_codes" in settings:
        settings["item_codes"] = item_codes
    return build_ranker(
        project.architecture,
        settings,
        catalogue=len(sequences.vocabulary),
        sequence_length=project.sequence_length,
    )


def _coded(project: Project, trained: Ranker, sequences: Sequences, progress: Progress) -> Ranker:
    """Puts codes in the place of the item table, and lets everything get used to them.

    Codes that are there from the start (of the sessions' factors, as RecJPQ has them) learn
    far more slowly, and a table that was trained freely shows which items belong together.
    """
    if trained.table is None or trained.bias is None:
        raise AssertionError("only a model with an item table has item codes")
    ranker = _build(project, sequences, item_codes=int(project.hyper_parameters["item_codes"]))
    table = np.asarray(trained.table.embeddings)
    bias = np.asarray(trained.bias.bias)
    found = code_items(
        table[1:], bias[1:], sequences.counts(1)[1:], int(project.hyper_parameters["item_codes"])
    )
    _take_over(ranker, trained, found)
    trainer = Trainer(ranker, project, len(sequences.vocabulary))
    _train_on(project, ranker, trainer, sequences, progress, _CODED_EPOCHS, "item codes")
    return ranker


def _train_on(
    project: Project,
    ranker: Ranker,
    trainer: Trainer,
    sequences: Sequences,
    progress: Progress,
    epochs: int,
    step: str,
) -> None:
    """Goes on from where a schedule has ended, the validation events included."""
    source = Batches(ranker, sequences, project, 1)
    trainer.plan(project.training.learning_rate * _REFIT_SHARE, max(1, epochs) * source.steps())
    for epoch in range(1, epochs + 1):
        loss = _one_epoch(trainer, source, progress)
        _check_loss(project, epoch, loss)
        progress.advance(_TASK, 0, f"{step} {epoch}/{epochs}, loss {loss:.3f}")
    ranker.finish()


def _take_over(ranker: Ranker, trained: Ranker, found: ItemCodes) -> None:
    """Gives a model with codes what one with a table has learnt; layers are found by name."""
    for own, other in ((ranker.hidden, trained.hidden), (ranker.inference, trained.inference)):
        if own is None or other is None:
            raise AssertionError("item codes are for models that learn at every position")
        for layer in own.layers:
            if layer.weights and layer is not ranker.table:
                layer.set_weights(other.get_layer(layer.name).get_weights())
    if ranker.table is not None:
        # Padding takes any parts: its vectors are silenced and its score is dropped.
        ranker.table.item_codes.assign(np.pad(found.codes, ((0, 0), (1, 0))))
        ranker.table.parts.assign(found.parts)
        ranker.table.part_scores.assign(found.part_scores)


def _check_loss(project: Project, epoch: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise ConfigError(
            f"training of '{project.name}' diverged: the loss of epoch {epoch} is {loss}",
            hint=f"lower learning_rate ({project.training.learning_rate:g}) in the model.toml",
        )


def _one_epoch(trainer: Trainer, source: Batches, progress: Progress) -> float:
    losses: list[Any] = []
    for history, targets in source.epoch():
        losses.append(trainer.step(history, targets))
        progress.advance(_TASK)
    return float(np.mean([float(loss) for loss in losses]))


def _start_from_popularity(ranker: Ranker, sequences: Sequences) -> None:
    """An untrained model then ranks by popularity, and need not learn that first."""
    if ranker.bias is not None:
        counts = sequences.counts(2) + 1.0
        # Padding is never right; its score is ignored, but it takes part in the softmax.
        counts[0] = 1e-3
        ranker.bias.bias.assign(np.log(counts / counts.sum()).astype(np.float32))
