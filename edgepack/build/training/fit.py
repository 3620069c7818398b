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
from edgepack.build.data.catalogue import keep_popular, popular_enough
from edgepack.build.data.ranking import RankingMetrics
from edgepack.build.data.sequences import Sequences
from edgepack.build.models.ranker import Ranker, build_ranker
from edgepack.build.projects.project import Project
from edgepack.build.training.item_codes import ItemCodes, code_items
from edgepack.build.training.optimise.catalogue import keep_items
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
        sequences: What it knows now; a catalogue that was cut has fewer items.
    """

    ranker: Ranker
    epochs_run: int
    best_epoch: int
    validation: RankingMetrics
    hyper_parameters: Mapping[str, int | float]
    sequences: Sequences


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


def _nothing(_step: str, _ranker: Ranker, _catalogue: int) -> None:
    """What is told of finished steps to nobody."""


def fit(
    project: Project,
    sequences: Sequences,
    progress: Progress,
    *,
    teacher: Callable[[int], Ranker] | None = None,
    finished: Callable[[str, Ranker, int], None] = _nothing,
) -> FitResult:
    """Trains a project's model, and makes it smaller as `[optimise]` says.

    Args:
        project: What to train and how.
        sequences: What to learn from.
        progress: Told of each step; the note has the loss and the validation NDCG@10.
        teacher: Loads what `[optimise.distil]` names, trained on the same sequences, with the
            first so many items.
        finished: Told the name of each step, `trained` first, the model as it is then, and how
            many items it knows.

    Raises:
        ConfigError: The loss is no number any more: the learning rate is too high.
    """
    make_deterministic(project.training.seed)
    ranker = _build(project, sequences, item_codes=0)
    _start_from_popularity(ranker, sequences)
    tutor = teacher(len(sequences.vocabulary)) if teacher else None
    work = _Work(project, ranker, sequences, progress, tutor, teacher)
    progress.start(_TASK, _all_epochs(project) * Batches(ranker, sequences, project, 2).steps())
    try:
        best, epochs_run = _search(work)
        for step, change in _changes(project):
            change(work)
            finished(step, work.ranker, len(work.sequences.vocabulary))
    finally:
        progress.finish(_TASK)
    return FitResult(
        ranker=work.ranker,
        epochs_run=epochs_run,
        best_epoch=best.epoch,
        validation=best.metrics,
        hyper_parameters=work.project.hyper_parameters,
        sequences=work.sequences,
    )


@dataclass(slots=True)
class _Work:
    """A model on its way, which every step may put another in the place of."""

    project: Project
    ranker: Ranker
    sequences: Sequences
    progress: Progress
    teacher: Ranker | None
    load_teacher: Callable[[int], Ranker] | None

    def trainer(self, *, rounded: bool = False) -> Trainer:
        """One that has taken no step yet."""
        return Trainer(
            self.ranker,
            self.project,
            len(self.sequences.vocabulary),
            teacher=self.teacher,
            rounded=rounded,
        )

    def train_on(self, trainer: Trainer, epochs: int, step: str) -> None:
        """Goes on from where a schedule has ended, the validation events included."""
        source = Batches(self.ranker, self.sequences, self.project, 1)
        rate = self.project.training.learning_rate * _REFIT_SHARE
        trainer.plan(rate, max(1, epochs) * source.steps())
        for epoch in range(1, epochs + 1):
            loss = self.one_epoch(trainer, source, epoch)
            self.progress.advance(_TASK, 0, f"{step} {epoch}/{epochs}, loss {loss:.3f}")
        self.ranker.finish()

    def one_epoch(self, trainer: Trainer, source: Batches, epoch: int) -> float:
        """One pass; returns the mean loss."""
        losses: list[Any] = []
        for history, targets in source.epoch():
            losses.append(trainer.step(history, targets))
            self.progress.advance(_TASK)
        loss = float(np.mean([float(loss) for loss in losses]))
        if not math.isfinite(loss):
            rate = self.project.training.learning_rate
            raise ConfigError(
                f"training of '{self.project.name}' diverged: the loss of epoch {epoch} is {loss}",
                hint=f"lower learning_rate ({rate:g}) in the model.toml",
            )
        return loss


@dataclass(frozen=True, slots=True)
class _Best:
    epoch: int
    metrics: RankingMetrics
    weights: list[NDArray[np.float32]]


def _search(work: _Work) -> tuple[_Best, int]:
    """Trains until validation gets no better, then refits the best weights."""
    project, settings = work.project, work.project.training
    source = Batches(work.ranker, work.sequences, project, 2)
    trainer = work.trainer()
    trainer.plan(settings.learning_rate, settings.epochs * source.steps())
    validation = Validation(work.ranker, work.sequences, project)
    best = _Best(0, RankingMetrics(hr=0.0, ndcg=-1.0, mrr=0.0, questions=0), [])
    epoch = 0
    for epoch in range(1, settings.epochs + 1):
        loss = work.one_epoch(trainer, source, epoch)
        metrics = validation.measure()
        if metrics.ndcg > best.metrics.ndcg:
            best = _Best(epoch, metrics, trainer.weights())
        note = f"epoch {epoch}/{settings.epochs}, loss {loss:.3f}"
        work.progress.advance(_TASK, 0, f"{note}, validation NDCG@10 {metrics.ndcg:.4f}")
        if epoch - best.epoch >= settings.patience:
            break
    trainer.restore(best.weights)
    work.train_on(trainer, settings.refit_epochs, "refit")
    return best, epoch


def _changes(project: Project) -> list[tuple[str, Callable[[_Work], None]]]:
    """What is done to the model once it has learnt, in this order."""
    optimise = project.optimise
    return [
        ("trained", lambda _: None),
        *([("catalogue", _cut_catalogue)] if optimise.catalogue else []),
        *([("pruned", _prune)] if optimise.prune else []),
        *([("item codes", _code)] if project.hyper_parameters.get("item_codes") else []),
        *([("rounded", _round)] if optimise.rounded_epochs else []),
    ]


def _all_epochs(project: Project) -> int:
    settings, optimise = project.training, project.optimise
    return (
        settings.epochs
        + settings.refit_epochs
        + (optimise.catalogue.epochs if optimise.catalogue else 0)
        + (optimise.prune.epochs if optimise.prune else 0)
        + (_CODED_EPOCHS if project.hyper_parameters.get("item_codes") else 0)
        + optimise.rounded_epochs
    )


def _cut_catalogue(work: _Work) -> None:
    settings = work.project.optimise.catalogue
    if settings is None:
        raise AssertionError(f"'{work.project.name}' asks for its whole catalogue")
    count = popular_enough(work.sequences, settings.events)
    work.sequences = keep_popular(work.sequences, count)
    work.ranker = keep_items(work.ranker, _build(work.project, work.sequences, item_codes=0))
    if work.load_teacher is not None:
        work.teacher = work.load_teacher(count)
    work.train_on(work.trainer(), settings.epochs, "catalogue")


def _prune(work: _Work) -> None:
    settings = work.project.optimise.prune
    if settings is None:
        raise AssertionError(f"'{work.project.name}' asks for no pruning")
    work.project, work.ranker = pruned(work.project, work.ranker, work.sequences)
    work.train_on(work.trainer(), settings.epochs, "pruned")


def _round(work: _Work) -> None:
    work.train_on(work.trainer(rounded=True), work.project.optimise.rounded_epochs, "rounded")


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


def _code(work: _Work) -> None:
    """Puts codes in the place of the item table, and lets everything get used to them.

    Codes that are there from the start (of the sessions' factors, as RecJPQ has them) learn
    far more slowly, and a table that was trained freely shows which items belong together.
    """
    trained, sequences = work.ranker, work.sequences
    if trained.table is None or trained.bias is None:
        raise AssertionError("only a model with an item table has item codes")
    codes = int(work.project.hyper_parameters["item_codes"])
    ranker = _build(work.project, sequences, item_codes=codes)
    table = np.asarray(trained.table.embeddings)
    bias = np.asarray(trained.bias.bias)
    found = code_items(table[1:], bias[1:], sequences.counts(1)[1:], codes)
    _take_over(ranker, trained, found)
    work.ranker = ranker
    work.train_on(work.trainer(), _CODED_EPOCHS, "item codes")


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


def _start_from_popularity(ranker: Ranker, sequences: Sequences) -> None:
    """An untrained model then ranks by popularity, and need not learn that first."""
    if ranker.bias is not None:
        counts = sequences.counts(2) + 1.0
        # Padding is never right; its score is ignored, but it takes part in the softmax.
        counts[0] = 1e-3
        ranker.bias.bias.assign(np.log(counts / counts.sum()).astype(np.float32))
