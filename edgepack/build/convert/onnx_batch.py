"""Gives an ONNX graph a batch dimension, and tries whether its rows keep to themselves.

Runs in a worker. It is not aware of how a graph was made. Imports onnx and ONNX Runtime; used by
`onnx_export`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgepack.build.convert.onnx_file import file_specs
from edgepack.build.convert.process import last_words
from edgepack.formats.tensors import TensorSpec

#: What the extent is called in every graph.
BATCH: Final = "batch"
#: Rows that are run together and alone.
_ROWS: Final = 5
#: How far a float may lie from the same row alone, as a share of the output's spread: matrix
#: products add up in another order. Mixed rows differ by much more.
_TOLERANCE: Final = 1e-3

Array = npt.NDArray[Any]


def name_batch(model: Any) -> None:
    """Names the first extent of every input and output that leaves it open."""
    constants = {each.name for each in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        extents = value.type.tensor_type.shape.dim
        if value.name in constants or not len(extents) or extents[0].HasField("dim_value"):
            continue
        extents[0].Clear()
        extents[0].dim_param = BATCH


def rows_problem(path: Path, samples: Path) -> str | None:
    """Runs some rows together and each alone.

    Args:
        path: An ONNX file.
        samples: The model's samples, an npz.

    Returns:
        Why it cannot take several rows in one call, in words; None when it can.
    """
    import onnx
    import onnxruntime

    inputs, outputs = file_specs(onnx.load(str(path)))
    fixed = [each.name for each in (*inputs, *outputs) if each.shape[:1] != (-1,)]
    if fixed:
        return f"the first extent of {', '.join(fixed)} is fixed"
    feed = _feed(inputs, samples)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        together = session.run(None, feed)
        alone = [
            session.run(None, {name: array[row : row + 1] for name, array in feed.items()})
            for row in range(_rows(feed))
        ]
    # Its exceptions share no base class below Exception.
    except Exception as error:  # noqa: BLE001
        return f"several rows in one call fail: {last_words(str(error))}"
    for i, spec in enumerate(outputs):
        problem = _difference(together[i], [each[i] for each in alone], integers_too=i == 0)
        if problem is not None:
            return f"output '{spec.name}': {problem}"
    return None


def _feed(inputs: Sequence[TensorSpec], samples: Path) -> Mapping[str, Array]:
    with np.load(samples, allow_pickle=False) as archive:
        if "histories" in archive.files and len(inputs) == 1:
            columns = {inputs[0].name: archive["histories"]}
        else:
            columns = {spec.name: archive[spec.name] for spec in inputs}
    return {spec.name: columns[spec.name][:_ROWS].astype(spec.dtype) for spec in inputs}


def _rows(feed: Mapping[str, Array]) -> int:
    return len(next(iter(feed.values())))


def _difference(together: Array, alone: Sequence[Array], *, integers_too: bool) -> str | None:
    if any(each.shape[:1] != (1,) for each in alone) or len(together) != len(alone):
        return f"{len(alone)} rows give {len(together)}"
    if any(each.shape[1:] != together.shape[1:] for each in alone):
        return "its shape depends on the other rows"
    each_alone = np.concatenate(alone)
    if not np.issubdtype(together.dtype, np.floating):
        # Ranked items may change places where scores are equal; the scores are looked at.
        same = not integers_too or np.array_equal(together, each_alone)
        return None if same else "a row is answered otherwise together with others"
    spread = float(np.ptp(each_alone)) or 1.0
    distance = float(np.abs(together - each_alone).max(initial=0.0))
    if distance <= _TOLERANCE * spread:
        return None
    return f"a row beside others is {distance:.3g} away from the same row alone"
