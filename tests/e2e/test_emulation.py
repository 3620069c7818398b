"""The proof on the target, for real: Debian roots, QEMU as a Cortex-A72, real wheels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.build.emulate import (
    Bind,
    Root,
    Verification,
    VerifyStatus,
    make_root,
    run_in_root,
    verify_on_target,
)
from edgepack.build.targets import Runtime, Target, load_target, make_site
from edgepack.formats.variants import Format, runtime_format
from tests.e2e.doubling import lay_out, own_target, write_onnx, write_tflite


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    folder = tmp_path_factory.mktemp("models")
    found = {Format.ONNX: folder / "double.onnx", Format.TFLITE: folder / "double.tflite"}
    write_onnx(found[Format.ONNX])
    write_tflite(found[Format.TFLITE])
    return found


def _verify(
    target: Target,
    runtime: Runtime,
    root: Root | None,
    own_cache: Cache,
    model: Path,
    folder: Path,
    answer: float = 3.0,
) -> Verification:
    site = make_site(target, runtime, own_cache)
    variant = lay_out(folder, target, runtime, site.path, model, answer)
    return verify_on_target(target, runtime, folder, variant, root=root, cache=own_cache)


@pytest.mark.parametrize("name", ["litert", "onnxruntime"])
def test_both_candidates_of_arm64_run_as_a_cortex_a72(
    name: str, arm_root: Root, own_cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("arm64")
    runtime = target.runtime(name)
    model = models[runtime_format(runtime.name)]
    verdict = _verify(target, runtime, arm_root, own_cache, model, tmp_path)
    assert verdict.status is VerifyStatus.RUNS, verdict.reason
    assert (verdict.emulated, verdict.cpu) == (True, "cortex-a72")
    again = verify_on_target(
        target, runtime, tmp_path, f"{model.suffix[1:]}-fp32", root=arm_root, cache=own_cache
    )
    assert again.to_json() == verdict.to_json()
    assert again.elapsed_s == 0, "the verdict of the same bytes is kept"


def test_the_smallest_runtime_runs_as_a_cortex_a72(
    arm_root: Root, own_cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("arm64-tiny")
    runtime = target.runtime("tflite-runtime")
    verdict = _verify(target, runtime, arm_root, own_cache, models[Format.TFLITE], tmp_path)
    assert verdict.status is VerifyStatus.RUNS, verdict.reason


@pytest.mark.parametrize(
    ("name", "runtime_name", "module"),
    [
        ("arm64", "litert", "ai_edge_litert"),
        ("arm64-tiny", "tflite-runtime", "tflite_runtime"),
        ("cpu", "litert", "ai_edge_litert"),
    ],
)
def test_a_runtime_computes_in_the_root_by_the_kernels_that_it_uses_on_a_box(
    name: str, runtime_name: str, module: str, own_cache: Cache, models: dict[Format, Path]
) -> None:
    target = load_target(name)
    root = make_root(target, own_cache)
    site = make_site(target, target.runtime(runtime_name), own_cache)
    program = (
        f"import sys; sys.path.insert(0, '/mnt/site'); from {module} import interpreter; "
        "interpreter.Interpreter('/mnt/models/double.tflite').allocate_tensors()"
    )
    done = run_in_root(
        root,
        ["python3", "-I", "-S", "-B", "-c", program],
        binds=[Bind(site.path, "site"), Bind(models[Format.TFLITE].parent, "models")],
        cpu_model=target.qemu_model,
        timeout_s=120,
    )
    assert done.ok, done.stderr
    assert "XNNPACK delegate" in done.stderr
    assert "cpuinfo" not in done.stderr


def test_onnxruntime_1_21_is_refused_for_a_cortex_a72_as_an_illegal_instruction(
    arm_root: Root, own_cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = own_target(tmp_path, "arm64", 'version = "1.32.0"', 'version = "1.21.0"')
    runtime = target.runtime("onnxruntime")
    verdict = _verify(
        target, runtime, arm_root, own_cache, models[Format.ONNX], tmp_path / "release"
    )
    assert verdict.status is VerifyStatus.FAILED
    assert "illegal instruction" in verdict.reason
    assert "cortex-a72" in verdict.reason
    assert "onnxruntime 1.21.0" in verdict.reason


def test_an_answer_that_is_not_the_golden_one_is_a_failure(
    arm_root: Root, own_cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("arm64")
    runtime = target.runtime("litert")
    model = models[Format.TFLITE]
    verdict = _verify(target, runtime, arm_root, own_cache, model, tmp_path, answer=3.25)
    assert verdict.status is VerifyStatus.FAILED
    assert "golden" in verdict.reason or "3.25" in verdict.reason


def test_a_site_without_its_runtime_is_named_as_such(
    arm_root: Root, own_cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("arm64")
    runtime = target.runtime("litert")
    site = make_site(target, runtime, own_cache)
    half = tmp_path / "half"
    shutil.copytree(site.path, half)
    (half / "ai_edge_litert" / "libpywrap_litert_common.so").unlink()
    model = models[Format.TFLITE]
    variant = lay_out(tmp_path / "r", target, runtime, half, model, 3.0)
    verdict = verify_on_target(
        target, runtime, tmp_path / "r", variant, root=arm_root, cache=own_cache
    )
    assert verdict.status is VerifyStatus.FAILED
    assert "libpywrap_litert_common.so" in verdict.reason


def test_the_same_machine_needs_no_emulator(
    own_cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("cpu")
    root = make_root(target, own_cache)
    if root.emulated:
        pytest.skip("this machine is not an x86-64 one")
    runtime = target.runtime("onnxruntime")
    verdict = _verify(target, runtime, root, own_cache, models[Format.ONNX], tmp_path)
    assert verdict.status is VerifyStatus.RUNS, verdict.reason
    assert (verdict.emulated, verdict.cpu) == (False, "host")


def test_the_gpu_targets_cpu_fallback_runs_with_the_wheel_the_box_brings(
    own_cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("gpu")
    root = make_root(target, own_cache)
    if root.emulated:
        pytest.skip("this machine is not an x86-64 one")
    runtime = target.runtime("onnxruntime-gpu")
    site = make_site(target, runtime, own_cache)
    assert [each.name for each in site.external] == ["onnxruntime-gpu"]
    assert not (site.path / "onnxruntime").exists(), "the bundle stays thin"
    variant = lay_out(tmp_path, target, runtime, site.path, models[Format.ONNX], 3.0)
    verdict = verify_on_target(
        target, runtime, tmp_path, variant, root=root, cache=own_cache, external=site.external_path
    )
    assert verdict.ok, verdict.reason
    assert "CPU fallback; CUDAExecutionProvider was not tried" in verdict.reason
