"""Trains the benchmark's three models on a made-up log, and asks others for their files.

    python -m benchmarks.variants.making FOLDER

Each process it starts does one thing, since TensorFlow's settings are a process's own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ITEMS, LENGTH, FOLLOWERS, CLASSES = 10_000, 20, 8, 10
MODELS = ("bilstm", "gru4rec", "session")
_BATCH = 256
_ROWS = {"train": 60_000, "histories": 1_500, "calibration": 500}

Array = npt.NDArray[np.int32]


def walks(rng: np.random.Generator, followers: Array, rows: int) -> tuple[Array, Array]:
    """Makes histories int32[rows, LENGTH], left-padded with 0, and what came next int32[rows].

    Args:
        rng: Where chance comes from.
        followers: int32[ITEMS + 1, FOLLOWERS], what is likely to follow each item.
        rows: How many.
    """
    walk = np.zeros((rows, LENGTH + 1), dtype=np.int32)
    walk[:, 0] = np.minimum(rng.zipf(1.2, rows), ITEMS)
    for step in range(1, LENGTH + 1):
        which = np.minimum(rng.geometric(0.35, rows) - 1, FOLLOWERS - 1)
        follows = followers[walk[:, step - 1], which]
        jumps = rng.integers(1, ITEMS + 1, rows)
        walk[:, step] = np.where(rng.random(rows) < 0.1, jumps, follows)
    histories = walk[:, :LENGTH].copy()
    for row, kept in enumerate(rng.integers(2, LENGTH + 1, rows)):
        histories[row, : LENGTH - kept] = 0
    return histories, walk[:, LENGTH]


def train(folder: Path) -> None:
    """Writes `samples.npz` and `<model>.keras` of every model.

    `bilstm` is the textbook classifier, Embedding, Bidirectional(LSTM(64)), Dense(10); the
    other two rank the catalogue.
    """
    import keras

    from edgepack.build.models.ranker import Architecture, build_ranker

    rng = np.random.default_rng(7)
    followers = rng.integers(1, ITEMS + 1, (ITEMS + 1, FOLLOWERS), dtype=np.int32)
    made = {name: walks(rng, followers, rows) for name, rows in _ROWS.items()}
    histories, targets = made["train"]
    np.savez(
        folder / "samples.npz",
        histories=made["histories"][0],
        calibration=made["calibration"][0],
    )
    layers = keras.layers
    for name, architecture, given in (
        ("session", Architecture.SASREC, {"units": 64, "blocks": 2, "dropout": 0.1}),
        ("gru4rec", Architecture.GRU4REC, {"units": 64, "dropout": 0.1}),
    ):
        keras.utils.set_random_seed(1)
        ranker = build_ranker(architecture, given, catalogue=ITEMS, sequence_length=LENGTH)
        model = ranker.inference
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(5e-3), loss)
        model.fit(histories, targets, batch_size=_BATCH, epochs=2, verbose=2)
        model.save(folder / f"{name}.keras")
    keras.utils.set_random_seed(1)
    classifier: Any = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32", name="history"),
            layers.Embedding(ITEMS + 1, 128),
            layers.Bidirectional(layers.LSTM(64)),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    classifier.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    classes = histories[:, -1] % CLASSES
    classifier.fit(histories, classes, batch_size=_BATCH, epochs=1, verbose=2)
    classifier.save(folder / "bilstm.keras")


def export(folder: Path) -> None:
    """Writes `<model>.exported.onnx` as Keras exports it, and plain dynamic LiteRT int8.

    These are the starting point of whoever converts by hand: scores of all items, no top-k.
    """
    import keras
    import onnx
    import tensorflow as tf
    from onnxruntime.quantization import QuantType, quantize_dynamic

    import edgepack.build.models.layers  # noqa: F401 - registers the layers

    for name in MODELS:
        model = keras.saving.load_model(folder / f"{name}.keras", compile=False)
        if name == "gru4rec":
            # As a loop it cannot be quantised.
            for layer in model.layers:
                layer.unroll = True
        whole = folder / f"{name}.exported.onnx"
        shape = [keras.InputSpec(shape=(1, LENGTH), dtype="int32", name="history")]
        # With a fixed batch the exporter leaves an LSTM a loop, which no quantiser can see into.
        free = [keras.InputSpec(shape=(None, LENGTH), dtype="int32", name="history")]
        rnn = name == "bilstm"
        model.export(whole, format="onnx", verbose=False, input_signature=free if rnn else shape)
        onnx.checker.check_model(str(whole))
        plain = folder / f"{name}.ort-dynamic.onnx"
        quantize_dynamic(whole, plain, weight_type=QuantType.QUInt8)
        saved = folder / f"{name}.saved"
        model.export(saved, verbose=False, input_signature=shape)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        (folder / f"{name}.litert-dynamic.tflite").write_bytes(converter.convert())


def convert(folder: Path, cache: Path) -> None:
    """Writes every variant of edgepack's as `<model>.<variant>`."""
    import hashlib
    import shutil

    from edgepack.build.artifacts import Gate, TrainedModel
    from edgepack.build.cache import Cache
    from edgepack.build.convert import convert_variants
    from edgepack.formats.variants import ALL_VARIANTS

    for name in MODELS:
        ranks = name != "bilstm"
        path, samples = folder / f"{name}.keras", folder / "samples.npz"
        if not ranks:
            samples = folder / "bilstm.npz"
            with np.load(folder / "samples.npz") as archive:
                np.savez(samples, history=archive["histories"])
        model = TrainedModel(
            name=name,
            version="1",
            kind="recommender" if ranks else "tensor",
            architecture="unknown",
            directory=folder,
            model_path=path,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            samples_path=samples,
            samples_sha256=hashlib.sha256(samples.read_bytes()).hexdigest(),
            gate=Gate(),
            graph_top_k=20 if ranks else None,
        )
        for each in convert_variants(model, ALL_VARIANTS, Cache(cache)):
            if each.path is None:
                print(f"{name}: {each.spec.name}: {each.failure}", file=sys.stderr)
            else:
                shutil.copyfile(each.path, folder / f"{name}.{each.spec.file_name}")


def olive(folder: Path, program: Path) -> None:
    """Writes Olive's `auto-opt` int8 of the exported files as `<model>.olive.onnx`.

    Args:
        folder: Where the exported files are.
        program: The command `olive` of an environment with `olive-ai==0.13.0`.
    """
    folder, program = folder.absolute(), program.absolute()
    for name in MODELS:
        out = folder / f"{name}.olive"
        command = [program, "auto-opt", "--model_name_or_path", folder / f"{name}.exported.onnx"]
        command += ["--device", "cpu", "--provider", "CPUExecutionProvider", "--precision", "int8"]
        command += ["--disable_telemetry"]
        # Olive leaves a cache of megabytes in the folder it is started in.
        subprocess.run([*map(str, command), "--output_path", str(out)], check=True, cwd=folder)
        made = max(out.rglob("*.onnx"), key=lambda each: each.stat().st_mtime)
        (folder / f"{name}.olive.onnx").write_bytes(made.read_bytes())


def main() -> int:
    """Makes what is missing, each step in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--olive", type=Path, help="the command `olive` of its own environment")
    parser.add_argument("--step", choices=("train", "export", "convert", "olive"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.step == "train":
        train(given.folder)
    elif given.step == "export":
        export(given.folder)
    elif given.step == "convert":
        convert(given.folder, given.folder / "cache")
    elif given.step == "olive":
        olive(given.folder, given.olive)
    else:
        steps = ["train", "export", "convert", *(["olive"] if given.olive else [])]
        for step in steps:
            command = [sys.executable, "-m", "benchmarks.variants.making", str(given.folder)]
            extra = ["--olive", str(given.olive)] if given.olive else []
            subprocess.run([*command, "--step", step, *extra], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
