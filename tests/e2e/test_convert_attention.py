"""Users' attention layers of several heads as ONNX: the answers of Keras, in few operators."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.build.artifacts import Needs
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.build.convert.process import worker_environment
from edgepack.build.load import load_user_model
from edgepack.build.quality import measure_quality
from tests.e2e.small_models import specs

_STEPS = 12
#: Operators of an attention with its mask and its own dense layer; in Keras's own way of writing it
#: they are more than sixty.
_MOST = 30

_MAKE = """
import sys
from pathlib import Path
import keras
import numpy as np

layers, out, steps = keras.layers, Path(sys.argv[1]), int(sys.argv[2])
words = keras.Input((steps,), dtype="int32", name="words")
plain = layers.Embedding(50, 16)(words)
masked = layers.Embedding(50, 16, mask_zero=True)(words)
there = keras.ops.expand_dims(keras.ops.not_equal(words, 0), 1)
outputs = []
for number, (state, asking, dropout, given) in enumerate([
    (plain, plain, 0.0, {}),
    (plain, plain, 0.0, {"use_causal_mask": True}),
    (plain, plain, 0.2, {"use_causal_mask": True}),
    (plain, plain, 0.0, {"attention_mask": there}),
    (plain, plain[:, -1:, :], 0.0, {}),
    (masked, masked, 0.0, {}),
    (masked, masked, 0.0, {"use_causal_mask": True}),
    (masked, masked, 0.2, {"use_causal_mask": True}),
]):
    attention = layers.MultiHeadAttention(4, 4, value_dim=6, dropout=dropout)
    seen = attention(asking, state, **given)
    # Biases start at zero, and exporters leave a sum with zero out.
    rng = np.random.default_rng(number)
    attention.set_weights([
        each if each.dtype != np.float32 else rng.normal(0, 0.3, each.shape)
        for each in attention.get_weights()
    ])
    outputs.append(layers.Dense(3, name=f"y{number}")(layers.Flatten()(seen)))
keras.Model(words, outputs).save(out / "heads.keras")
"""
_ATTENTIONS = 8


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    words = np.random.default_rng(3).integers(1, 50, (30, _STEPS)).astype(np.int32)
    for row, empty in enumerate(np.random.default_rng(4).integers(0, _STEPS + 1, 30)):
        words[row, :empty] = 0
    words[0] = 0
    np.savez(out / "samples.npz", words=words)
    subprocess.run(
        [sys.executable, "-c", _MAKE, str(out), str(_STEPS)],
        env=worker_environment(),
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def test_attentions_of_several_heads_answer_as_in_keras_in_few_operators(
    models: Path, cache: Cache
) -> None:
    import onnx

    model = load_user_model(models / "heads.keras", models / "samples.npz", cache)
    in_rows = [(each, Needs(rows=True)) for each in specs("onnx-fp32")]
    for variant in convert_variants(model, specs("onnx-fp32"), cache, needing=in_rows):
        assert variant.failure is None, variant.failure
        assert variant.form == "native", variant.notes
        assert variant.takes_rows == variant.needs.rows, variant.fixed_because
        error = measure_quality(model, variant, cache).max_abs_err
        assert error is not None
        assert error < 1e-5
        assert variant.path is not None
        nodes = onnx.load(str(variant.path)).graph.node
        assert len(nodes) < _MOST * _ATTENTIONS
        # Every sum of Keras's over heads asks for shapes.
        assert not any(each.op_type in ("Shape", "Expand", "ReduceProd") for each in nodes)
        if variant.needs.rows:
            _check_rows(variant.path, models / "samples.npz")


def _check_rows(path: Path, samples: Path) -> None:
    """Rows of one call are answered as each alone, one that is all padding included."""
    import onnxruntime

    with np.load(samples) as archive:
        words = archive["words"][:9]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    together: Any = session.run(None, {"words": words})
    for row in range(len(words)):
        alone = session.run(None, {"words": words[row : row + 1]})
        for whole, single in zip(together, alone, strict=True):
            assert np.isfinite(whole).all()
            np.testing.assert_allclose(whole[row], single[0], atol=1e-5)


@pytest.mark.parametrize("name", ["onnx-fp16", "onnx-dynamic-int8", "onnx-static-int8"])
def test_int8_and_half_precision_of_attentions_stay_near_keras(
    models: Path, cache: Cache, name: str
) -> None:
    model = load_user_model(models / "heads.keras", models / "samples.npz", cache)
    (variant,) = convert_variants(model, specs(name), cache)
    assert variant.failure is None, variant.failure
    error = measure_quality(model, variant, cache).max_abs_err
    assert error is not None
    # Outputs spread over about 2.
    assert error < 0.1
