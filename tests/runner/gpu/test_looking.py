from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.runner.gpu.driver import read_driver
from edgepack.runner.gpu.fit import Verdict, Wish, describe, judge
from edgepack.runner.gpu.libraries import Found
from edgepack.runner.gpu.looking import look_and_judge, summary
from edgepack.runner.gpu.needs import CPU, CUDA, TENSORRT
from edgepack.runner.gpu.nvml import look_at_cards
from tests.runner.gpu.cards import Card, SimulatedNvml, write_box

_ALL = (TENSORRT, CUDA, CPU)
_OLD_PASCAL_AND_NEWER = Card(capability=(5, 2), name="GeForce GTX 980")
_OTHER_PID = 2**22 + 1


def _judge(
    root: Path,
    nvml: SimulatedNvml | None = None,
    *,
    wish: Wish | None = None,
    environment: dict[str, str] | None = None,
) -> Verdict:
    return look_and_judge(
        wish or Wish(),
        environment=environment or {},
        import_path=[],
        root=root,
        nvml=nvml or SimulatedNvml(),
    )


def _only(verdict: Verdict) -> str:
    """The text of the one obstacle there is."""
    (obstacle,) = verdict.obstacles
    assert verdict.provider == CPU
    assert verdict.fallback is not None
    assert obstacle.reason in verdict.fallback
    assert obstacle.hint
    return str(obstacle)


def test_a_box_with_everything_computes_on_the_card_in_the_order_asked_for(tmp_path: Path) -> None:
    verdict = _judge(write_box(tmp_path), wish=Wish(providers=_ALL))
    assert verdict.usable == _ALL
    assert verdict.obstacles == ()
    assert verdict.fallback is None
    assert verdict.gpu == "NVIDIA L4, driver 550.54.15"
    assert summary(verdict).startswith("NVIDIA L4, driver 550.54.15: TensorrtExecutionProvider")


def test_no_driver_is_said_with_what_to_install(tmp_path: Path) -> None:
    root = write_box(tmp_path, driver=None, library=None, devices=())
    text = _only(_judge(root, SimulatedNvml(init_error=12)))
    assert "found none, no /dev/nvidia* and no kernel module; needed 525.60.13 or newer" in text
    assert "apt-get install nvidia-driver" in text


def test_a_driver_whose_module_is_not_loaded_is_told_from_none(tmp_path: Path) -> None:
    root = write_box(tmp_path, driver=None, devices=())
    assert "its libraries (550.54.15) but no kernel module" in _only(
        _judge(root, SimulatedNvml(init_error=9))
    )


def test_a_driver_too_old_for_cuda_12_is_named_with_both_versions(tmp_path: Path) -> None:
    root = write_box(tmp_path, driver="470.82.01", library="470.82.01")
    text = _only(_judge(root, SimulatedNvml(driver="470.82.01", cuda=11040)))
    assert "found 470.82.01, which runs CUDA up to 11.4; needed 525.60.13" in text


@pytest.mark.parametrize(("driver", "fits"), [("525.60.13", True), ("525.60.11", False)])
def test_the_oldest_driver_that_will_do_is_the_documented_one(
    tmp_path: Path, driver: str, fits: bool
) -> None:
    root = write_box(tmp_path, driver=driver, library=driver)
    assert (_judge(root, SimulatedNvml(driver=driver)).provider == CUDA) is fits


def test_an_upgrade_without_a_restart_is_recognised(tmp_path: Path) -> None:
    root = write_box(tmp_path, driver="550.54.15", library="560.35.03")
    for nvml in (SimulatedNvml(init_error=18), SimulatedNvml()):
        text = _only(_judge(root, nvml))
        assert "kernel module 550.54.15, libraries 560.35.03" in text
        assert "restart the box" in text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (4, "closed to this user"),
        (9, "not loaded"),
        (12, "no libnvidia-ml.so.1 that can be loaded"),
        (15, "does not answer any more"),
        (999, "NVML error 999"),
    ],
)
def test_a_driver_that_does_not_answer_says_why(tmp_path: Path, error: int, words: str) -> None:
    assert words in _only(_judge(write_box(tmp_path), SimulatedNvml(init_error=error)))


def test_device_files_that_may_not_be_opened_are_named(tmp_path: Path) -> None:
    root = write_box(tmp_path)
    driver = read_driver({}, (), root, lambda path: path.name != "nvidiactl")
    verdict = judge(Wish(), driver, look_at_cards(nvml=SimulatedNvml()), Found({}, {}))
    (obstacle, *_) = verdict.obstacles
    assert "found /dev/nvidiactl closed to this user" in obstacle.reason
    assert "DeviceAllow" in obstacle.hint


@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        *(("", ""), ("-1", "-1"), ("7", "7")),
        ("GPU-8f2e5a1c-0d1b-4c55-9a57-0123456789ab", "GPU-…"),
        ("7, MIG-8f2e5a1c-0d1b-4c55-9a57-0123456789ab", "7,MIG-…"),
    ],
)
def test_a_card_that_is_hidden_is_told_from_one_that_is_not_there(
    tmp_path: Path, visible: str, shown: str
) -> None:
    root = write_box(tmp_path)
    text = _only(_judge(root, environment={"CUDA_VISIBLE_DEVICES": visible}))
    assert f"CUDA_VISIBLE_DEVICES: found '{shown}', which shows none of this box's 1" in text
    assert "found none, though the driver runs" in _only(_judge(root, SimulatedNvml(cards=[])))


@pytest.mark.parametrize(
    ("visible", "name"), [("1", "B"), ("1,0", "B"), ("0,1", "A"), ("GPU-1", "B"), ("MIG-x", "A")]
)
def test_the_card_that_cuda_would_take_is_the_one_that_is_judged(
    tmp_path: Path, visible: str, name: str
) -> None:
    nvml = SimulatedNvml(cards=[Card("A"), Card("B")])
    verdict = _judge(write_box(tmp_path), nvml, environment={"CUDA_VISIBLE_DEVICES": visible})
    assert verdict.card is not None
    assert verdict.card.name == name


def test_a_card_older_than_the_kernels_is_refused(tmp_path: Path) -> None:
    text = _only(_judge(write_box(tmp_path), SimulatedNvml(cards=[_OLD_PASCAL_AND_NEWER])))
    assert "GeForce GTX 980: found compute capability 5.2; needed 6.0 or higher" in text


def test_a_card_that_another_process_has_to_itself_is_taken(tmp_path: Path) -> None:
    taken = Card(mode=3, pids=(_OTHER_PID,))
    assert "found it taken" in _only(_judge(write_box(tmp_path), SimulatedNvml(cards=[taken])))
    free = _judge(tmp_path, SimulatedNvml(cards=[Card(mode=3)]))
    assert free.provider == CUDA
    closed = _judge(tmp_path, SimulatedNvml(cards=[Card(mode=2)]))
    assert "nvidia-smi -c DEFAULT" in _only(closed)


def test_memory_that_others_have_is_said_with_both_figures(tmp_path: Path) -> None:
    full = Card(used=24 * 2**30 - 100 * 2**20, pids=(_OTHER_PID,))
    wish = Wish(model_bytes=50 * 2**20)
    text = _only(_judge(write_box(tmp_path), SimulatedNvml(cards=[full]), wish=wish))
    assert "found 100 MiB free of 24,576 MiB; needed about 700 MiB" in text


def test_each_library_that_is_missing_is_named_with_two_ways_to_get_it(tmp_path: Path) -> None:
    verdict = _judge(write_box(tmp_path, libraries=("libcudart.so.12",)))
    assert [each.name for each in verdict.obstacles] == ["library_missing"] * 5
    text = describe(verdict.obstacles)
    assert "cuDNN 9 (libcudnn.so.9): found nothing; needed libcudnn.so.9" in text
    assert "pip install nvidia-cudnn-cu12" in text
    assert 'cuda = "bundled"' in text
    bundled = _judge(tmp_path, wish=Wish(bundled=True))
    assert "install the bundle again" in describe(bundled.obstacles)


def test_a_cudnn_of_another_major_is_told_from_none(tmp_path: Path) -> None:
    names = ["libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12"]
    names += ["libcurand.so.10", "libcufft.so.11", "libcudnn.so.8"]
    verdict = _judge(write_box(tmp_path, libraries=tuple(names)))
    (obstacle,) = verdict.obstacles
    assert obstacle.name == "wrong_library"
    assert "found only libcudnn.so.8; needed libcudnn.so.9" in obstacle.reason


def test_without_tensorrt_cuda_is_used_and_the_first_choice_explained(tmp_path: Path) -> None:
    names = ["libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12"]
    names += ["libcurand.so.10", "libcufft.so.11", "libcudnn.so.9"]
    verdict = _judge(write_box(tmp_path, libraries=tuple(names)), wish=Wish(providers=_ALL))
    assert verdict.usable == (CUDA, CPU)
    assert verdict.fallback is None
    assert "libnvinfer.so.10" in describe(verdict.refused[TENSORRT])


def test_everything_in_the_way_is_said_at_once(tmp_path: Path) -> None:
    bad = Card(capability=(3, 5), mode=2, used=24 * 2**30)
    verdict = _judge(write_box(tmp_path, libraries=()), SimulatedNvml(cards=[bad]))
    names = {each.name for each in verdict.obstacles}
    wanted = {"card_too_old", "compute_prohibited", "out_of_memory", "library_missing"}
    assert names == wanted


def test_a_bundle_that_asks_for_the_cpu_alone_has_nothing_in_the_way(tmp_path: Path) -> None:
    verdict = _judge(tmp_path, SimulatedNvml(init_error=12), wish=Wish(providers=(CPU,)))
    assert (verdict.usable, verdict.obstacles, verdict.fallback) == ((CPU,), (), None)
