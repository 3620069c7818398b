"""Builds beside the main job: the thin gpu bundle, a user's own target and model file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepack.build.targets import load_target
from tests.e2e.builds import ESHOP_COLUMNS, Cli, FullBuild
from tests.e2e.workshop import Workshop

_CLASSIFIER = """
import sys
import keras
keras.utils.set_random_seed(3)
model = keras.Sequential([
    keras.Input((12,), dtype="int32", name="words"),
    keras.layers.Embedding(50, 16),
    keras.layers.Bidirectional(keras.layers.LSTM(16)),
    keras.layers.Dense(6, activation="softmax"),
])
model.save(sys.argv[1])
"""


def test_a_gpu_bundle_is_thin_and_its_cpu_fallback_was_run(
    full_build: FullBuild, run_cli: Cli, test_data: Path, tmp_path: Path
) -> None:
    assert full_build.value["bundles"], "the variants come from this build's cache"
    log = test_data / "eshop_clothing" / "e-shop-clothing-2008.zip"
    built = run_cli(
        *("build", "--data", log, *ESHOP_COLUMNS, "--target", "gpu"),
        *("--out", tmp_path, "--json"),
    )
    assert built.status == 0, built.stderr
    (bundle,) = built.value["bundles"]
    assert bundle["bytes"] <= 16_000_000
    manifest = run_cli("inspect", bundle["path"], "--json").value["manifest"]
    (wheel,) = manifest["runtime"]["external"]
    assert wheel["name"] == "onnxruntime-gpu"
    assert len(wheel["sha256"]) == 64
    assert not [f for f in manifest["files"] if f["path"].startswith("site/onnxruntime/")]
    names = [candidate["variant"] for candidate in manifest["candidates"]]
    assert sorted(names) == ["onnx-fp16", "onnx-fp32", "onnx-static-int8"]
    for candidate in manifest["candidates"]:
        assert candidate["verification"]["status"] == "runs"
        # Its rows were proved to keep to themselves where it was run.
        assert candidate["max_batch"] == 64
        assert {spec["shape"][0] for spec in (*candidate["inputs"], *candidate["outputs"])} == {-1}


def test_a_target_that_asks_for_rows_gets_them_where_the_variant_has_them(
    workshop: Workshop, run_cli: Cli, tmp_path: Path
) -> None:
    shipped = load_target("cpu").path.read_text()
    own = re.sub(r"\[\[runtime\]\]\nname = .litert.*?(?=\[\[runtime)", "", shipped, flags=re.DOTALL)
    own = re.sub(r"allowed = \[.*?\]", "max_batch = 16", own, flags=re.DOTALL)
    (tmp_path / "shelf.toml").write_text(own.replace('name = "cpu"', 'name = "shelf"'))
    built = run_cli(
        *("build", "--model", "tiny", "--target", tmp_path / "shelf.toml"),
        *("--variant", "onnx-fp32", "--variant", "onnx-dynamic-int8", "--candidates", "2"),
        *("--out", tmp_path / "dist", "--json"),
        cwd=workshop.folder,
    )
    assert built.status == 0, built.stderr
    rows = {row["name"]: row for row in built.value["variants"]}
    assert "batch 1: it rounds by the whole call" in rows["onnx-dynamic-int8"]["reason"]
    assert "batch 1" not in rows["onnx-fp32"]["reason"]
    (bundle,) = built.value["bundles"]
    manifest = run_cli("inspect", bundle["path"], "--json").value["manifest"]
    found = {each["variant"]: each.get("max_batch", 1) for each in manifest["candidates"]}
    assert found == {"onnx-fp32": 16, "onnx-dynamic-int8": 1}


def test_a_runtime_that_dies_on_the_targets_cpu_gets_no_bundle(
    workshop: Workshop, run_cli: Cli, tmp_path: Path
) -> None:
    """This wheel installs on a Raspberry Pi 4 and dies there of SIGILL.

    Source: ONNX Runtime issues 23957 and 24112.
    """
    shipped = load_target("arm64").path.read_text()
    own = shipped.replace('name = "arm64"', 'name = "kiosk"')
    own = own.replace('version = "1.32.0"', 'version = "1.21.0"')
    assert own.count("kiosk") == own.count("1.21.0") == 1
    (tmp_path / "kiosk.toml").write_text(own)
    out = tmp_path / "dist"
    built = run_cli(
        *("build", "--model", "tiny", "--target", tmp_path / "kiosk.toml"),
        *("--variant", "onnx-fp32", "--out", out, "--json"),
        cwd=workshop.folder,
    )
    assert built.status == 8, built.stderr
    (row,) = built.value["variants"]
    assert (row["runtime"], row["verdict"]) == ("onnxruntime", "fails on target")
    for said in (row["reason"], built.stderr):
        assert "illegal instruction on cortex-a72" in said
        assert "onnxruntime 1.21.0" in said
    assert built.value["bundles"] == []
    assert list(built.value["failures"]) == ["kiosk"]
    assert not out.exists()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the textbook classifier, untrained, and sample inputs."""
    folder = tmp_path_factory.mktemp("classifier")
    path = folder / "Mood Words.keras"
    subprocess.run([sys.executable, "-c", _CLASSIFIER, path], check=True, capture_output=True)
    rng = np.random.default_rng(1)
    np.savez(folder / "samples.npz", words=rng.integers(0, 50, (200, 12), dtype=np.int32))
    return path


def test_a_users_own_keras_file_becomes_a_bundle_of_kind_tensor(
    classifier: Path, run_cli: Cli, tmp_path: Path
) -> None:
    built = run_cli(
        *("build", "--model", classifier, "--samples", classifier.parent / "samples.npz"),
        *("--target", "cpu", "--variant", "tflite-fp32", "--variant", "tflite-dynamic-int8"),
        *("--variant", "onnx-fp32", "--out", tmp_path, "--json"),
    )
    assert built.status == 0, built.stderr
    verdicts = {row["name"]: row["verdict"] for row in built.value["variants"]}
    assert verdicts["tflite-fp32"] in ("chosen", "passed")
    assert verdicts["onnx-fp32"] in ("chosen", "passed")
    (bundle,) = built.value["bundles"]
    assert Path(bundle["path"]).name.startswith("mood_words-")
    model = run_cli("inspect", bundle["path"], "--json").value["manifest"]["model"]
    assert model["kind"] == "tensor"
    assert model["vocabulary_sha256"] is None


def test_samples_that_do_not_fit_are_named_all_at_once(
    classifier: Path, run_cli: Cli, tmp_path: Path
) -> None:
    samples = tmp_path / "bad.npz"
    np.savez(samples, words=np.zeros((3, 5), np.float32), colour=np.zeros((2, 1)))
    done = run_cli(
        *("build", "--model", classifier, "--samples", samples, "--target", "cpu"),
        *("--out", tmp_path / "dist"),
    )
    assert done.status == 3, done.stderr
    for words in ("colour", "shape [5]", "float32", "same rows"):
        assert words in done.stderr
    assert not (tmp_path / "dist").exists()
