"""One pass over the examples: shuffled batches, and an optimiser step for each.

Not aware of when training ends. TensorFlow is imported on use. May be imported by
`edgepack.build.training`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.build.data.sequences import Sequences, batches
from edgepack.build.models.ranker import Ranker
from edgepack.build.projects.project import Project, Schedule
from edgepack.build.training.examples import IntArray, prefixes, windows
from edgepack.build.training.loss import (
    SAMPLED_CLASSES,
    distillation_loss,
    full_softmax_loss,
    sample_classes,
    sampled_logits,
    sampled_softmax_loss,
)

# Forgets old gradients faster than Keras' 0.999. Source: SASRec's own training, arXiv:1808.09781.
_BETA_2 = 0.98
# The cosine schedule ends at this share of the learning rate.
_LAST_SHARE = 0.02
_INT8_MOST = 127


class Batches:
    """Shuffled batches, all of one shape so that one graph serves them all."""

    def __init__(
        self, ranker: Ranker, sequences: Sequences, project: Project, held_out: int
    ) -> None:
        """Cuts the examples.

        Args:
            ranker: Whether it learns at every position decides what an example is.
            sequences: All sequences.
            project: Its sequence length, batch size and seed.
            held_out: Events at the end of each sequence that may not be learnt from.
        """
        self._sequences = sequences
        self._held_out = held_out
        self._length = project.sequence_length
        self._batch = project.training.batch_size
        self._random = np.random.default_rng((project.training.seed, held_out))
        every_position = ranker.hidden is not None
        self._fixed = None if every_position else prefixes(sequences, held_out, self._length)

    def epoch(self) -> Iterator[tuple[IntArray, IntArray]]:
        """One pass: int32[batch, L] histories and int32[batch, L or 1] targets, 0 for none."""
        history, targets = self._fixed or windows(
            self._sequences, self._held_out, self._length, self._random
        )
        order = self._random.permutation(len(history))
        # Rows of padding fill the last batch; they have no target, so nothing is learnt there.
        short = -len(order) % self._batch
        history = np.pad(history[order], ((0, short), (0, 0)))
        targets = np.pad(targets[order], ((0, short), (0, 0)))
        for rows in batches(len(history), self._batch):
            yield history[rows], targets[rows]

    def steps(self) -> int:
        """About how many batches a pass has; where windows fall differs between passes."""
        history, _ = self._fixed or windows(
            self._sequences, self._held_out, self._length, np.random.default_rng(0)
        )
        return max(1, -(-len(history) // self._batch))


def scheduled_rate(schedule: Schedule, start: float, done: float) -> float:
    """The learning rate of a step.

    Args:
        schedule: Its course.
        start: The rate of the first step.
        done: Share of the planned steps already taken; more than 1 is as 1.

    Source: cosine annealing, Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.
    """
    if schedule is Schedule.CONSTANT:
        return start
    share = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return start * (_LAST_SHARE + (1.0 - _LAST_SHARE) * share)


class Trainer:
    """Moves a model's weights, one batch at a time."""

    def __init__(
        self,
        ranker: Ranker,
        project: Project,
        catalogue: int,
        *,
        teacher: Ranker | None = None,
        rounded: bool = False,
    ) -> None:
        """Prepares an optimiser; `plan` comes before the first step.

        Args:
            ranker: What to train, in place.
            project: Its training settings.
            catalogue: Number of items.
            teacher: What it also learns from, as `[optimise.distil]` says; never changed. Both
                learn at every position and know the same items.
            rounded: Matrices are read rounded to 8 bits, and their gradients are taken as those
                of the numbers that were rounded.
        """
        import keras

        settings = project.training
        self._ranker = ranker
        self._teacher = teacher
        self._distil = project.optimise.distil
        self._rounded = rounded
        self._catalogue = catalogue
        self._smoothing = settings.label_smoothing
        self._random = np.random.default_rng((settings.seed, 2))
        self._sampled = settings.samples_classes(catalogue) and ranker.hidden is not None
        self._schedule = settings.schedule
        self._planned, self._taken, self._rate = 1, 0, settings.learning_rate
        model = ranker.hidden if ranker.hidden is not None else ranker.inference
        self._variables = list(model.trainable_variables)
        if ranker.bias is not None:
            self._variables.append(ranker.bias.bias)
        self._optimizer = keras.optimizers.Adam(settings.learning_rate, beta_2=_BETA_2)
        self._optimizer.build(self._variables)
        self._graph = self._compile()

    def plan(self, learning_rate: float, steps: int) -> None:
        """Begins a schedule; the optimiser's memory of gradients is kept.

        Args:
            learning_rate: At the start.
            steps: How many steps are planned.
        """
        self._rate, self._planned, self._taken = learning_rate, steps, 0

    def step(self, history: IntArray, targets: IntArray) -> Any:
        """Learns from one batch.

        Args:
            history: int32[batch, L].
            targets: int32[batch, L], or int32[batch, 1] for a bidirectional model.

        Returns:
            The mean loss, a float32 tensor.
        """
        drawn = np.zeros(1, dtype=np.int32)
        if self._sampled:
            drawn = sample_classes(self._catalogue, SAMPLED_CLASSES, self._random)
        self._optimizer.learning_rate.assign(
            scheduled_rate(self._schedule, self._rate, self._taken / self._planned)
        )
        self._taken += 1
        return self._graph(history, targets, drawn)

    def gradients(self, history: IntArray, targets: IntArray) -> dict[str, NDArray[np.float32]]:
        """The gradient of one batch's mean loss; nothing is learnt from it.

        Args:
            history: int32[batch, L].
            targets: As `step` takes them.

        Returns:
            An array of the weight's shape for each weight, by Keras' path of it.
        """
        import tensorflow as tf

        drawn = np.zeros(1, dtype=np.int32)
        if self._sampled:
            drawn = sample_classes(self._catalogue, SAMPLED_CLASSES, self._random)
        with tf.GradientTape() as tape:
            loss = self._loss(history, targets, drawn)
        found = tape.gradient(loss, self._variables)
        return {
            variable.path: np.asarray(tf.convert_to_tensor(gradient))
            for variable, gradient in zip(self._variables, found, strict=True)
        }

    def named_weights(self) -> dict[str, NDArray[np.float32]]:
        """A copy of the weights, by Keras' path of each."""
        return {variable.path: np.array(variable.numpy()) for variable in self._variables}

    def weights(self) -> list[NDArray[np.float32]]:
        """A copy of the weights."""
        return [np.array(variable.numpy()) for variable in self._variables]

    def restore(self, weights: list[NDArray[np.float32]]) -> None:
        """Takes weights back.

        Args:
            weights: What `weights` gave.
        """
        for variable, value in zip(self._variables, weights, strict=True):
            variable.assign(value)

    def _compile(self) -> Callable[..., Any]:
        import tensorflow as tf

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def step(history: Any, targets: Any, drawn: Any) -> Any:
            kept = round_in_place(self._variables) if self._rounded else {}
            with tf.GradientTape() as tape:
                loss = self._loss(history, targets, drawn)
            gradients = tape.gradient(loss, self._variables)
            for place, value in kept.items():
                self._variables[place].assign(value)
            self._optimizer.apply_gradients(zip(gradients, self._variables, strict=True))
            return loss

        return step  # type: ignore[no-any-return]

    def _loss(self, history: Any, targets: Any, drawn: Any) -> Any:
        import tensorflow as tf

        # Positions with something to learn are picked out first: on short sessions that
        # spares the larger half of the product with the item table.
        asked = tf.where(targets > 0)
        answers = tf.gather_nd(targets, asked)
        ranker = self._ranker
        if ranker.hidden is None:
            scores = ranker.inference(history, training=True)
            return _class_loss(tf.gather(scores, asked[:, 0]), answers)
        logits = self._logits(ranker, history, asked, answers, drawn, training=True)
        if self._sampled:
            loss = sampled_softmax_loss(logits)
        else:
            loss = full_softmax_loss(logits, answers, self._smoothing)
        if self._teacher is not None and self._distil is not None:
            aimed = self._logits(self._teacher, history, asked, answers, drawn, training=False)
            away = distillation_loss(logits, aimed, self._distil.temperature)
            loss = (1.0 - self._distil.weight) * loss + self._distil.weight * away
        return tf.reduce_mean(loss)

    def _logits(
        self, ranker: Ranker, history: Any, asked: Any, answers: Any, drawn: Any, *, training: bool
    ) -> Any:
        """Scores at the positions that are asked, of all items or of those that were drawn."""
        import tensorflow as tf

        if ranker.hidden is None:
            raise AssertionError(
                "only a model that learns at every position is asked for its state"
            )
        hidden = tf.gather_nd(ranker.hidden(history, training=training), asked)
        if self._sampled:
            return sampled_logits(hidden, answers, drawn, ranker.look_up, self._catalogue)
        return ranker.score_all(hidden)


def round_in_place(variables: Sequence[Any]) -> dict[int, Any]:
    """Rounds every matrix to 8 bits, as converting it does.

    Args:
        variables: Keras variables; those of fewer than two axes stay as they are.

    Returns:
        What the rounded ones held before, by place.

    Source: the LiteRT 8-bit quantisation specification: weights are symmetric, -127 to 127.
    """
    import tensorflow as tf

    kept = {}
    for place, variable in enumerate(variables):
        if len(variable.shape) > 1:
            value = kept[place] = tf.identity(variable.value)
            step = tf.maximum(tf.reduce_max(tf.abs(value)), 1e-12) / _INT8_MOST
            variable.assign(tf.round(value / step) * step)
    return kept


def _class_loss(probabilities: Any, answers: Any) -> Any:
    import keras

    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(answers, probabilities))
