"""Runs the original model on its held-out inputs. Runs in a worker.

It is not aware of metrics. Imports TensorFlow, or ONNX Runtime for a user's ONNX file; used by
`worker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.build.convert.job import Job, Outcome
from edgepack.formats.errors import ConversionError

#: Rows in one call of the Keras model; each row's scores are the whole catalogue.
_BATCH = 256


def write_reference(job: Job) -> Outcome:
    """Writes `reference.npz`, `out0` … in the model's own order.

    Raises:
        ConversionError: The model cannot be read or run.
    """
    with np.load(job.samples, allow_pickle=False) as archive:
        samples = {name: archive[name] for name in archive.files}
    if job.source.suffix == ".onnx":
        outputs = _run_onnx(job.source, samples)
    elif job.graph_top_k:
        outputs = _rank(job, samples["histories"])
    else:
        outputs = _run_rows(job, samples)
    named: dict[str, Any] = {f"out{i}": each for i, each in enumerate(outputs)}
    np.savez(job.out / "reference.npz", **named)
    return Outcome()


def _rank(job: Job, histories: npt.NDArray[np.int32]) -> list[npt.NDArray[Any]]:
    import tensorflow as tf

    from edgepack.build.convert.source import load_source

    source = load_source(job.source, job.samples, job.graph_top_k)
    call = tf.function(lambda rows: source.call([rows]), autograph=False, reduce_retracing=True)
    parts = [
        [each.numpy() for each in call(histories[start : start + _BATCH])]
        for start in range(0, len(histories), _BATCH)
    ]
    scores, items = (np.concatenate(each) for each in zip(*parts, strict=True))
    return [scores.astype(np.float32), items.astype(np.int32)]


def _run_rows(job: Job, samples: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Row by row at batch 1, as the variants are run: a model may look at its whole batch."""
    from edgepack.build.convert.graph import finished_function
    from edgepack.build.convert.source import load_source

    source = load_source(job.source, job.samples, None)
    call = finished_function(source)
    columns = [samples[spec.name] for spec in source.inputs]
    rows = []
    for i in range(len(columns[0])):
        answer = call(*(each[i : i + 1] for each in columns))
        rows.append([answer[name].numpy()[0] for name in sorted(answer)])
    return [np.stack(each) for each in zip(*rows, strict=True)]


def _run_onnx(path: Path, samples: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    rows = len(next(iter(samples.values())))
    try:
        session = onnxruntime.InferenceSession(str(path), options)
        answers = [
            session.run(None, {name: array[i : i + 1] for name, array in samples.items()})
            for i in range(rows)
        ]
    except Exception as error:
        # ONNX Runtime's own exceptions share no base class but Exception.
        raise ConversionError(f"ONNX Runtime cannot run {path.name}: {error}") from error
    return [np.stack([each[0] for each in column]) for column in zip(*answers, strict=True)]
