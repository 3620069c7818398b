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

from edgepack.build.convert.onnx_file import drop_unused, file_specs
from edgepack.build.convert.process import last_words
from edgepack.formats.tensors import TensorSpec

#: What the extent is called in every graph.
BATCH: Final = "batch"
#: Rows that are run together and alone.
_ROWS: Final = 5
#: The first row, and the number of rows, of two calls that tell which extents of a tensor are the
#: batch's. No row is in both, so what a row's values decide differs as well.
_TWO_CALLS: Final = ((0, 2), (2, 3))
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


def settle_reshapes(model: Any, samples: Path) -> None:
    """Writes shapes that only the batch leaves open as constants, with -1 in its place.

    An exporter computes them in the graph from the shape of what comes in: for a Transformer of
    two blocks that is 60 small operators of 150, a quarter of the time of a call of one row.
    What a shape keeps from call to call is found by running calls of different rows.

    Args:
        model: Changed in place.
        samples: The model's samples, an npz.
    """
    import onnx

    known = {each.name for each in model.graph.initializer}
    known |= {name for n in model.graph.node if n.op_type == "Constant" for name in n.output}
    reshapes = [n for n in model.graph.node if n.op_type == "Reshape" and n.input[1] not in known]
    if not reshapes:
        return
    inputs, _ = file_specs(model)
    feed = _feed(inputs, samples)
    few, more = (_shapes(model, reshapes, feed, *call) for call in _TWO_CALLS)
    for node, one, other in zip(reshapes, few, more, strict=True):
        differs = [i for i, pair in enumerate(zip(one, other, strict=False)) if len({*pair}) > 1]
        if len(one) != len(other) or len(differs) != 1 or 0 in one:
            continue
        shape = np.array([-1 if i in differs else n for i, n in enumerate(one)], dtype=np.int64)
        name = f"{node.output[0]}_shape"
        model.graph.initializer.append(onnx.numpy_helper.from_array(shape, name))
        node.input[1] = name
    drop_unused(model)


def _shapes(
    model: Any, nodes: Sequence[Any], feed: Mapping[str, Array], first: int, count: int
) -> list[tuple[int, ...]]:
    """Returns the shape of some nodes' first outputs in a call of some of the rows.

    Where there are fewer rows than are asked for, they begin again.
    """
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    shown = {each.name for each in watched.graph.output}
    names = [node.output[0] for node in nodes]
    watched.graph.output.extend(
        onnx.ValueInfoProto(name=each) for each in names if each not in shown
    )
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = range(first, first + count)
    some = {name: array.take(rows, axis=0, mode="wrap") for name, array in feed.items()}
    return [tuple(each.shape) for each in session.run(names, some)]


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
