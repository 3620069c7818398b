"""Finishes a model's graph and writes it as SavedModels, one for each form. Runs in a worker.

Batch 1, weights as they are; a recommender's graph ends in the top-k. It is not aware of TFLite
or precisions. Imports TensorFlow; used by `worker` and `onnx_export`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgepack.build.convert.fewer_operators import write_fewer_operators
from edgepack.build.convert.job import Job, Outcome
from edgepack.build.convert.recipes import UNROLL_MOST_STEPS, Form
from edgepack.build.convert.recurrent import project_first, repeated_weights, rest_weights
from edgepack.build.convert.source import Source, load_source
from edgepack.formats.tensors import TensorSpec


def write_graphs(job: Job) -> Outcome:
    """Writes every form a model has into `job.out/<form>`.

    Returns:
        The finished graph's inputs and outputs, how many steps it goes through and how much
        every step multiplies.

    Raises:
        ConversionError: The model cannot be read.
    """
    source = load_source(job.source, job.samples, job.graph_top_k)
    write_fewer_operators(source.layers, ranks=job.graph_top_k is not None)
    steps = source.recurrent_steps
    if steps == 0:
        outputs = _save(source, job.out / Form.PLAIN)
        return Outcome(inputs=source.inputs, outputs=outputs)
    project_first(source.recurrent_layers)
    outputs = _save(source, job.out / Form.ROLLED)
    if steps <= UNROLL_MOST_STEPS:
        unroll(source)
        _save(source, job.out / Form.UNROLLED)
    return Outcome(
        inputs=source.inputs,
        outputs=outputs,
        recurrent_steps=steps,
        repeated_weights=repeated_weights(source.recurrent_layers),
        rest_weights=rest_weights(source.layers),
    )


def unroll(source: Source) -> None:
    """Makes every recurrent layer write one copy of its cell for each step from now on."""
    for layer in source.recurrent_layers:
        # Read at call time, so it needs no copy of the model and reaches wrapped layers too.
        layer.unroll = True


def finished_function(source: Source) -> Any:
    """Returns the source as a tf.function with inputs `arg_00` … and outputs `out_00` ….

    A user's layer may have any name; these are valid Python, and sort in order.
    """

    def finished(*tensors: Any) -> dict[str, Any]:
        return {f"out_{i:02}": each for i, each in enumerate(source.call(tensors))}

    signature = [
        tf.TensorSpec(_extents(spec), tf.as_dtype(spec.dtype), f"arg_{i:02}")
        for i, spec in enumerate(source.inputs)
    ]
    return tf.function(finished, input_signature=signature, autograph=False)


def _extents(spec: TensorSpec) -> list[int | None]:
    return [None if extent < 0 else extent for extent in spec.shape]


def output_specs(source: Source, outputs: Sequence[Any]) -> tuple[TensorSpec, ...]:
    """Describes the outputs of a traced source in its own order."""
    return tuple(
        TensorSpec(name, each.dtype.name, tuple(-1 if n is None else int(n) for n in each.shape))
        for name, each in zip(source.output_names, outputs, strict=True)
    )


def _save(source: Source, path: Path) -> tuple[TensorSpec, ...]:
    module = tf.Module()
    # What is not an attribute is not saved, and the graph would read nothing.
    module.kept = list(source.variables)
    module.finished = finished_function(source)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.finished})
    outputs = module.finished.get_concrete_function().structured_outputs
    return output_specs(source, [outputs[name] for name in sorted(outputs)])
