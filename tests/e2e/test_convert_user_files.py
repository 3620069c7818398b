"""Users' own model files, and conversions that fail, hang, crash or are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.build.cache import Cache
from edgepack.build.convert import Limits, convert_variants
from edgepack.build.convert.process import start_worker, worker_environment
from edgepack.build.load import load_user_model
from edgepack.build.quality import measure_quality
from edgepack.formats.errors import ConfigError, ConversionError
from edgepack.formats.variants import ALL_VARIANTS, Format
from tests.e2e.small_models import (
    by_name,
    make_models,
    recommender,
    specs,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


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
    variants = by_name(convert_variants(model, specs(*names), cache))
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
    variants = by_name(
        convert_variants(
            model, specs("tflite-fp32", "tflite-static-int8", "onnx-static-int8"), cache
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
    variants = by_name(convert_variants(model, specs("tflite-fp32", "onnx-fp32"), cache))
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
    variant = convert_variants(model, specs("tflite-fp32"), cache)[0]
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
    model = recommender(models, "sasrec")
    own = Cache(tmp_path / "cache")
    variant = convert_variants(model, specs("onnx-fp32"), own, limits=Limits(timeout_s=0.5))[0]
    assert variant.failure is not None
    assert "time limit" in variant.failure
    again = convert_variants(model, specs("onnx-fp32"), own)[0]
    assert again.failure is None


def test_a_worker_that_dies_of_a_signal_is_named(models: Path, tmp_path: Path) -> None:
    model = recommender(models, "sasrec")

    def crash(job: Any, limits: Limits) -> Any:
        if job.spec is None:
            return start_worker(job, limits)
        from edgepack.build.process import run_limited

        return run_limited(["sh", "-c", "kill -SEGV $$"], timeout_s=10, env=dict(os.environ))

    variant = convert_variants(
        model, specs("tflite-fp32"), Cache(tmp_path / "cache"), runner=crash
    )[0]
    assert variant.failure == "converter crashed with SIGSEGV"


_INTERRUPTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.e2e.small_models import recommender
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants
from edgepack.formats.variants import ALL_VARIANTS
model = recommender(Path(sys.argv[2]), "sasrec")
print("ready", flush=True)
convert_variants(model, ALL_VARIANTS, Cache(Path(sys.argv[3])))
"""


def test_an_interrupt_ends_every_process_and_leaves_nothing_half_written(
    models: Path, tmp_path: Path, repository: Path
) -> None:
    import psutil

    root = tmp_path / "cache"
    recommender(models, "sasrec")
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
        child.wait(timeout=30)
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
