from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgepack.formats.manifest import ExternalWheel, Manifest
from edgepack.formats.variants import RuntimeName
from edgepack.runner.boot.graphics import gpu_checks
from edgepack.runner.gpu.fit import Verdict
from edgepack.runner.gpu.looking import look_and_judge, wish_of
from edgepack.runner.gpu.needs import CPU, CUDA, TENSORRT
from tests.runner.gpu.cards import SimulatedNvml, write_box
from tests.runner.simulators import write_release

_WHEEL = ExternalWheel("nvidia-cudnn-cu12", "9.1", "nvidia_cudnn_cu12-9.1-py3-x.whl", "a" * 64)


def _judge(root: Path, nvml: SimulatedNvml | None, manifest: Manifest) -> Verdict:
    return look_and_judge(
        wish_of(manifest, 1000),
        environment={},
        import_path=[],
        root=root,
        nvml=nvml or SimulatedNvml(),
    )


def test_a_bundle_for_the_cpu_looks_at_no_card(tmp_path: Path) -> None:
    def never(_: Manifest) -> Verdict:
        raise AssertionError("looked")

    assert gpu_checks(write_release(tmp_path), never) == []


def test_a_card_is_named_and_what_is_in_the_way_is_a_warning_with_a_hint(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release", runtime=RuntimeName.ONNXRUNTIME_GPU)
    root = write_box(tmp_path / "box", libraries=())
    checks = gpu_checks(manifest, lambda each: _judge(root, None, each))
    assert {each.status for each in checks} == {"warn"}
    assert all(each.hint for each in checks)
    (check,) = gpu_checks(manifest, lambda each: _judge(write_box(tmp_path / "whole"), None, each))
    assert (check.status, check.found) == ("ok", "NVIDIA L4, driver 550.54.15")


def test_libraries_that_come_with_the_bundle_are_not_missed_before_it_is_installed(
    tmp_path: Path,
) -> None:
    manifest = write_release(tmp_path / "release", runtime=RuntimeName.ONNXRUNTIME_GPU)
    bundled = replace(manifest, runtime=replace(manifest.runtime, external=(_WHEEL,)))
    root = write_box(tmp_path / "box", libraries=())
    (check,) = gpu_checks(bundled, lambda each: _judge(root, None, each))
    assert check.status == "ok"
    old = SimulatedNvml(driver="470.82.01")
    (check,) = gpu_checks(bundled, lambda each: _judge(root, old, each))
    assert check.status == "warn"
    assert check.found == "the NVIDIA driver: 470.82.01, which runs CUDA up to 12.4"


def test_tensorrt_comes_with_no_bundle_so_its_absence_is_told(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release", runtime=RuntimeName.ONNXRUNTIME_GPU)
    runtime = replace(manifest.runtime, external=(_WHEEL,), providers=(TENSORRT, CUDA, CPU))
    bundled = replace(manifest, runtime=runtime)
    root = write_box(tmp_path / "box", libraries=())
    checks = gpu_checks(bundled, lambda each: _judge(root, None, each))
    assert [(each.status, each.needed) for each in checks] == [
        ("warn", "libnvinfer.so.10"),
        ("warn", "libnvonnxparser.so.10"),
    ]
    assert all("tensorrt-cu12" in str(each.hint) for each in checks)
