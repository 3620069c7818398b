"""Reads a Keras model or SavedModel and gives it one calling form. Runs in a worker.

It is not aware of what the graph becomes. Imports TensorFlow; used by `graph`, `onnx_export`
and `reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edgepack.build.convert.process import last_words
from edgepack.formats.errors import ConversionError
from edgepack.formats.tensors import TensorSpec

#: The names of a recommender's tensors, whatever the layers are called.
HISTORY, SCORES, ITEMS = "history", "scores", "items"


@dataclass(frozen=True, slots=True)
class Source:
    """A model that can be called and traced.

    Attributes:
        call: Takes tensors in the order of `inputs`, returns a list of outputs.
        inputs: Batch 1, or -1 for any number of rows; every other extent known.
        output_names: In the model's own order.
        variables: What must live while a trace does.
        layers: Every Keras layer, nested ones included; empty for a SavedModel.
    """

    call: Callable[[Sequence[Any]], list[Any]]
    inputs: tuple[TensorSpec, ...]
    output_names: tuple[str, ...]
    variables: tuple[Any, ...]
    layers: tuple[Any, ...] = field(default=())

    def in_rows(self) -> Source:
        """Returns the same model for any number of rows in one call."""
        inputs = tuple(replace(spec, shape=(-1, *spec.shape[1:])) for spec in self.inputs)
        return replace(self, inputs=inputs)

    @property
    def recurrent_layers(self) -> tuple[Any, ...]:
        """The layers that go through a sequence step by step."""
        import keras

        return tuple(layer for layer in self.layers if isinstance(layer, keras.layers.RNN))

    @property
    def recurrent_steps(self) -> int:
        """Steps of the longest recurrent layer; 0 when there is none.

        A layer inside a wrapper does not know its own input, so the longest second extent of
        the model's inputs stands for it.
        """
        if not self.recurrent_layers:
            return 0
        return max((spec.shape[1] for spec in self.inputs if len(spec.shape) > 1), default=0)


def load_source(path: Path, samples: Path, graph_top_k: int | None) -> Source:
    """Reads a model.

    Args:
        path: A `.keras` or `.h5` file or a SavedModel directory.
        samples: A tensor model's samples; they settle the extents its inputs leave open.
        graph_top_k: Finishes a recommender's graph with so many items; None leaves a tensor
            model as it is.

    Raises:
        ConversionError: It cannot be read.
    """
    # Tracing on one thread keeps the other variants' processes their share.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if path.is_dir():
        return _load_saved_model(path, samples)
    model = _load_keras(path)
    return _recommender(model, graph_top_k) if graph_top_k else _tensor_model(model, samples)


def _load_keras(path: Path) -> Any:
    import keras

    # Register the layers of edgepack's own architectures.
    import edgepack.build.models.coded_items
    import edgepack.build.models.layers  # noqa: F401

    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, ImportError, NotImplementedError) as error:
        reason = last_words(str(error)) or type(error).__name__
        raise ConversionError(f"Keras cannot read {path.name}: {reason}") from error


def _recommender(model: Any, graph_top_k: int) -> Source:
    length = int(model.inputs[0].shape[1])

    def call(tensors: Sequence[Any]) -> list[Any]:
        scores = model(tensors[0], training=False)
        # Column 0 is padding, which is no item.
        best, places = tf.math.top_k(scores[:, 1:], k=graph_top_k, sorted=True)
        return [best, places + 1]

    return Source(
        call=call,
        inputs=(TensorSpec(HISTORY, "int32", (1, length)),),
        output_names=(SCORES, ITEMS),
        variables=_variables(model),
        layers=tuple(_all_layers(model)),
    )


def _tensor_model(model: Any, samples: Path) -> Source:
    if not getattr(model, "inputs", None):
        raise ConversionError(
            "the model's inputs are not known; build it with keras.Input before saving it"
        )

    def call(tensors: Sequence[Any]) -> list[Any]:
        given = tensors[0] if len(tensors) == 1 else list(tensors)
        return list(tf.nest.flatten(model(given, training=False)))

    names = [each.name for each in model.inputs]
    dtypes = [str(tf.as_dtype(each.dtype).name) for each in model.inputs]
    return Source(
        call=call,
        inputs=_settle(names, dtypes, samples),
        output_names=_output_names(model),
        variables=_variables(model),
        layers=tuple(_all_layers(model)),
    )


def _output_names(model: Any) -> tuple[str, ...]:
    # A Sequential has one output and no name for it but its last layer's.
    return tuple(getattr(model, "output_names", None) or [model.layers[-1].name])


def _load_saved_model(path: Path, samples: Path) -> Source:
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise ConversionError(
            f"TensorFlow cannot read the SavedModel: {last_words(str(error))}"
        ) from error
    known = sorted(signature.structured_input_signature[1].items())
    outputs = tuple(sorted(signature.structured_outputs))

    def call(tensors: Sequence[Any]) -> list[Any]:
        given = {name: tensor for (name, _), tensor in zip(known, tensors, strict=True)}
        answers = signature(**given)
        return [answers[name] for name in outputs]

    return Source(
        call=call,
        inputs=_settle([name for name, _ in known], [s.dtype.name for _, s in known], samples),
        output_names=outputs,
        variables=(loaded,),
    )


def _settle(names: Sequence[str], dtypes: Sequence[str], samples: Path) -> tuple[TensorSpec, ...]:
    """Takes the extents of one row from the samples, at batch 1."""
    with np.load(samples, allow_pickle=False) as archive:
        return tuple(
            TensorSpec(name, dtype, (1, *archive[name].shape[1:]))
            for name, dtype in zip(names, dtypes, strict=True)
        )


def _variables(model: Any) -> tuple[Any, ...]:
    # A Keras variable wraps the one TensorFlow knows how to save.
    return tuple(variable.value for variable in model.variables)


def _all_layers(model: Any) -> Iterator[Any]:
    # Keras has no public way to reach the layers inside wrappers such as Bidirectional.
    yield from model._flatten_layers(include_self=False, recursive=True)  # noqa: SLF001
