"""Recurrent layers: what is taken out of their steps, which form is chosen, what they answer."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgepack.build.artifacts import Gate, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.build.convert.process import worker_environment
from edgepack.build.quality import measure_quality
from tests.e2e.small_models import by_name, specs

STEPS = 20

#: Calls each layer as Keras has it, then with its inputs multiplied first, as a loop and unrolled.
_COMPARE = """
import json
import keras
import numpy as np
from edgepack.build.convert.recurrent import project_first, repeated_weights, rest_weights

layers = keras.layers
keras.utils.set_random_seed(3)
x = np.random.default_rng(4).normal(size=(2, 7, 5)).astype(np.float32)
found = {}
for name, layer in {
    "gru": layers.GRU(6),
    "gru, every step, backwards": layers.GRU(6, return_sequences=True, go_backwards=True),
    "gru, no bias": layers.GRU(6, use_bias=False),
    "gru, reset before": layers.GRU(6, reset_after=False),
    "gru, relu": layers.GRU(6, activation="relu", recurrent_activation="hard_sigmoid"),
    "lstm": layers.LSTM(6),
    "lstm, every step, backwards": layers.LSTM(6, return_sequences=True, go_backwards=True),
    "lstm, no bias": layers.LSTM(6, use_bias=False),
    "lstm, its states": layers.LSTM(6, return_state=True),
    "simple": layers.SimpleRNN(6),
}.items():
    layer(x)
    for weight in layer.weights:
        weight.assign(np.random.default_rng(5).normal(size=weight.shape))
    mask = np.arange(7)[None] < np.array([[7], [3]])
    calls = [lambda: layer(x), lambda: layer(x, mask=mask)]
    before = [keras.tree.map_structure(np.asarray, call()) for call in calls]
    changed = project_first([layer])
    errors = []
    for unroll in (False, True):
        layer.unroll = unroll
        after = [keras.tree.map_structure(np.asarray, call()) for call in calls]
        pairs = zip(keras.tree.flatten(before), keras.tree.flatten(after), strict=True)
        errors += [float(np.abs(one - two).max()) for one, two in pairs]
    found[name] = [changed, repeated_weights([layer]), max(errors)]
table = keras.Sequential(
    [keras.Input((7,)), layers.Embedding(50, 5), layers.GRU(6), layers.Dense(2)]
)
project_first(table.layers)
found["rest"] = rest_weights(table.layers)
print(json.dumps(found))
"""

#: The textbook classifier of 10,000 words, with weights as large as training makes them.
_TEXTBOOK = """
import sys
import keras
layers = keras.layers
keras.utils.set_random_seed(7)
model = keras.Sequential([
    keras.Input((20,), dtype="int32", name="words"),
    layers.Embedding(10_000, 128, embeddings_initializer=keras.initializers.RandomNormal(0, 0.5)),
    layers.Bidirectional(layers.LSTM(64)),
    layers.Dense(10, activation="softmax", name="classes"),
])
model.save(sys.argv[1])
"""


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=worker_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_inputs_multiplied_first_give_the_same_states() -> None:
    found = json.loads(_run(_COMPARE).splitlines()[-1])
    # A GRU's kernel and bias and the classes; of the table only rows are read.
    assert found.pop("rest") == 5 * 18 + 2 * 18 + 6 * 2 + 2
    # Sums of a dozen float32 products in another order, over seven steps.
    assert {name: error for name, (_, _, error) in found.items() if error > 1e-5} == {}
    left = {name for name, (changed, _, _) in found.items() if not changed}
    assert left == {"gru, reset before", "simple"}
    # The recurrent kernel alone, or all of a layer that is left as it was.
    assert [found[name][1] for name in ("gru", "lstm", "simple")] == [108, 144, 72]


@pytest.fixture(scope="module")
def textbook(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp("textbook")
    path, samples = folder / "bilstm.keras", folder / "samples.npz"
    _run(_TEXTBOOK, str(path))
    words = np.random.default_rng(8).integers(0, 10_000, (40, STEPS), dtype=np.int32)
    np.savez(samples, words=words)
    return TrainedModel(
        name="bilstm",
        version="1",
        kind="tensor",
        architecture="unknown",
        directory=folder,
        model_path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        samples_path=samples,
        samples_sha256=hashlib.sha256(samples.read_bytes()).hexdigest(),
        gate=Gate(),
    )


@pytest.mark.parametrize(
    ("name", "form"),
    [
        # Two directions of float copies do not stay in a core's cache; of 8-bit ones they do.
        ("tflite-fp32", "rolled"),
        ("tflite-dynamic-int8", "unrolled"),
        ("tflite-static-int8", "unrolled"),
    ],
)
def test_the_textbook_classifier_has_the_form_that_was_measured_best(
    textbook: TrainedModel, tmp_path: Path, name: str, form: str
) -> None:
    from edgepack.build.convert.tflite_file import operator_name, parse_tflite

    cache = Cache(tmp_path / "cache")
    variant = by_name(convert_variants(textbook, specs(name), cache))[name]
    assert variant.form == form
    assert variant.path is not None
    model = parse_tflite(variant.path.read_bytes())
    count = Counter(operator_name(model, each) for each in model.subgraphs[0].operators)
    assert ("WHILE" in count) == (form == "rolled")
    if form == "unrolled":
        # One for each step behind the first and direction, all inputs of each, and the classes.
        assert count["FULLY_CONNECTED"] == 2 * (STEPS - 1) + 2 + 1
    quality = measure_quality(textbook, variant, cache)
    assert quality.max_abs_err is not None
    assert quality.max_abs_err < (1e-5 if name == "tflite-fp32" else 0.02)
