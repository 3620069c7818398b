"""Real conversions of small models: what the files hold, that they repeat, and what fails how."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.build.artifacts import ConvertedVariant, Gate, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.convert import Limits, convert_variants, reference_outputs
from edgepack.build.convert.process import start_worker, worker_environment
from edgepack.build.load import load_user_model
from edgepack.build.quality import check_gate, make_golden, measure_quality
from edgepack.formats.errors import ConfigError, ConversionError
from edgepack.formats.variants import ALL_VARIANTS, Format, VariantSpec, parse_variant_name
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


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    subprocess.run(
        [sys.executable, "-c", _MAKE, str(out), str(CATALOGUE), str(LENGTH)],
        env=worker_environment(),
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def _recommender(models: Path, architecture: str) -> TrainedModel:
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


def _specs(*names: str) -> list[VariantSpec]:
    return [parse_variant_name(name) for name in names]


def _by_name(variants: list[ConvertedVariant]) -> dict[str, ConvertedVariant]:
    for variant in variants:
        assert variant.failure is None, f"{variant.spec.name}: {variant.failure}"
    return {variant.spec.name: variant for variant in variants}


def _bytes(variant: ConvertedVariant) -> bytes:
    assert variant.path is not None
    return variant.path.read_bytes()


def _tflite(variant: ConvertedVariant) -> Any:
    from edgepack.build.convert.tflite_file import parse_tflite

    return parse_tflite(_bytes(variant))


def _operators(model: Any) -> Counter[str]:
    from edgepack.build.convert.tflite_file import operator_name

    return Counter(operator_name(model, each) for each in model.subgraphs[0].operators)


def _tables(model: Any) -> int:
    """How many constants of a TFLite file have the item table's shape."""
    graph = model.subgraphs[0]
    constants = [
        each
        for each in graph.tensors
        if model.buffers[each.buffer].data is not None and len(model.buffers[each.buffer].data)
    ]
    return sum(
        list(each.shape) == [CATALOGUE + 1, 64] for each in constants if each.shape is not None
    )


def test_every_variant_of_the_default_model_converts_and_answers_alike(
    models: Path, cache: Cache
) -> None:
    model = _recommender(models, "sasrec")
    variants = _by_name(convert_variants(model, ALL_VARIANTS, cache))
    for variant in variants.values():
        assert [(each.name, each.dtype, each.shape) for each in variant.inputs] == [
            ("history", "int32", (1, LENGTH))
        ]
        outputs = [(each.name, each.dtype, each.shape) for each in variant.outputs]
        graph_top_k = (1, TOP_K + LENGTH)
        assert outputs[0] == ("scores", "float32", graph_top_k)
        assert outputs[1] == ("items", "int32", graph_top_k)
        quality = measure_quality(model, variant, cache)
        # Random weights score everything alike, so top-1 is noise; most of ten still agree.
        assert quality.overlap is not None
        assert quality.overlap > 0.6, variant.spec.name
    exact = measure_quality(model, variants["tflite-fp32"], cache)
    assert check_gate(exact, model.gate) == []


def test_scores_descend_and_padding_never_comes_out(models: Path, cache: Cache) -> None:
    model = _recommender(models, "sasrec")
    with np.load(reference_outputs(model, cache)) as answers:
        scores, items = answers["out0"], answers["out1"]
    assert scores.shape == items.shape == (60, TOP_K + LENGTH)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert items.min() >= 1
    assert items.max() <= CATALOGUE
    golden = make_golden(
        model, convert_variants(model, _specs("tflite-static-int8"), cache)[0], cache
    )
    assert len(golden.sequences) == 16
    assert all(len(each.items) == TOP_K for each in golden.sequences)


def test_a_tied_table_is_kept_once_and_static_scores_are_float(models: Path, cache: Cache) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from edgepack.build.convert.tflite_file import operator_name

    model = _recommender(models, "sasrec")
    names = ("tflite-fp32", "tflite-dynamic-int8-per-tensor", "tflite-static-int8")
    variants = _by_name(convert_variants(model, _specs(*names), cache))
    for name in names:
        assert _tables(_tflite(variants[name])) == 1, name
    static = _tflite(variants["tflite-static-int8"])
    graph = static.subgraphs[0]
    gather = next(op for op in graph.operators if operator_name(static, op) == "GATHER")
    product = [op for op in graph.operators if operator_name(static, op) == "FULLY_CONNECTED"][-1]
    assert product.inputs[1] == gather.inputs[0]
    assert graph.tensors[product.inputs[0]].type == schema.TensorType.FLOAT32
    assert graph.tensors[product.inputs[1]].type == schema.TensorType.INT8
    assert graph.tensors[product.outputs[0]].type == schema.TensorType.FLOAT32
    integer_inputs = [
        op
        for op in graph.operators
        if operator_name(static, op) == "FULLY_CONNECTED"
        and graph.tensors[op.inputs[0]].type == schema.TensorType.INT8
    ]
    assert len(integer_inputs) >= 6
    # No product but the scoring one quantises its input anew at each call.
    assert static.operatorCodes[product.opcodeIndex].version == 9


def test_no_tflite_file_needs_operators_of_tensorflow(models: Path, cache: Cache) -> None:
    model = _recommender(models, "sasrec")
    for variant in convert_variants(
        model, [spec for spec in ALL_VARIANTS if spec.format is Format.TFLITE], cache
    ):
        assert not any(code.customCode for code in _tflite(variant).operatorCodes)


def test_the_same_model_gives_the_same_bytes_again(
    models: Path, cache: Cache, tmp_path: Path
) -> None:
    model = _recommender(models, "gru4rec")
    specs = _specs("tflite-static-int8", "tflite-dynamic-int8", "onnx-static-int8", "onnx-fp16")
    once = convert_variants(model, specs, cache)
    again = convert_variants(model, specs, Cache(tmp_path / "other"))
    assert [each.sha256 for each in again] == [each.sha256 for each in once]
    assert all(each.sha256 for each in once)


def test_a_finished_variant_comes_from_the_cache(models: Path, cache: Cache) -> None:
    model = _recommender(models, "gru4rec")
    specs = _specs("tflite-dynamic-int8", "onnx-fp32")
    before = convert_variants(model, specs, cache)

    def never(*_: object) -> Any:
        raise AssertionError("a process was started")

    after = convert_variants(model, specs, cache, runner=never)
    assert [each.sha256 for each in after] == [each.sha256 for each in before]
    assert [each.elapsed_s for each in after] == [0.0, 0.0]


@pytest.mark.parametrize("architecture", ["gru4rec", "bilstm"])
def test_static_int8_of_a_recurrent_model_comes_out_of_the_unrolled_form(
    models: Path, cache: Cache, architecture: str
) -> None:
    model = _recommender(models, architecture)
    variant = _by_name(convert_variants(model, _specs("tflite-static-int8"), cache))[
        "tflite-static-int8"
    ]
    assert variant.notes.startswith("unrolled")
    operators = _operators(_tflite(variant))
    assert "WHILE" not in operators
    assert operators["FULLY_CONNECTED"] > LENGTH
    quality = measure_quality(model, variant, cache)
    assert quality.overlap is not None
    assert quality.overlap > 0.6


@pytest.mark.parametrize(
    ("architecture", "operator"), [("gru4rec", "GRU"), ("bilstm", "LSTM"), ("sasrec", "Layer")]
)
def test_onnx_has_one_node_for_a_layer_onnx_knows(
    models: Path, cache: Cache, architecture: str, operator: str
) -> None:
    import onnx

    model = _recommender(models, architecture)
    variant = _by_name(convert_variants(model, _specs("onnx-fp32"), cache))["onnx-fp32"]
    found = Counter(node.op_type for node in onnx.load_from_string(_bytes(variant)).graph.node)
    assert "Loop" not in found
    assert sum(count for name, count in found.items() if name.startswith(operator)) >= 1
    quality = measure_quality(model, variant, cache)
    assert quality.overlap == 1.0


def test_onnx_int8_keeps_the_item_table_once(models: Path, cache: Cache) -> None:
    import onnx

    model = _recommender(models, "sasrec")
    variant = _by_name(convert_variants(model, _specs("onnx-dynamic-int8"), cache))
    graph = onnx.load_from_string(_bytes(variant["onnx-dynamic-int8"])).graph
    shapes = [sorted(each.dims) for each in graph.initializer]
    assert shapes.count([64, CATALOGUE + 1]) == 1


def _samples(tmp_path: Path, **shapes: tuple[int, ...]) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path / "samples.npz"
    arrays: dict[str, Any] = {
        name: rng.integers(1, 50, (30, *shape)).astype(np.int32)
        if name == "words"
        else rng.uniform(-1, 1, (30, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("file", ["classifier.keras", "masked.keras"])
def test_a_users_textbook_classifier_gets_int8_variants_that_keep_its_answers(
    models: Path, cache: Cache, tmp_path: Path, file: str
) -> None:
    model = load_user_model(models / file, _samples(tmp_path, words=(12,)), cache)
    names = (
        *("tflite-fp32", "tflite-dynamic-int8", "tflite-static-int8"),
        *("onnx-fp32", "onnx-dynamic-int8", "onnx-static-int8"),
    )
    variants = _by_name(convert_variants(model, _specs(*names), cache))
    for name, variant in variants.items():
        assert [each.name for each in variant.inputs] == ["words"]
        quality = measure_quality(model, variant, cache)
        assert quality.max_abs_err is not None
        # Untrained classes lie at 1/6; a wrong graph would be off by more than this.
        assert quality.max_abs_err < (1e-5 if name.endswith("fp32") else 0.01), name


def test_two_inputs_and_two_outputs_keep_their_names_and_order(
    models: Path, cache: Cache, tmp_path: Path
) -> None:
    samples = _samples(tmp_path, picture=(12, 12, 3), extra=(4,))
    model = load_user_model(models / "cnn.keras", samples, cache)
    variants = _by_name(
        convert_variants(
            model, _specs("tflite-fp32", "tflite-static-int8", "onnx-static-int8"), cache
        )
    )
    for name, variant in variants.items():
        assert [each.name for each in variant.inputs] == ["picture", "extra"], name
        assert [each.shape for each in variant.outputs] == [(1, 5), (1, 1)], name
        quality = measure_quality(model, variant, cache)
        assert quality.max_abs_err is not None
        assert quality.max_abs_err < (1e-5 if name.endswith("fp32") else 0.1), name


@pytest.mark.parametrize(("file", "shape"), [("classifier.h5", "words"), ("saved", "x")])
def test_h5_and_saved_models_convert(
    models: Path, cache: Cache, tmp_path: Path, file: str, shape: str
) -> None:
    samples = _samples(tmp_path, **{shape: (12,) if shape == "words" else (4,)})
    model = load_user_model(models / file, samples, cache)
    variants = _by_name(convert_variants(model, _specs("tflite-fp32", "onnx-fp32"), cache))
    for variant in variants.values():
        quality = measure_quality(model, variant, cache)
        assert quality.max_abs_err is not None
        assert quality.max_abs_err < 1e-5


def _user_onnx(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(4, 16)), rng.normal(size=(16, 3))]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w0"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "w1"], ["y"]),
        ],
        "user",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(each.astype(np.float32), f"w{i}")
            for i, each in enumerate(weights)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_a_users_onnx_file_has_onnx_variants_and_says_why_no_other(
    cache: Cache, tmp_path: Path
) -> None:
    model = load_user_model(_user_onnx(tmp_path / "m.onnx"), _samples(tmp_path, x=(4,)), cache)
    for variant in convert_variants(model, ALL_VARIANTS, cache):
        if variant.spec.format is Format.TFLITE:
            assert variant.failure is not None
            assert "cannot become TFLite" in variant.failure
            continue
        assert variant.failure is None
        assert variant.inputs[0].shape == (1, 4)
        quality = measure_quality(model, variant, cache)
        assert quality.max_abs_err is not None
        # Weights of 1 and 16 terms: 8 bits leave about a hundredth of the output's range of 10.
        assert quality.max_abs_err < (1e-5 if variant.spec.precision == "fp32" else 0.5)


def test_an_operator_tflite_lacks_is_named(models: Path, cache: Cache, tmp_path: Path) -> None:
    model = load_user_model(models / "odd", _samples(tmp_path, x=(4,)), cache)
    variant = convert_variants(model, _specs("tflite-fp32"), cache)[0]
    assert variant.path is None
    assert variant.failure is not None
    assert "Erfinv" in variant.failure


def test_a_damaged_model_file_is_refused_with_its_name(
    models: Path, cache: Cache, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.keras"
    broken.write_bytes((models / "sasrec.keras").read_bytes()[:2000])
    with pytest.raises((ConversionError, ConfigError), match=r"broken\.keras"):
        load_user_model(broken, _samples(tmp_path, x=(4,)), cache)


def test_a_conversion_past_its_time_is_a_row_and_is_tried_again(
    models: Path, tmp_path: Path
) -> None:
    model = _recommender(models, "sasrec")
    own = Cache(tmp_path / "cache")
    variant = convert_variants(model, _specs("onnx-fp32"), own, limits=Limits(timeout_s=0.5))[0]
    assert variant.failure is not None
    assert "time limit" in variant.failure
    again = convert_variants(model, _specs("onnx-fp32"), own)[0]
    assert again.failure is None


def test_a_worker_that_dies_of_a_signal_is_named(models: Path, tmp_path: Path) -> None:
    model = _recommender(models, "sasrec")

    def crash(job: Any, limits: Limits) -> Any:
        if job.spec is None:
            return start_worker(job, limits)
        from edgepack.build.process import run_limited

        return run_limited(["sh", "-c", "kill -SEGV $$"], timeout_s=10, env=dict(os.environ))

    variant = convert_variants(
        model, _specs("tflite-fp32"), Cache(tmp_path / "cache"), runner=crash
    )[0]
    assert variant.failure == "converter crashed with SIGSEGV"


_INTERRUPTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.e2e.test_convert import _recommender
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.formats.variants import ALL_VARIANTS
model = _recommender(Path(sys.argv[2]), "sasrec")
print("ready", flush=True)
convert_variants(model, ALL_VARIANTS, Cache(Path(sys.argv[3])))
"""


def test_an_interrupt_ends_every_process_and_leaves_nothing_half_written(
    models: Path, tmp_path: Path, repository: Path
) -> None:
    import psutil

    root = tmp_path / "cache"
    _recommender(models, "sasrec")
    child = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, str(repository), str(models), str(root)],
        env=worker_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        workers = _wait_for_children(child.pid)
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        child.wait(timeout=30)
        # Starting TensorFlow alone takes longer, so nobody waited for a worker.
        assert time.monotonic() - started < 5
    finally:
        child.kill()
        child.wait()
        child.stdout.close()  # type: ignore[union-attr]
    assert child.returncode != 0
    assert not any(psutil.pid_exists(pid) for pid in workers)
    assert not list((root / "tmp").iterdir())
    assert not list(root.glob("variant/*"))


def _wait_for_children(pid: int) -> list[int]:
    import psutil

    for _ in range(200):
        found = [each.pid for each in psutil.Process(pid).children()]
        if found:
            time.sleep(1)
            return [each.pid for each in psutil.Process(pid).children()]
        time.sleep(0.05)
    raise AssertionError("no worker was started")
