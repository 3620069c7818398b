"""Takes hidden units and blocks out of a trained model: a smaller one of the same architecture.

Whole units and blocks go, so that every runtime is faster by it; single weights of zero would
make nothing faster. Imports Keras on use. Used by `edgepack.build.training`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from edgepack.build.data.sequences import Sequences
from edgepack.build.models.ranker import Architecture, Ranker, build_ranker
from edgepack.build.projects.project import Project
from edgepack.build.training.optimise.importance import Products, importance, most_important
from edgepack.build.training.optimise.joints import (
    Array,
    block_ends,
    cut_blocks,
    cut_units,
    joints,
    unit_sums,
)
from edgepack.build.training.steps import Batches, Trainer

#: Batches that importance is judged on: with 64 windows each some ten thousand events.
_JUDGED_BATCHES = 40
#: The hyper-parameter that is the number of hidden units.
_WIDTHS = {
    Architecture.SASREC: "wide",
    Architecture.GRU4REC: "state",
    Architecture.BILSTM: "units",
}


def pruned(project: Project, ranker: Ranker, sequences: Sequences) -> tuple[Project, Ranker]:
    """Makes a smaller model of a trained one.

    Args:
        project: What the model is, with `[optimise.prune]`.
        ranker: Trained; it is not changed.
        sequences: What it was trained on; importance is judged without the test's targets.

    Returns:
        The project with the smaller hyper-parameters, and the model, to be trained on.
    """
    settings = project.optimise.prune
    if settings is None:
        raise AssertionError(f"'{project.name}' asks for no pruning")
    trainer = Trainer(ranker, project, len(sequences.vocabulary))
    weights = trainer.named_weights()
    products = list(_products(trainer, weights, project, ranker, sequences))
    hyper_parameters = dict(project.hyper_parameters)
    blocks = int(hyper_parameters.get("blocks", 0))
    cuts = []
    for joint in joints(project.architecture, blocks):
        worth = importance(products, partial(unit_sums, joint))
        keep = max(1, round(settings.units * len(worth)))
        cuts.append((joint, most_important(worth, keep)))
        hyper_parameters[_WIDTHS[project.architecture]] = keep
    smaller = cut_units(weights, cuts)
    if settings.blocks is not None and settings.blocks < blocks:
        worth = importance(products, lambda each: _block_sums(each, blocks))
        smaller = cut_blocks(smaller, most_important(worth, settings.blocks).tolist())
        hyper_parameters["blocks"] = settings.blocks
    found = replace(project, hyper_parameters=hyper_parameters)
    return found, _built(found, sequences, smaller)


def _products(
    trainer: Trainer,
    weights: dict[str, Array],
    project: Project,
    ranker: Ranker,
    sequences: Sequences,
) -> Iterator[Products]:
    """Weight times gradient of each of some batches."""
    for number, (history, targets) in enumerate(Batches(ranker, sequences, project, 1).epoch()):
        if number == _JUDGED_BATCHES:
            return
        gradients = trainer.gradients(history, targets)
        yield {name: weights[name] * gradient for name, gradient in gradients.items()}


def _block_sums(products: Products, blocks: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(
        [sum(float(products[name].sum()) for name in names) for names in block_ends(blocks)]
    )


def _built(project: Project, sequences: Sequences, weights: dict[str, Array]) -> Ranker:
    hyper_parameters = dict(project.hyper_parameters)
    if "item_codes" in hyper_parameters:
        # Codes take the table's place only after this.
        hyper_parameters["item_codes"] = 0
    ranker = build_ranker(
        project.architecture,
        hyper_parameters,
        catalogue=len(sequences.vocabulary),
        sequence_length=project.sequence_length,
    )
    trained = Trainer(ranker, project, len(sequences.vocabulary))
    trained.restore([weights[name] for name in trained.named_weights()])
    ranker.finish()
    return ranker
