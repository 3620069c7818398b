"""Turns a shop's item ids into ranked item ids, whatever happens to the model.

It is not aware of HTTP, files or a particular runtime. Used by the server, the benchmark and
the replay of golden answers. Not safe to be called by two threads at once, as engines are not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.manifest import Manifest
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.vocabulary import Vocabulary
from edgepack.runner.clock import Clock
from edgepack.runner.engines.contract import Array, Engine
from edgepack.runner.release import Release

#: Popular items carry it: they are ranked by how often they were taken, not by the model.
POPULAR_SCORE = 0.0


class Fallback(StrEnum):
    """Why an answer is the popular items and not the model's."""

    EMPTY_HISTORY = "empty history"
    NO_KNOWN_ITEMS = "no known items in the history"
    NO_MODEL = "no model"
    ENGINE_FAILURE = "engine failure"
    DEADLINE = "deadline passed"


class Ranking(NamedTuple):
    """What the model said.

    Attributes:
        items: Item ids, best first.
        scores: All scores of the graph, descending; the items' own come first.
        unknown: How many items of the history are not in the vocabulary.
        compute_ns: Time inside the engine.
    """

    items: list[str]
    scores: list[float]
    unknown: int
    compute_ns: int


class Answer(NamedTuple):
    """A recommendation.

    Attributes:
        items: At most k item ids, best first.
        scores: Their scores, same length.
        unknown: How many items of the history are not in the vocabulary.
        fallback: Why these are popular items; None when the model ranked them.
        compute_ns: Time inside the engine; None when it did not run to its end, or ran for
            several histories at once.
        failure: What the engine said when it failed.
        ranked_scores: All scores of the model's ranking, seen items included, best first;
            empty when the model did not rank.
    """

    items: list[str]
    scores: list[float]
    unknown: int
    fallback: Fallback | None
    compute_ns: int | None
    failure: str | None = None
    ranked_scores: Sequence[float] = ()


class Recommender:
    """One release's model, vocabulary and popular items.

    Attributes:
        sequence_length: Items of history the model looks at, the most recent ones.
        top_k: The most items an answer may have.
    """

    def __init__(
        self, manifest: Manifest, vocabulary: Vocabulary, engine: Engine | None, clock: Clock
    ) -> None:
        model = manifest.model
        if model.sequence_length is None or model.top_k is None:
            raise BundleError(f"model '{model.name}' is a tensor model and recommends nothing")
        self.sequence_length = model.sequence_length
        self.top_k = model.top_k
        self._vocabulary = vocabulary
        self._popular = manifest.popular
        self._clock = clock
        self._engine = engine
        if engine is not None:
            self._scores_at, self._items_at = find_outputs(engine.outputs)
            _check_input(engine.inputs, self.sequence_length)

    def rank(self, history: Sequence[str], limit: int | None = None) -> Ranking:
        """Runs the model on a history and returns what it ranked.

        Args:
            history: Item ids, most recent last.
            limit: Items to name; all of the graph's by default.

        Returns:
            The best of the graph's own top-k, seen items included, and all its scores.

        Raises:
            DeviceError: There is no engine, it failed, or its answer makes no sense.
        """
        engine = self._engine
        if engine is None:
            raise DeviceError("there is no model to run")
        indices, unknown = self._vocabulary.encode(history, self.sequence_length)
        array = np.array([indices], dtype=np.int32)
        start_ns = self._clock.monotonic_ns()
        outputs = engine.run([array])
        compute_ns = self._clock.monotonic_ns() - start_ns
        return self.ranking(outputs, 0, unknown, compute_ns, limit)

    def encode(self, histories: Sequence[Sequence[str]]) -> tuple[Array, list[int]]:
        """Turns histories into the graph's input.

        Args:
            histories: Item ids, most recent last; at least one.

        Returns:
            int32[histories, sequence_length], and how many items of each are unknown.
        """
        encoded = [self._vocabulary.encode(each, self.sequence_length) for each in histories]
        indices = np.array([row for row, _ in encoded], dtype=np.int32)
        return indices, [unknown for _, unknown in encoded]

    def ranking(
        self,
        outputs: Sequence[Array],
        row: int,
        unknown: int,
        compute_ns: int,
        limit: int | None = None,
    ) -> Ranking:
        """Reads one row of what the engine gave.

        Args:
            outputs: The graph's outputs in file order.
            row: Which row.
            unknown: Items of its history that are not in the vocabulary.
            compute_ns: Time inside the engine.
            limit: As in `rank`.

        Raises:
            DeviceError: The answer makes no sense.
        """
        # All of them: a model that gives one NaN anywhere is not to be trusted with the rest.
        scores: list[float] = outputs[self._scores_at][row].tolist()
        found: list[int] = outputs[self._items_at][row, :limit].tolist()
        # One NaN or infinity makes the sum one, and JSON has neither.
        if not math.isfinite(sum(scores)):
            raise DeviceError("the model gave a score that is not a number")
        ids = self._vocabulary.items
        if not found or min(found) < 1 or max(found) > len(ids):
            raise DeviceError("the model ranked an item that is not in the vocabulary")
        return Ranking([ids[index - 1] for index in found], scores, unknown, compute_ns)

    def detach(self) -> None:
        """Forgets the engine; every answer is popular items from then on."""
        self._engine = None

    def recommend(self, history: Sequence[str], k: int, leave_out: Collection[str] = ()) -> Answer:
        """Answers a history; it never raises for what a shop or a model may do.

        Args:
            history: Item ids, most recent last; unknown ones are skipped and counted.
            k: How many items to return, 1 to `top_k`.
            leave_out: Item ids that are not to be in the answer. The graph ranks
                `sequence_length` items more than `top_k`, so fewer than k are left only when
                more of those are named here, or the catalogue is small.

        Returns:
            The model's ranking, or the popular items and why.
        """
        why = self.without_model(history)
        if why is not None:
            return self.popular(history, k, leave_out, why)
        try:
            # Each item that is left out takes at most one place of the ranking.
            ranking = self.rank(history, k + len(leave_out))
        except DeviceError as error:
            why = Fallback.ENGINE_FAILURE
            return self.popular(history, k, leave_out, why, error.message)
        return self._select(ranking, k, leave_out, ranking.compute_ns)

    def answer(
        self,
        outputs: Sequence[Array],
        row: int,
        unknown: int,
        history: Sequence[str],
        k: int,
        leave_out: Collection[str] = (),
    ) -> Answer:
        """Makes a history's answer out of its row of a call for several; it never raises.

        Args:
            outputs: The graph's outputs in file order.
            row: The history's row.
            unknown: From `encode`.
            history: As in `recommend`.
            k: As in `recommend`.
            leave_out: As in `recommend`.
        """
        try:
            ranking = self.ranking(outputs, row, unknown, 0, k + len(leave_out))
        except DeviceError as error:
            why = Fallback.ENGINE_FAILURE
            return self.popular(history, k, leave_out, why, error.message)
        return self._select(ranking, k, leave_out, None)

    def _select(
        self, ranking: Ranking, k: int, leave_out: Collection[str], compute_ns: int | None
    ) -> Answer:
        items, scores, unknown, _ = ranking
        if leave_out:
            kept = [i for i, item in enumerate(items) if item not in leave_out][:k]
            found, theirs = [items[i] for i in kept], [scores[i] for i in kept]
        else:
            found, theirs = items[:k], scores[:k]
        return Answer(found, theirs, unknown, None, compute_ns, None, scores)

    def without_model(self, history: Sequence[str]) -> Fallback | None:
        """Tells why a history's answer does not need the model; None when it does."""
        if not history:
            return Fallback.EMPTY_HISTORY
        if self._engine is None:
            return Fallback.NO_MODEL
        if not self._vocabulary.knows_any(history):
            return Fallback.NO_KNOWN_ITEMS
        return None

    def popular(
        self,
        history: Sequence[str],
        k: int,
        leave_out: Collection[str],
        why: Fallback,
        failure: str | None = None,
    ) -> Answer:
        """Returns the popular items as the answer to a history.

        Args:
            history: As in `recommend`.
            k: As in `recommend`.
            leave_out: As in `recommend`.
            why: Why it is not the model's answer.
            failure: What the engine said when it failed.
        """
        unknown = sum(self._vocabulary.index_of(item) is None for item in history)
        items = [item for item in self._popular if item not in leave_out][:k]
        return Answer(items, [POPULAR_SCORE] * len(items), unknown, why, None, failure)


def open_recommender(release: Release, engine: Engine | None, clock: Clock) -> Recommender:
    """Makes the recommender of a loaded release.

    Args:
        release: A recommender's release.
        engine: Its loaded model; None answers popular items only.
        clock: Times the engine.

    Returns:
        The recommender.

    Raises:
        BundleError: The release is a tensor model's, or the graph is not a recommender's.
    """
    if release.vocabulary is None:
        raise BundleError(f"model '{release.manifest.model.name}' has no vocabulary")
    return Recommender(release.manifest, release.vocabulary, engine, clock)


def find_outputs(outputs: Sequence[TensorSpec]) -> tuple[int, int]:
    """Tells a recommender graph's two outputs apart.

    TFLite's converter mangles names, so the element type decides: scores are floats, items
    are integers.

    Args:
        outputs: The graph's outputs in file order.

    Returns:
        The positions of the scores and of the items.

    Raises:
        BundleError: There are not exactly one of each.
    """
    floats = [i for i, spec in enumerate(outputs) if spec.dtype.startswith("float")]
    integers = [i for i, spec in enumerate(outputs) if spec.dtype.startswith("int")]
    if (len(floats), len(integers), len(outputs)) != (1, 1, 2):
        described = ", ".join(f"{spec.name} {spec.dtype}" for spec in outputs)
        raise BundleError(f"a recommender's graph returns scores and items; this one: {described}")
    return floats[0], integers[0]


def _check_input(inputs: Sequence[TensorSpec], sequence_length: int) -> None:
    if len(inputs) != 1 or inputs[0].dtype != "int32" or inputs[0].shape[1:] != (sequence_length,):
        described = ", ".join(f"{each.name} {each.dtype}{list(each.shape)}" for each in inputs)
        raise BundleError(
            f"a recommender's graph takes int32[1, {sequence_length}]; this one: {described}"
        )
