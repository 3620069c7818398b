"""What each step of `[optimise]` saved: the file of the model as it was after it, and its time.

It is not aware of how a step is done. Used by `edgepack train`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgepack.build.artifacts import Progress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.build.convert.process import worker_environment
from edgepack.build.data.interactions import file_sha256
from edgepack.build.process import run_limited
from edgepack.build.training.optimise.steps import FOLDER
from edgepack.formats.errors import DeviceError
from edgepack.formats.variants import Format, Precision, VariantSpec
from edgepack.formats.vocabulary import Vocabulary

#: What embedded targets run unless something else is better there.
_SPEC: Final = VariantSpec(Format.TFLITE, Precision.DYNAMIC_INT8)
#: Histories that the files are timed with.
_ROWS: Final = 64
_TIMEOUT_S: Final = 600.0
_MEMORY_BYTES: Final = 8 * 2**30
_TASK: Final = "Timing the steps"


@dataclass(frozen=True, slots=True)
class StepCost:
    """A model after a step.

    Attributes:
        facts: What `training.json` says of it: `step`, `items`, `parameters`, `hr`, `ndcg`,
            `mrr`, `questions`.
        size_bytes: Of its dynamic int8 TFLite file; None where it could not be made.
        call_ns: Median of one call on one thread of this host; None where there is no file.
        failure: Why there is none.
    """

    facts: dict[str, Any]
    size_bytes: int | None
    call_ns: float | None
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns it as `edgepack train --json` prints it."""
        return {
            **self.facts,
            "variant": _SPEC.name,
            "size_bytes": self.size_bytes,
            "call_us": None if self.call_ns is None else round(self.call_ns / 1000, 2),
            "failure": self.failure,
        }


def cost_of_steps(model: TrainedModel, cache: Cache, progress: Progress) -> list[StepCost]:
    """Converts the model of every step, and times them in turn.

    Args:
        model: A trained project.
        cache: Keeps the files, not the times.
        progress: Told of each step.

    Returns:
        One a step; none where the project asks for no step.

    Raises:
        DeviceError: The files cannot be run on this host.
    """
    steps: Sequence[dict[str, Any]] = model.facts.get("steps", ())
    files = [
        convert_variants(_as_of(model, place, facts), [_SPEC], cache, progress=progress)[0]
        for place, facts in enumerate(steps)
    ]
    paths = [each.path for each in files if each.path is not None]
    times = iter(_time(model, paths, cache, progress) if paths else ())
    return [
        StepCost(facts, None, None, each.failure)
        if each.path is None
        else StepCost(facts, each.path.stat().st_size, next(times))
        for facts, each in zip(steps, files, strict=True)
    ]


def _as_of(model: TrainedModel, place: int, facts: dict[str, Any]) -> TrainedModel:
    """The model as it was after a step."""
    if model.vocabulary is None or model.sequence_length is None or model.top_k is None:
        raise AssertionError("only a recommender has steps")
    path = model.directory / FOLDER / f"{place}.keras"
    # Nobody asks this model about its items by name; only how many there are decides the graph.
    names = tuple(str(number) for number in range(1, facts["items"] + 1))
    return replace(
        model,
        model_path=path,
        sha256=file_sha256(path),
        vocabulary=Vocabulary(names),
        graph_top_k=min(model.top_k + model.sequence_length, facts["items"]),
    )


def _time(
    model: TrainedModel, paths: Sequence[Path], cache: Cache, progress: Progress
) -> list[float]:
    progress.start(_TASK)
    try:
        with (
            np.load(model.samples_path, allow_pickle=False) as samples,
            cache.temporary_directory("steps-") as work,
        ):
            source = work / "in.npz"
            np.savez(source, history=samples["histories"][:_ROWS])
            result = run_limited(
                [sys.executable, "-m", "edgepack.build.quality.in_turn", source, *paths],
                timeout_s=_TIMEOUT_S,
                memory_bytes=_MEMORY_BYTES,
                env=worker_environment(),
            )
    finally:
        progress.finish(_TASK)
    if not result.ok:
        raise DeviceError(f"the steps of '{model.name}' were not timed: it {result.describe()}")
    found: list[float] = json.loads(result.stdout.splitlines()[-1])
    return found
