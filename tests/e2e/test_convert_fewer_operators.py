"""Layers that write fewer TFLite operators answer as in Keras; a test for each thing left out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.build.convert.process import worker_environment
from edgepack.build.convert.tflite_file import operator_name, parse_tflite
from edgepack.build.models.ranker import HYPER_PARAMETERS, Architecture
from tests.e2e.small_models import CATALOGUE, by_name, make_models, recommender, specs

#: Writes a model for each kind of layer, as it is and with fewer operators, and says of each which
#: operators it has and how far its answers are from the model's own. One start of TensorFlow.
_MAKE = """
import json
import sys
from collections import Counter
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf
from edgepack.build.convert.fewer_operators import write_fewer_operators
from edgepack.build.convert.graph import finished_function
from edgepack.build.convert.source import Source
from edgepack.build.convert.tflite_file import operator_name, parse_tflite
from edgepack.build.models.layers import CausalAttention
from edgepack.formats.tensors import TensorSpec

layers, out = keras.layers, Path(sys.argv[1])
rows = np.random.default_rng(6).normal(0, 1, (20, 12, 16)).astype(np.float32)
said = {}

def say(name, inputs, outputs):
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(5)
    # Biases start at zero, gammas at one: neither would be missed.
    model.set_weights([rng.normal(0, 0.5, each.shape) for each in model.get_weights()])
    source = Source(
        call=lambda tensors: tf.nest.flatten(model(tensors[0], training=False)),
        inputs=(TensorSpec("x", "float32", (1, 12, 16)),),
        output_names=tuple(model.output_names),
        variables=tuple(each.value for each in model.variables),
        layers=tuple(model._flatten_layers(include_self=False, recursive=True)),
    )
    expected = [source.call([tf.constant(row[None])]) for row in rows]
    write_fewer_operators(source.layers, ranks=False)
    module = tf.Module()
    module.kept, module.finished = list(source.variables), finished_function(source)
    signatures = {"serving_default": module.finished}
    tf.saved_model.save(module, str(out / name), signatures=signatures)
    data = tf.lite.TFLiteConverter.from_saved_model(str(out / name)).convert()
    written = parse_tflite(data)
    runner = tf.lite.Interpreter(model_content=data).get_signature_runner()
    error = 0.0
    for row, wanted in zip(rows, expected):
        got = runner(arg_00=row[None])
        error = max(error, *(np.abs(got[f"out_{i:02}"] - w).max() for i, w in enumerate(wanted)))
    names = Counter(operator_name(written, each) for each in written.subgraphs[0].operators)
    said[name] = {"operators": names, "error": float(error)}

x = keras.Input((12, 16), name="x")
norm = lambda: layers.LayerNormalization(epsilon=1e-3)
say("norm", x, norm()(x))
say("folded", x, layers.Dense(8, activation="relu")(norm()(x)))
say("no_bias", x, layers.Dense(8, use_bias=False)(norm()(x)))
normal = norm()(x)
say("read_twice", x, [layers.Dense(16)(normal) + normal, layers.Dense(3)(normal)])
dense = layers.Dense(16)
say("one_dense_twice", x, dense(norm()(dense(x))))
say("two_axes", x, layers.Dense(8)(layers.LayerNormalization(axis=(1, 2))(x)))
say("attention", x, CausalAttention(16)(x, x))
say("last_only", x, CausalAttention(16)(x[:, -1:, :], x))
# Merged, it would multiply more: 16 columns in the place of 2.
say("narrow", x, CausalAttention(2)(x, x))
print(json.dumps(said))
"""
_NORM = {"MEAN": 2, "SQUARED_DIFFERENCE": 1, "SUB": 1, "RSQRT": 1}
#: What the file of each model has, of the operators that count.
_WRITTEN = {
    "norm": {**_NORM, "ADD": 2, "MUL": 2},
    "folded": {**_NORM, "ADD": 1, "MUL": 1, "FULLY_CONNECTED": 1},
    "no_bias": {**_NORM, "ADD": 1, "MUL": 1, "FULLY_CONNECTED": 1},
    "read_twice": {**_NORM, "ADD": 3, "MUL": 3, "FULLY_CONNECTED": 2},
    "one_dense_twice": {**_NORM, "ADD": 1, "MUL": 1, "FULLY_CONNECTED": 2},
    "attention": {"FULLY_CONNECTED": 2, "BATCH_MATMUL": 2, "ADD": 1, "SOFTMAX": 1},
    "narrow": {"FULLY_CONNECTED": 4, "BATCH_MATMUL": 2, "ADD": 1, "SOFTMAX": 1},
    "last_only": {"FULLY_CONNECTED": 2, "BATCH_MATMUL": 2, "SOFTMAX": 1, "STRIDED_SLICE": 1},
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", _MAKE, str(tmp_path_factory.mktemp("models"))],
        env=worker_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    said: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.parametrize("name", _WRITTEN)
def test_a_layer_answers_as_in_keras_in_few_operators(
    said: dict[str, dict[str, Any]], name: str
) -> None:
    assert said[name]["error"] < 1e-4
    operators = Counter(said[name]["operators"])
    # Where a batch of one is a matrix, the converter writes reshapes or not.
    del operators["RESHAPE"]
    assert operators == Counter(_WRITTEN[name])


def test_a_norm_over_two_axes_is_left_as_it_is(said: dict[str, dict[str, Any]]) -> None:
    assert said["two_axes"]["error"] < 1e-4
    operators = said["two_axes"]["operators"]
    assert (operators["FULLY_CONNECTED"], operators["RSQRT"]) == (1, 1)


def test_a_recommender_looks_items_up_as_they_come(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache"))
    folder = make_models(tmp_path_factory.mktemp("rankers"))
    variants = convert_variants(
        recommender(folder, "sasrec"), specs("tflite-dynamic-int8-per-tensor"), cache
    )
    path = by_name(variants)["tflite-dynamic-int8-per-tensor"].path
    assert path is not None
    written = parse_tflite(path.read_bytes())
    names = Counter(operator_name(written, each) for each in written.subgraphs[0].operators)
    # Three comparisons for an index below zero, and a table kept once and read as int8.
    assert (names["GATHER"], names["LESS"], names["SELECT"]) == (1, 0, 0)
    units = HYPER_PARAMETERS[Architecture.SASREC]["units"]
    shapes = [list(each.shape) for each in written.subgraphs[0].tensors if each.shape is not None]
    assert shapes.count([CATALOGUE + 1, units]) == 1
