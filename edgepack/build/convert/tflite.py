"""Converts a finished SavedModel to one TFLite variant. Runs in a worker.

It is not aware of ladders or caches. Imports TensorFlow; used by `worker`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgepack.build.convert.job import Job, Outcome
from edgepack.build.convert.process import last_words
from edgepack.build.convert.tflite_compact import compact
from edgepack.build.convert.tflite_compare import fill_compared_numbers
from edgepack.build.convert.tflite_file import (
    file_specs,
    parse_tflite,
    refuse_foreign_operators,
    tflite_bytes,
)
from edgepack.build.convert.tflite_static import make_static
from edgepack.build.convert.tflite_tied import read_table_once
from edgepack.build.convert.tflite_topk import stage_top_k
from edgepack.formats.errors import ConversionError
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Precision

#: The operator in the converter's complaint, such as `'tf.Erfinv' op is neither a custom op`.
_UNSUPPORTED = re.compile(r"'?(tf\.[A-Za-z0-9_]+)'? op is neither")


def write_tflite(job: Job) -> Outcome:
    """Writes one variant into `job.out`.

    Args:
        job: `source` is the SavedModel of the form; the model's own names of inputs and
            outputs are in the outcome beside it.

    Raises:
        ConversionError: The converter refuses the model; the operator is named.
    """
    if job.spec is None:
        raise AssertionError("a TFLite job has a variant")
    graph = Outcome.read(job.source.parent)
    if graph is None:
        raise AssertionError(f"{job.source.parent} has no outcome")
    calibration = calibration_rows(job.samples, graph.inputs)
    notes = ""
    if job.spec.precision is Precision.STATIC_INT8:
        data, notes = make_static(
            calibrated=lambda: _calibrate(job.source, calibration),
            original=lambda: _converter(job.source).convert(),
            rows=calibration,
            finish=lambda model: _finish(model, graph.inputs, graph.outputs),
            ranks=job.graph_top_k is not None,
        )
    else:
        raw = _convert(_configured(job.source, job.spec.precision))
        data = _finish(parse_tflite(raw), graph.inputs, graph.outputs)
    (job.out / job.spec.file_name).write_bytes(data)
    inputs, outputs = file_specs(parse_tflite(data))
    return Outcome(inputs=inputs, outputs=outputs, notes=notes)


def write_float_twin(job: Job) -> Outcome:
    """Writes what an int8 variant is held against: the same form in fp32, and its names.

    `twin.tflite` has the operators of the fp32 variant; `twin.names.json` has the name that the
    converter gave each of its tensors, after the layer that makes it, in the file's order.

    Raises:
        ConversionError: The converter refuses the model; the operator is named.
    """
    graph = Outcome.read(job.source.parent)
    if graph is None:
        raise AssertionError(f"{job.source.parent} has no outcome")
    model = parse_tflite(_convert(_converter(job.source)))
    names = {id(tensor): bytes(tensor.name or b"") for tensor in model.subgraphs[0].tensors}
    data = _finish(model, graph.inputs, graph.outputs)
    # The file has no room for names; the objects that were kept still say which they were.
    kept = [names.get(id(tensor), b"") for tensor in model.subgraphs[0].tensors]
    (job.out / "twin.tflite").write_bytes(data)
    (job.out / "twin.names.json").write_text(
        json.dumps([name.decode("utf-8", "replace") for name in kept])
    )
    inputs, outputs = file_specs(model)
    return Outcome(inputs=inputs, outputs=outputs)


def calibration_rows(samples: Path, inputs: tuple[TensorSpec, ...]) -> list[list[npt.NDArray[Any]]]:
    """Returns up to 500 rows of real inputs at batch 1, in the graph's input order."""
    with np.load(samples, allow_pickle=False) as archive:
        if "calibration" in archive.files and len(inputs) == 1:
            columns = [archive["calibration"]]
        else:
            columns = [archive[spec.name] for spec in inputs]
    rows = min(_CALIBRATION_ROWS, *(len(each) for each in columns))
    return [
        [each[i : i + 1].astype(spec.dtype) for each, spec in zip(columns, inputs, strict=True)]
        for i in range(rows)
    ]


#: Ranges settle after some hundred rows; each costs about 5 ms.
_CALIBRATION_ROWS = 500


def _configured(source: Path, precision: Precision) -> Any:
    converter = _converter(source)
    if precision is Precision.FP32:
        return converter
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision is Precision.FP16:
        converter.target_spec.supported_types = [tf.float16]
    if precision is Precision.DYNAMIC_INT8_PER_TENSOR:
        # Keeps a tied table once, and writes FULLY_CONNECTED 9 where per-channel needs 12,
        # which tflite-runtime 2.14 does not have.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001
    return converter


def _converter(source: Path) -> Any:
    # Through a SavedModel, because a Keras 3 function loses its weights on the direct way.
    return tf.lite.TFLiteConverter.from_saved_model(str(source))


def _calibrate(source: Path, rows: list[list[npt.NDArray[Any]]]) -> bytes:
    """Returns the fp32 file with the range of every tensor over the rows."""

    def feed() -> Iterator[dict[str, npt.NDArray[Any]]]:
        for row in rows:
            yield {f"arg_{i:02}": each for i, each in enumerate(row)}

    converter = _converter(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = feed
    # The ranges are then used for several bodies, which saves measuring them again.
    converter._experimental_calibrate_only = True  # noqa: SLF001
    return _convert(converter)


def _convert(converter: Any) -> bytes:
    try:
        return bytes(converter.convert())
    except Exception as error:
        if found := sorted(set(_UNSUPPORTED.findall(str(error)))):
            names = ", ".join(name.removeprefix("tf.") for name in found)
            raise ConversionError(f"TFLite has no operator for {names}") from error
        words = last_words(str(error)) or type(error).__name__
        raise ConversionError(f"converter failed: {words}") from error


def _finish(model: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bytes:
    refuse_foreign_operators(model)
    stage_top_k(model)
    read_table_once(model)
    fill_compared_numbers(model)
    compact(model, inputs, outputs)
    return tflite_bytes(model)
