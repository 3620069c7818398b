"""That `tests/gpu` says plainly when it did not run, and runs where it can."""

from __future__ import annotations

from pathlib import Path

from edgepack.runner.gpu.fit import Verdict, Wish
from edgepack.runner.gpu.looking import look_and_judge
from edgepack.runner.gpu.needs import CPU, CUDA, TENSORRT
from tests.gpu.presence import summary_line, why_not
from tests.runner.gpu.cards import Card, SimulatedNvml, write_box


def _judge(root: Path, nvml: SimulatedNvml) -> Verdict:
    wish = Wish(providers=(TENSORRT, CUDA, CPU))
    return look_and_judge(wish, environment={}, import_path=[], root=root, nvml=nvml)


def _never() -> list[str]:
    raise AssertionError("the runtime was imported for nothing")


def test_a_machine_without_a_driver_is_told_in_one_line(tmp_path: Path) -> None:
    reason = why_not(_judge(tmp_path, SimulatedNvml(init_error=12)), _never)
    assert reason is not None
    line = summary_line(reason)
    assert line == "tests/gpu did not run: no NVIDIA driver on this machine"


def test_any_other_reason_is_told_with_what_to_do(tmp_path: Path) -> None:
    old = SimulatedNvml(cards=[Card(capability=(3, 5))])
    reason = why_not(_judge(write_box(tmp_path), old), _never)
    assert reason is not None
    assert "compute capability 3.5" in reason
    assert "\n" not in summary_line(reason)


def test_a_card_without_its_runtime_is_told_so(tmp_path: Path) -> None:
    verdict = _judge(write_box(tmp_path), SimulatedNvml())
    assert why_not(verdict, lambda: [CPU]) is not None
    assert "onnxruntime-gpu is not installed" in str(why_not(verdict, list))
    assert why_not(verdict, lambda: [CUDA, CPU]) is None


def test_tensorrt_is_not_needed(tmp_path: Path) -> None:
    names = ["libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12"]
    names += ["libcurand.so.10", "libcufft.so.11", "libcudnn.so.9"]
    verdict = _judge(write_box(tmp_path, libraries=tuple(names)), SimulatedNvml())
    assert why_not(verdict, lambda: [CUDA, CPU]) is None
