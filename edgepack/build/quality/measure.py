"""Measures a variant against the fp32 Keras model on held-out inputs, once for each content.

It is not aware of targets: the same bytes rank the same way on every box, which the run on the
target proves. Used by the pipeline.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.build.artifacts import ConvertedVariant, Quality, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.convert import reference_outputs
from edgepack.build.quality.metrics import Ranking, ranking_quality, tensor_quality
from edgepack.build.quality.predict import HOST_RUNTIMES, predict
from edgepack.formats.errors import DeviceError

#: Raised when a metric's meaning changes, so that caches do not serve the older one.
_METRICS_VERSION = 1


def measure_quality(model: TrainedModel, variant: ConvertedVariant, cache: Cache) -> Quality:
    """Measures one variant.

    Args:
        model: The model it was made from, with its held-out inputs.
        variant: A converted variant.
        cache: Keeps the metrics and the original's answers.

    Returns:
        The metrics.

    Raises:
        ConversionError: The original itself cannot be run.
        DeviceError: The variant cannot be run on this host, or answers with another shape.
    """
    key = {
        "metrics": _METRICS_VERSION,
        "model": model.sha256,
        "samples": model.samples_sha256,
        "graph_top_k": model.graph_top_k,
        "variant": variant.sha256,
        "runtime": str(HOST_RUNTIMES[variant.spec.format]),
    }

    def make(draft: Path) -> None:
        quality = _measure(model, variant, cache)
        (draft / "quality.json").write_text(json.dumps(asdict(quality)))

    folder = cache.get_or_make("quality", key, make)
    return Quality(**json.loads((folder / "quality.json").read_text()))


def as_ranking(outputs: list[npt.NDArray[Any]], what: str) -> Ranking:
    """Tells a recommender's two outputs apart: items are integers.

    Raises:
        DeviceError: There are not exactly one float and one integer output of one shape.
    """
    items = [each for each in outputs if np.issubdtype(each.dtype, np.integer)]
    scores = [each for each in outputs if np.issubdtype(each.dtype, np.floating)]
    if len(items) != 1 or len(scores) != 1 or items[0].shape != scores[0].shape:
        shapes = ", ".join(f"{each.dtype}{list(each.shape)}" for each in outputs)
        raise DeviceError(f"{what} answers with {shapes}; scores and items were expected")
    return Ranking(scores[0].astype(np.float32), items[0].astype(np.int32))


def _measure(model: TrainedModel, variant: ConvertedVariant, cache: Cache) -> Quality:
    with np.load(model.samples_path, allow_pickle=False) as archive:
        samples = {name: archive[name] for name in archive.files}
    with np.load(reference_outputs(model, cache), allow_pickle=False) as archive:
        reference = [archive[f"out{i}"] for i in range(len(archive.files))]
    if model.kind == "recommender":
        answers = predict(variant, {"arg0": samples["histories"]}, cache)
        return ranking_quality(
            as_ranking(reference, "the original"),
            as_ranking(answers, variant.spec.name),
            samples["histories"],
            samples["targets"],
            samples["item_counts"],
        )
    answers = predict(variant, by_position(variant, samples), cache)
    shapes = [each.shape for each in reference]
    if [each.shape for each in answers] != shapes:
        raise DeviceError(
            f"{variant.spec.name} answers with shapes {[each.shape for each in answers]}; "
            f"the original with {shapes}"
        )
    return tensor_quality(reference, answers)


def by_position(
    variant: ConvertedVariant, samples: dict[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Puts sample inputs into a variant's file order.

    A converter may rename inputs (`serving_default_x:0` for `x`) or reorder them; the original
    name is a part of the new one, and a single input needs no name.
    """
    if len(samples) == 1:
        return {"arg0": next(iter(samples.values()))}
    ordered = {}
    for position, spec in enumerate(variant.inputs):
        match = [name for name in samples if _bare(spec.name) == _bare(name)]
        if len(match) != 1:
            names = ", ".join(samples)
            raise DeviceError(
                f"{variant.spec.name}: input '{spec.name}' is none of the samples' {names}"
            )
        ordered[f"arg{position}"] = samples[match[0]]
    return ordered


def _bare(name: str) -> str:
    return name.removeprefix("serving_default_").partition(":")[0]
