"""Writes the finished model as fp32 ONNX, the base of every ONNX variant. Runs in a worker.

A Keras model or SavedModel goes through tf2onnx; a user's own ONNX file only gets its batch
fixed, or named where any number of rows is to go through in one call. It is not aware of
precisions. Used by `worker`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgepack.build.convert.job import Job, Outcome
from edgepack.build.convert.onnx_attention import merge_projections
from edgepack.build.convert.onnx_batch import name_batch, rows_problem, settle_reshapes
from edgepack.build.convert.onnx_file import drop_unused, file_specs, save_onnx
from edgepack.build.convert.onnx_flat import drop_batch_of_one
from edgepack.build.convert.onnx_masks import drop_repeated_masks
from edgepack.build.convert.onnx_tidy import look_up_positions, tidy
from edgepack.build.convert.process import last_words
from edgepack.build.convert.recipes import Form
from edgepack.formats.errors import ConversionError

#: Has LayerNormalization; every ONNX Runtime since 1.12 reads it, with IR version 8.
OPSET: Final = 17
#: Per-channel DequantizeLinear appeared here; older files are brought up first.
_OLDEST_OPSET: Final = 13


def write_onnx_base(job: Job) -> Outcome:
    """Writes `base.onnx` into `job.out`.

    Returns:
        Its inputs and outputs; where a batch dimension was asked for and the model has none to
        give, the notes say why.

    Raises:
        ConversionError: The model cannot be read, or an operator has no ONNX form.
    """
    import onnx

    if job.source.suffix == ".onnx" and job.form is not Form.NATIVE:
        raise ConversionError("an ONNX file is used in the form it has")
    path, notes = job.out / "base.onnx", ""
    problem = _write_in_rows(job, path) if job.needs.rows else None
    if problem is not None:
        notes = f"batch 1: {problem}"
    if problem is not None or not job.needs.rows:
        model = _make(job, batched=False)
        _fuse(model)
        save_onnx(model, path)
    inputs, outputs = file_specs(onnx.load(str(path)))
    return Outcome(inputs=inputs, outputs=outputs, notes=notes)


def _make(job: Job, *, batched: bool) -> Any:
    own = job.source.suffix == ".onnx"
    model = (
        _own_file(job.source, job.samples, batched=batched)
        if own
        else _exported(job, batched=batched)
    )
    tidy(model)
    drop_batch_of_one(model)
    drop_unused(model)
    return model


def _fuse(model: Any) -> None:
    """Runs the passes that need the shapes the graph is left with."""
    look_up_positions(model)
    merge_projections(model)
    drop_repeated_masks(model)


def _write_in_rows(job: Job, path: Path) -> str | None:
    """Writes the graph for any number of rows; returns why that cannot be, or None."""
    try:
        model = _make(job, batched=True)
        settle_reshapes(model, job.samples)
        _fuse(model)
        save_onnx(model, path)
    except Exception as error:  # noqa: BLE001 - a layer that needs a fixed batch raises anything
        return last_words(str(error)) or type(error).__name__
    return rows_problem(path, job.samples)


def _exported(job: Job, *, batched: bool) -> Any:
    import tensorflow as tf
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    from edgepack.build.convert.graph import finished_function, unroll
    from edgepack.build.convert.native import mark_native_layers, marker_handlers
    from edgepack.build.convert.source import load_source

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    source = load_source(job.source, job.samples, job.graph_top_k)
    if batched:
        source = source.in_rows()
    handlers: dict[str, Any] = {}
    if job.form is Form.NATIVE:
        handlers = marker_handlers(mark_native_layers(source.layers))
    elif job.form is Form.UNROLLED:
        unroll(source)
    function = finished_function(source).get_concrete_function()
    # A marker cannot be run, and a loop must stay one for tf2onnx to see it.
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    outputs = sorted(function.structured_outputs)
    order = {tensor.name: i for i, tensor in enumerate(tf.nest.flatten(frozen.outputs))}
    names = dict(zip(order, (source.output_names[outputs.index(o)] for o in outputs), strict=True))
    inputs = {
        tensor.name: spec.name for tensor, spec in zip(frozen.inputs, source.inputs, strict=True)
    }
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            name="edgepack",
            input_names=list(inputs),
            output_names=list(names),
            opset=OPSET,
            custom_op_handlers=handlers,
            tensors_to_rename={**inputs, **names},
        )
    except Exception as error:
        words = last_words(str(error)) or type(error).__name__
        raise ConversionError(f"tf2onnx failed: {words}") from error
    traced = [function.structured_outputs[name].shape for name in outputs]
    shapes = dict(zip(source.output_names, traced, strict=True))
    for value in model.graph.output:
        _fix_extents(value, shapes[value.name])
    if batched:
        name_batch(model)
    return _checked(model)


def _fix_extents(value: Any, shape: Sequence[int | None]) -> None:
    # tf2onnx loses the shape behind some squeezes, and a box wants to know it.
    for extent, known in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        if known is not None:
            extent.Clear()
            extent.dim_value = int(known)


def _checked(model: Any) -> Any:
    """Refuses what tf2onnx leaves behind where it has no answer."""
    foreign = sorted({n.op_type for n in model.graph.node if n.domain not in ("", "ai.onnx")})
    import onnx

    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    foreign += sorted({n.op_type for n in model.graph.node if n.op_type not in known})
    if foreign:
        raise ConversionError(f"ONNX has no operator for {', '.join(foreign)}")
    return model


def _own_file(path: Path, samples: Path, *, batched: bool) -> Any:
    import onnx

    rows = None if batched else 1

    model = onnx.load(str(path))
    constants = {each.name for each in model.graph.initializer}
    with np.load(samples, allow_pickle=False) as archive:
        shapes = {name: archive[name].shape for name in archive.files}
    for value in model.graph.input:
        if value.name in constants:
            continue
        first = value.type.tensor_type.shape.dim[0]
        if batched and first.HasField("dim_value"):
            raise ConversionError(f"the file's own batch is fixed at {first.dim_value}")
        _fix_extents(value, (rows, *shapes[value.name][1:]))
    # Extents written for another batch would contradict the fixed one.
    del model.graph.value_info[:]
    for value in model.graph.output:
        extents = value.type.tensor_type.shape.dim
        if len(extents) and not extents[0].HasField("dim_value"):
            _fix_extents(value, (rows or None, *(None for _ in extents[1:])))
    if batched:
        name_batch(model)
    return onnx.shape_inference.infer_shapes(_upgraded(model))


def _upgraded(model: Any) -> Any:
    import onnx

    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset >= _OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ConversionError(
            f"opset {opset} is older than {_OLDEST_OPSET} and could not be brought up: "
            f"{last_words(str(error))}"
        ) from error
