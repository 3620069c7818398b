"""Makes golden answers: what the very bytes of a variant answer on this host.

The box replays them, so they test its runtime and its CPU; what the conversion did to the
ranking is the gate's to judge. Used by the pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.build.artifacts import ConvertedVariant, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.quality.measure import as_ranking, by_position
from edgepack.build.quality.predict import HOST_RUNTIMES, predict
from edgepack.formats.golden import GoldenSequence, GoldenSet, GoldenTensors, TensorValue
from edgepack.formats.variants import Precision

_GOLDEN_VERSION = 2
#: Histories replayed at every start of the runner: enough to see every length, few enough
#: that a slow box is ready in a moment.
SEQUENCES = 16
#: Rows of a tensor model.
ROWS = 4

#: How far a score may lie from the host's, as a share of the spread of all golden scores.
#: Float kernels of two CPUs add up in different orders. 8-bit kernels also round activations
#: differently: over 600 real histories LiteRT on a Cortex-A72 was at most 0.006 (dynamic) and
#: 0.013 (static) of the spread away from x86-64; three times that is allowed.
TOLERANCES = {
    Precision.FP32: 0.001,
    Precision.FP16: 0.005,
    Precision.DYNAMIC_INT8: 0.02,
    Precision.DYNAMIC_INT8_PER_TENSOR: 0.02,
    Precision.STATIC_INT8: 0.04,
}


def make_golden(model: TrainedModel, variant: ConvertedVariant, cache: Cache) -> GoldenSet:
    """Makes the golden answers of one variant.

    Args:
        model: The model, for its held-out inputs and vocabulary.
        variant: A converted variant.
        cache: Keeps the answers.

    Returns:
        A recommender's ranked answers in external item ids, or a tensor model's outputs.

    Raises:
        DeviceError: The variant cannot be run on this host.
    """
    key = {
        "golden": _GOLDEN_VERSION,
        "model": model.sha256,
        "samples": model.samples_sha256,
        "vocabulary": model.vocabulary.sha256 if model.vocabulary else None,
        "top_k": model.top_k,
        "tolerance": TOLERANCES[variant.spec.precision],
        "variant": variant.sha256,
        "runtime": str(HOST_RUNTIMES[variant.spec.format]),
    }

    def make(draft: Path) -> None:
        (draft / "golden.json").write_bytes(_golden(model, variant, cache).to_bytes())

    folder = cache.get_or_make("golden", key, make)
    return GoldenSet.from_bytes((folder / "golden.json").read_bytes())


def spread_rows(histories: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """Picks rows of every length, shortest to longest, the same ones every time.

    Args:
        histories: int32[n, L], padded with 0.
        count: How many rows are wanted.

    Returns:
        int64[min(count, n)], row numbers without repeats.
    """
    by_length = np.argsort((histories > 0).sum(axis=1), kind="stable")
    places = np.linspace(0, len(by_length) - 1, min(count, len(by_length)))
    return by_length[places.round().astype(np.int64)]


def tolerance_of(precision: Precision, scores: Sequence[npt.NDArray[Any]]) -> float:
    """Returns the tolerance of golden answers in their own unit.

    Args:
        precision: The variant's.
        scores: The recorded scores or outputs; the widest array sets the scale.

    Returns:
        A share of the spread, rounded to three digits.
    """
    spread = max(float(np.ptp(each)) for each in scores) or 1.0
    return float(f"{TOLERANCES[precision] * spread:.3g}")


def _golden(model: TrainedModel, variant: ConvertedVariant, cache: Cache) -> GoldenSet:
    with np.load(model.samples_path, allow_pickle=False) as archive:
        samples = {name: archive[name] for name in archive.files}
    if model.kind == "tensor":
        inputs = {name: array[:ROWS] for name, array in by_position(variant, samples).items()}
        outputs = predict(variant, inputs, cache)
        tolerance = tolerance_of(variant.spec.precision, outputs)
        return GoldenSet(tolerance, tensors=_tensors(variant, inputs, outputs))
    histories = samples["histories"]
    rows = histories[spread_rows(histories, SEQUENCES)]
    ranking = as_ranking(predict(variant, {"arg0": rows}, cache), variant.spec.name)
    vocabulary = model.vocabulary
    if vocabulary is None or model.top_k is None:
        raise AssertionError("a recommender has a vocabulary and a top k")
    sequences = tuple(
        GoldenSequence(
            history=tuple(vocabulary.item_at(int(i)) for i in row if i > 0),
            items=tuple(vocabulary.item_at(int(i)) for i in items[: model.top_k]),
            scores=tuple(float(score) for score in scores[: model.top_k]),
        )
        for row, items, scores in zip(rows, ranking.items, ranking.scores, strict=True)
    )
    tolerance = tolerance_of(variant.spec.precision, [ranking.scores[:, : model.top_k]])
    return GoldenSet(tolerance, sequences=sequences)


def _tensors(
    variant: ConvertedVariant,
    inputs: dict[str, npt.NDArray[Any]],
    outputs: list[npt.NDArray[Any]],
) -> tuple[GoldenTensors, ...]:
    ordered = [inputs[f"arg{i}"] for i in range(len(inputs))]
    return tuple(
        GoldenTensors(
            inputs=tuple(
                _value(spec.name, array[row])
                for spec, array in zip(variant.inputs, ordered, strict=True)
            ),
            outputs=tuple(
                _value(spec.name, array[row])
                for spec, array in zip(variant.outputs, outputs, strict=True)
            ),
        )
        for row in range(len(ordered[0]))
    )


def _value(name: str, array: npt.NDArray[Any]) -> TensorValue:
    # tolist() gives Python's own numbers, whose shortest form JSON keeps exactly.
    data = tuple(array.reshape(-1).tolist())
    return TensorValue(name, str(array.dtype), (1, *array.shape), data)
