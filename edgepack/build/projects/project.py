"""What a model project says.

Not aware of TOML. May be imported by `edgepack.build` and `edgepack.cli`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from edgepack.build.artifacts import Gate
from edgepack.build.data.interactions import DataSource
from edgepack.build.data.synthetic import SyntheticShop
from edgepack.build.models.ranker import Architecture
from edgepack.build.projects.optimise import NOTHING, Optimise


class Loss(StrEnum):
    """How the right item is compared with the others."""

    SOFTMAX = "softmax"
    SAMPLED_SOFTMAX = "sampled-softmax"
    AUTO = "auto"


class Optimizer(StrEnum):
    """How the weights are moved."""

    ADAM = "adam"


class Schedule(StrEnum):
    """How the learning rate changes over the epochs."""

    CONSTANT = "constant"
    COSINE = "cosine"


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a project is trained.

    Attributes:
        optimizer: Only Adam so far.
        epochs: The most passes over the data.
        refit_epochs: Passes afterwards, at a lower rate, with the validation events included.
        patience: Passes without a better validation NDCG@10 after which training ends.
        batch_size: Windows, or prefixes for a bidirectional model, in a step.
        learning_rate: At the start.
        schedule: What becomes of the learning rate.
        loss: `auto` is the full softmax up to `sampled_above` items, and a sample beyond.
        sampled_above: Largest catalogue that `auto` scores in full.
        label_smoothing: Share of the target's mass spread over the catalogue, 0..1.
        seed: Of the weights, the order and the windows.
        h5: Also save the model in Keras' older format, `model.h5`.
    """

    optimizer: Optimizer = Optimizer.ADAM
    epochs: int = 8
    refit_epochs: int = 2
    patience: int = 3
    batch_size: int = 64
    learning_rate: float = 0.007
    schedule: Schedule = Schedule.COSINE
    loss: Loss = Loss.AUTO
    sampled_above: int = 20_000
    label_smoothing: float = 0.0
    seed: int = 20_260
    h5: bool = False

    def samples_classes(self, catalogue: int) -> bool:
        """Whether a catalogue of this size is scored by sample.

        Args:
            catalogue: Number of items.
        """
        if self.loss is Loss.AUTO:
            return catalogue > self.sampled_above
        return self.loss is Loss.SAMPLED_SOFTMAX


@dataclass(frozen=True, slots=True)
class Project:
    """A recommender that can be trained.

    Attributes:
        name: Also the folder's usual name; becomes part of file names.
        version: Becomes part of file names.
        directory: Where model.toml lies; a relative data path starts there.
        architecture: Which model.
        hyper_parameters: All of the architecture's.
        sequence_length: Items in a history, L.
        top_k: The most items a recommendation may ask for.
        data: A log file, or the sample shop.
        training: How it is trained.
        calibration_samples: Histories kept for calibrating int8 variants.
        gate: What a variant must keep of the fp32 model's quality.
        optimise: What is done to make the model smaller or faster.
        recipe: The recipe that is followed; None for none.
        recipes: What each of the project's recipes is for, by name.
    """

    name: str
    version: str
    directory: Path
    architecture: Architecture
    hyper_parameters: Mapping[str, int | float]
    sequence_length: int
    top_k: int
    data: DataSource | SyntheticShop
    training: TrainingSettings
    calibration_samples: int
    gate: Gate
    optimise: Optimise = NOTHING
    recipe: str | None = None
    recipes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def training_key(self) -> dict[str, Any]:
        """All that decides what training gives, data apart: a cache key's part.

        Name, version, top_k, gate and the recipe's name are not in it: changing them trains
        nothing anew.
        """
        return {
            "architecture": self.architecture.value,
            "hyper_parameters": dict(self.hyper_parameters),
            "sequence_length": self.sequence_length,
            "calibration_samples": self.calibration_samples,
            "training": dataclasses.asdict(self.training),
            **self.optimise.to_key(),
        }
