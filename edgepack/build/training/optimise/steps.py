"""What each step of `[optimise]` left of a model: its quality, its size, and the model itself.

Imports Keras through what it is given. Used by `edgepack.build.training`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from edgepack.build.data.catalogue import ask_all
from edgepack.build.data.ranking import metrics_of_ranks
from edgepack.build.data.sequences import Sequences
from edgepack.build.models.ranker import Ranker
from edgepack.build.projects.optimise import NOTHING
from edgepack.build.projects.project import Project
from edgepack.build.training.archive import rewrite_keras_archive
from edgepack.build.training.scoring import Scorer

#: Where the models of the steps before the last lie, beside the finished one.
FOLDER: Final = "steps"


class OptimisedSteps:
    """Measures a model after every step and keeps it, where a project has steps at all."""

    def __init__(self, project: Project, sequences: Sequences, draft: Path) -> None:
        """Starts with none.

        Args:
            project: Whose steps.
            sequences: Their test targets are ranked.
            draft: The folder of the model that is being made.
        """
        self._wanted = project.optimise != NOTHING
        self._length = project.sequence_length
        self._sequences = sequences
        self._folder = draft / FOLDER
        self._found: list[dict[str, Any]] = []

    def finished(self, step: str, ranker: Ranker, items: int) -> None:
        """Measures and keeps a model.

        Args:
            step: What was done to it last.
            ranker: The model.
            items: How many it knows, the most popular ones.
        """
        if not self._wanted:
            return
        ranker.finish()
        ranks = ask_all(self._sequences, items, self._length).ranks(Scorer(ranker).ranks)
        parameters = sum(int(np.prod(each.shape)) for each in ranker.inference.weights)
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{len(self._found)}.keras"
        ranker.inference.save(path)
        rewrite_keras_archive(path)
        self._found.append(
            {
                "step": step,
                "items": items,
                "parameters": parameters,
                **metrics_of_ranks(ranks).to_json(),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Returns what `training.json` says of the steps; nothing where there are none."""
        return {"steps": self._found} if self._found else {}
