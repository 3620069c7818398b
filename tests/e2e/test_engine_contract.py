"""One suite for every engine, on real files in the real runtimes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgepack.formats.errors import DeviceError
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines import Engine, open_engine
from edgepack.runner.predict import main as predict
from edgepack.runner.recommender import find_outputs
from tests.e2e.real_models import GRAPH_TOP_K, LENGTH, embeddings, make_onnx, make_tflite

#: tflite-runtime wants numpy 1, so it lives in sites of its own; see the last test.
_HERE = (RuntimeName.LITERT, RuntimeName.ONNXRUNTIME, RuntimeName.ONNXRUNTIME_GPU)
_REPOSITORY = Path(__file__).resolve().parents[2]
#: What the target `arm64-tiny` pins as well.
_SITE = ("tflite-runtime==2.14.0", "numpy==1.26.4")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("models")
    return {"tflite": make_tflite(directory), "onnx": make_onnx(directory)}


def _model_of(models: dict[str, Path], runtime: RuntimeName) -> Path:
    onnx = runtime in (RuntimeName.ONNXRUNTIME, RuntimeName.ONNXRUNTIME_GPU)
    return models["onnx" if onnx else "tflite"]


@pytest.fixture(params=_HERE)
def runtime(request: pytest.FixtureRequest) -> RuntimeName:
    chosen: RuntimeName = request.param
    return chosen


@pytest.fixture
def engine(runtime: RuntimeName, models: dict[str, Path]) -> Iterator[Engine]:
    opened = open_engine(runtime, _model_of(models, runtime))
    yield opened
    opened.close()


def _history(*items: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.array([[0] * (LENGTH - len(items)) + list(items)], np.int32)


def _spoil_text(_: Path, bad: Path) -> None:
    bad.write_text("not a model")


def _spoil_empty(_: Path, bad: Path) -> None:
    bad.write_bytes(b"")


def _spoil_half(good: Path, bad: Path) -> None:
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


@pytest.mark.parametrize("spoil", [_spoil_text, _spoil_empty, _spoil_half])
def test_a_file_that_is_no_model_is_a_device_error(
    runtime: RuntimeName,
    models: dict[str, Path],
    tmp_path: Path,
    spoil: Callable[[Path, Path], None],
) -> None:
    good = _model_of(models, runtime)
    bad = tmp_path / f"bad{good.suffix}"
    spoil(good, bad)
    # ONNX Runtime takes an empty file for an empty graph, which then has no answers to give.
    with pytest.raises(DeviceError):
        open_engine(runtime, bad).run([_history(1)])


def test_inputs_that_do_not_fit_are_device_errors(engine: Engine) -> None:
    for inputs in ([], [_history(1).astype(np.int64)], [_history(1)[:, :5]], [_history(1)] * 2):
        with pytest.raises(DeviceError):
            engine.run(inputs)


def test_a_closed_engine_does_not_run(engine: Engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(DeviceError, match="closed"):
        engine.run([_history(1)])


def test_inputs_and_outputs_are_described(engine: Engine) -> None:
    (history,) = engine.inputs
    assert (history.dtype, history.shape) == ("int32", (1, LENGTH))
    assert {spec.dtype for spec in engine.outputs} == {"float32", "int32"}
    assert all(spec.shape == (1, GRAPH_TOP_K) for spec in engine.outputs)
    assert engine.version[0].isdigit()
    assert engine.threads == 1


def test_every_engine_ranks_as_the_mathematics_say(engine: Engine) -> None:
    scores_at, items_at = find_outputs(engine.outputs)
    outputs = engine.run([_history(3, 77, 150)])
    table = embeddings()
    expected = table[[3, 77, 150]].mean(axis=0) @ table[1:].T
    best = np.argsort(-expected)[:GRAPH_TOP_K]
    # float32 sums in another order: 1e-5 of scores around 10.
    np.testing.assert_allclose(outputs[scores_at][0], expected[best], rtol=1e-5, atol=1e-5)
    assert outputs[items_at][0].tolist() == (best + 1).tolist()


def test_answers_belong_to_the_caller(engine: Engine) -> None:
    first = engine.run([_history(3)])
    kept = [array.copy() for array in first]
    engine.run([_history(90)])
    for before, after in zip(kept, first, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_gpu_engine_says_that_the_cpu_computes_where_there_is_no_gpu(
    models: dict[str, Path],
) -> None:
    import onnxruntime

    engine = open_engine(RuntimeName.ONNXRUNTIME_GPU, models["onnx"])
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert engine.provider == "CPUExecutionProvider"
    assert engine.provider in onnxruntime.get_available_providers()
    assert engine.name == "onnxruntime-gpu"


def test_predict_writes_one_array_for_each_output(
    runtime: RuntimeName, models: dict[str, Path], tmp_path: Path
) -> None:
    rows = np.concatenate([_history(3), _history(3, 77), _history(150)])
    np.savez(tmp_path / "in.npz", arg0=rows)
    model = str(_model_of(models, runtime))
    arguments = ["--runtime", runtime.value, "--model", model]
    arguments += ["--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz")]
    assert predict(arguments) == 0
    with np.load(tmp_path / "out.npz") as outputs:
        assert sorted(outputs.files) == ["out0", "out1"]
        assert outputs["out0"].shape == outputs["out1"].shape == (3, GRAPH_TOP_K)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime has no wheels beyond 3.11")
def test_tflite_runtime_ranks_as_litert_does_in_a_site_of_its_own(
    models: dict[str, Path], tmp_path: Path
) -> None:
    import uv

    site, inputs = tmp_path / "site", tmp_path / "in.npz"
    install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--only-binary", ":all:"]
    subprocess.run(
        [*install, "--python", sys.executable, "--target", str(site), *_SITE],
        check=True,
        timeout=300,
    )
    np.savez(inputs, history=np.concatenate([_history(3), _history(3, 77, 150)]))
    named = {"model": models["tflite"], "inputs": inputs}
    arguments = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    mine, theirs = tmp_path / "litert.npz", tmp_path / "tflite.npz"
    assert predict([*arguments, "--runtime", "litert", "--outputs", str(mine)]) == 0
    # Isolated and without site packages: only the two wheels and the checkout can be imported.
    start = f"import sys; sys.path[:0] = [{str(site)!r}, {str(_REPOSITORY)!r}]; "
    start += "from edgepack.runner.predict import main; sys.exit(main(sys.argv[1:]))"
    tflite = ["--runtime", "tflite-runtime", "--outputs", str(theirs)]
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, *arguments, *tflite],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    with np.load(mine) as expected, np.load(theirs) as found:
        for name in ("out0", "out1"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
