"""What every architecture hands to training, and the table of architectures.

Not aware of data or training. May be imported by `edgepack.build`; Keras is imported on use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Architecture(StrEnum):
    """The shipped architectures, by their name in model.toml."""

    SASREC = "sasrec"
    GRU4REC = "gru4rec"
    BILSTM = "bilstm"


# Each architecture's hyper-parameters with their defaults; their types are the rule. A width of 0
# follows from the others.
HYPER_PARAMETERS: Mapping[Architecture, Mapping[str, int | float]] = {
    Architecture.SASREC: {"units": 64, "blocks": 2, "wide": 0, "dropout": 0.1, "item_codes": 0},
    Architecture.GRU4REC: {"units": 64, "state": 0, "dropout": 0.1, "item_codes": 0},
    Architecture.BILSTM: {"embedding": 64, "units": 64, "dropout": 0.1},
}


@dataclass(frozen=True, slots=True)
class Ranker:
    """One set of weights, seen by training and by whoever ships it.

    Attributes:
        inference: keras.Model, `history` int32[b, L] left-padded with 0 to scores
            float32[b, catalogue + 1] for what comes next. Column 0 is padding, to be ignored.
        hidden: keras.Model to float32[b, L, units], the state after each position from which
            the next item is scored; None when only the last position can be asked, because
            earlier ones have seen what comes later.
        table: The layer that holds the item table, float32[catalogue + 1, units], and scores
            with its transpose; None where `hidden` is.
        bias: The layer that adds one learnt number an item; None where `hidden` is, and where
            `table` is a `CodedItems`, which does so itself.
        normalised: The scores of `inference` are probabilities already.
        copies: Pairs (trained layer, layer of `inference`) whose weights are not shared.
    """

    inference: Any
    hidden: Any | None
    table: Any | None
    bias: Any | None
    normalised: bool = False
    copies: tuple[tuple[Any, Any], ...] = ()

    def look_up(self, items: Any) -> tuple[Any, Any]:
        """What a sample of the catalogue is scored with; `hidden` is not None.

        Args:
            items: int32[n].

        Returns:
            float32[n, units] vectors and float32[n], what is added to their scores.
        """
        import tensorflow as tf

        if self.table is None:
            raise AssertionError("a model without an item table is not scored by sample")
        if self.bias is None:
            found: tuple[Any, Any] = self.table.look_up(items)
            return found
        return self.table(items), tf.gather(tf.convert_to_tensor(self.bias.bias), items)

    def score_all(self, hidden: Any) -> Any:
        """Scores of the whole catalogue in training; `hidden` is not None.

        Args:
            hidden: float32[n, units].

        Returns:
            float32[n, catalogue + 1].
        """
        if self.table is None:
            raise AssertionError("a model without an item table scores by itself")
        if self.bias is None:
            return self.table.score_all(hidden)
        return self.bias(self.table(hidden, reverse=True))

    def adopt(self, weights: Sequence[Any]) -> None:
        """Takes the weights of a saved `inference`, for training on or for being asked.

        Args:
            weights: What `get_weights` of the saved model gives.
        """
        self.inference.set_weights(list(weights))
        for trained, shipped in self.copies:
            trained.set_weights(shipped.get_weights())

    def finish(self) -> Any:
        """Brings `inference` up to date with what was trained, and returns it."""
        for trained, shipped in self.copies:
            shipped.set_weights(trained.get_weights())
        return self.inference


def build_ranker(
    architecture: Architecture,
    hyper_parameters: Mapping[str, int | float],
    *,
    catalogue: int,
    sequence_length: int,
) -> Ranker:
    """Builds an untrained model. Seed Keras before, for the same weights each time.

    Args:
        architecture: Which one.
        hyper_parameters: All of `HYPER_PARAMETERS[architecture]`.
        catalogue: Number of items, without padding.
        sequence_length: Items in a history, L.
    """
    builder = _builder(architecture)
    return builder(catalogue, sequence_length, **hyper_parameters)


def _builder(architecture: Architecture) -> Callable[..., Ranker]:
    if architecture is Architecture.SASREC:
        from edgepack.build.models.sasrec import build_sasrec

        return build_sasrec
    if architecture is Architecture.GRU4REC:
        from edgepack.build.models.gru4rec import build_gru4rec

        return build_gru4rec
    from edgepack.build.models.bilstm import build_bilstm

    return build_bilstm
