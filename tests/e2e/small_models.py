"""Small models of every kind, written once, for the tests that convert them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from edgepack.build.artifacts import ConvertedVariant, Gate, TrainedModel
from edgepack.build.convert.process import worker_environment
from edgepack.formats.variants import VariantSpec, parse_variant_name
from edgepack.formats.vocabulary import Vocabulary

CATALOGUE, LENGTH, TOP_K = 120, 8, 10

#: Writes every model the tests convert; one start of TensorFlow for all of them.
_MAKE = """
import sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf
from edgepack.build.models.ranker import HYPER_PARAMETERS, Architecture, build_ranker

out, catalogue, length = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
keras.utils.set_random_seed(7)
for each in Architecture:
    ranker = build_ranker(
        each, HYPER_PARAMETERS[each], catalogue=catalogue, sequence_length=length
    )
    ranker.finish().save(out / f"{each}.keras")

layers = keras.layers
def classifier(masked):
    return keras.Sequential([
        keras.Input((12,), dtype="int32", name="words"),
        layers.Embedding(50, 16, mask_zero=masked),
        layers.Bidirectional(layers.LSTM(16)),
        layers.Dense(6, activation="softmax", name="classes"),
    ])
classifier(False).save(out / "classifier.keras")
classifier(True).save(out / "masked.keras")
classifier(False).save(out / "classifier.h5")

picture = keras.Input((12, 12, 3), name="picture")
extra = keras.Input((4,), name="extra")
x = layers.Conv2D(8, 3, activation="relu")(picture)
x = layers.MaxPooling2D()(x)
x = layers.Flatten()(x)
x = layers.Concatenate()([x, extra])
x = layers.Dense(16, activation="relu")(x)
first = layers.Dense(5, name="first")(x)
second = layers.Dense(1, activation="sigmoid", name="second")(x)
cnn = keras.Model([picture, extra], [first, second])
cnn.save(out / "cnn.keras")

dense = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(8, "tanh"), layers.Dense(2)])
dense.export(out / "saved", verbose=False)

class Erfinv(keras.layers.Layer):
    def call(self, x):
        return tf.math.erfinv(x)
@tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
def odd(x):
    return {"y": tf.math.erfinv(x)}
module = tf.Module()
module.odd = odd
tf.saved_model.save(module, str(out / "odd"), signatures={"serving_default": odd})
"""


def make_models(out: Path) -> Path:
    """Writes every model into a folder and returns it."""
    subprocess.run(
        [sys.executable, "-c", _MAKE, str(out), str(CATALOGUE), str(LENGTH)],
        env=worker_environment(),
        check=True,
        capture_output=True,
    )
    return out


def recommender(models: Path, architecture: str) -> TrainedModel:
    folder = models / f"{architecture}-project"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    histories = rng.integers(1, CATALOGUE + 1, (60, LENGTH), dtype=np.int32)
    for row, empty in enumerate(rng.integers(0, LENGTH, 60)):
        histories[row, :empty] = 0
    samples = folder / "samples.npz"
    np.savez(
        samples,
        calibration=histories[:40],
        histories=histories,
        targets=rng.integers(1, CATALOGUE + 1, 60, dtype=np.int32),
        item_counts=np.arange(CATALOGUE + 1),
    )
    path = models / f"{architecture}.keras"
    return TrainedModel(
        name=architecture,
        version="1.0.0",
        kind="recommender",
        architecture=architecture,
        directory=models,
        model_path=path,
        sha256=_sha256(path),
        samples_path=samples,
        samples_sha256=_sha256(samples),
        gate=Gate(),
        sequence_length=LENGTH,
        top_k=TOP_K,
        graph_top_k=TOP_K + LENGTH,
        vocabulary=Vocabulary(tuple(f"sku-{i}" for i in range(CATALOGUE))),
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def specs(*names: str) -> list[VariantSpec]:
    return [parse_variant_name(name) for name in names]


def by_name(variants: list[ConvertedVariant]) -> dict[str, ConvertedVariant]:
    for variant in variants:
        assert variant.failure is None, f"{variant.spec.name}: {variant.failure}"
    return {variant.spec.name: variant for variant in variants}
