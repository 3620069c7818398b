"""Says what a Keras model's or SavedModel's inputs are: `python -m edgepack.build.load_worker`.

A program of its own, so that a file that crashes TensorFlow is a message and not the end.
Prints one JSON list as its last line.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(path: Path) -> None:
    """Prints name, dtype and shape of each input, batch first."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    inputs = _saved_model_inputs(path) if path.is_dir() else _keras_inputs(path)
    sys.stdout.write(json.dumps(inputs) + "\n")


def _keras_inputs(path: Path) -> list[dict[str, Any]]:
    import keras

    model = keras.saving.load_model(path, compile=False)
    return [_describe(each.name, str(each.dtype), each.shape) for each in model.inputs]


def _saved_model_inputs(path: Path) -> list[dict[str, Any]]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    if "serving_default" not in loaded.signatures:
        known = ", ".join(loaded.signatures) or "none"
        raise SystemExit(f"the SavedModel has no signature serving_default; it has {known}")
    _, inputs = loaded.signatures["serving_default"].structured_input_signature
    return [_describe(name, each.dtype.name, each.shape) for name, each in sorted(inputs.items())]


def _describe(name: str, dtype: str, shape: Any) -> dict[str, Any]:
    extents = [-1 if extent is None else int(extent) for extent in shape]
    return {"name": name, "dtype": dtype, "shape": extents}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
