from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepack.formats.choice import MAX_CHOICES, Choice, Choices
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName
from edgepack.runner.bench.device import Platform
from edgepack.runner.choice.choosing import choose, keep_choice, why_not_now
from edgepack.runner.choice.process import WorkerEnd
from edgepack.runner.choice.settling import Box, choice_key, read_choices, settle_release
from edgepack.runner.choice.versions import find_version
from edgepack.runner.release import load_release
from edgepack.runner.state import BoxPaths
from tests.runner.bench.boxes import PI_PLATFORM
from tests.runner.choice.candidates import FIRST, SECOND, box_at, two_candidates
from tests.runner.gpu.cards import Card, SimulatedNvml, write_box
from tests.runner.simulators import HandClock, simulated_release, write_release

_OTHER_PID = 2**22 + 1
_TWO_CORES = replace(PI_PLATFORM, cores_allowed=2)


def _second_with_two_threads_is_fastest(request: bytes) -> WorkerEnd:
    lines = []
    for i, each in enumerate(json.loads(request)["trials"]):
        fast = (each["variant"], each["options"]["threads"]) == (SECOND, 2)
        lines += [json.dumps({"trial": i, "median_ns": 20_000 if fast else 50_000})] * 3
    return WorkerEnd(0, "\n".join(lines))


@pytest.fixture
def paths(tmp_path: Path) -> BoxPaths:
    two_candidates(tmp_path / "release")
    return BoxPaths(tmp_path / "release", tmp_path / "state")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return box_at(tmp_path, _TWO_CORES)


def _chosen(paths: BoxPaths, box: Box) -> Choice:
    release = load_release(paths.release)
    choice = choose(release, box, HandClock(), _second_with_two_threads_is_fastest)
    assert choice is not None
    assert keep_choice(paths.state, choice) is None
    return choice


def test_without_a_choice_the_bundles_first_candidate_runs_on_one_thread(
    paths: BoxPaths, box: Box
) -> None:
    settled = settle_release(paths, box)
    assert (settled.release.candidate.variant, settled.options) == (FIRST, EngineOptions(1))
    assert (settled.choice, settled.warning) == (None, None)


def _tuned(paths: BoxPaths, options: EngineOptions) -> None:
    release = load_release(paths.release)
    first = replace(release.manifest.candidates[0], options=options)
    candidates = (first, *release.manifest.candidates[1:])
    manifest = replace(release.manifest, candidates=candidates)
    (paths.release / "manifest.json").write_bytes(manifest.to_bytes())


def test_without_a_choice_a_candidate_that_was_tuned_is_opened_so(
    paths: BoxPaths, box: Box
) -> None:
    _tuned(paths, EngineOptions(2, spinning=True))
    settled = settle_release(paths, box)
    assert settled.options == EngineOptions(2, spinning=True)
    assert "as it was tuned: 2 threads, spinning" in settled.reason
    assert settle_release(paths, box, threads=1).options == EngineOptions(1)
    choice = _chosen(paths, box)
    assert settle_release(paths, box).choice == choice


def test_options_of_a_larger_box_are_not_followed_on_a_smaller_one(
    paths: BoxPaths, box: Box
) -> None:
    _tuned(paths, EngineOptions(4))
    settled = settle_release(paths, box)
    assert settled.options == EngineOptions(1)
    assert "4 threads are more than the cores" in settled.reason


def test_a_choice_is_followed(paths: BoxPaths, box: Box) -> None:
    choice = _chosen(paths, box)
    settled = settle_release(paths, box)
    assert (settled.release.candidate.variant, settled.options) == (SECOND, EngineOptions(2))
    assert settled.release.model_path.name == "tflite-fp32.tflite"
    assert settled.choice == choice
    assert "the fastest of 4: 20 us" in settled.reason


def test_what_is_asked_for_comes_before_what_was_chosen(paths: BoxPaths, box: Box) -> None:
    _chosen(paths, box)
    settled = settle_release(paths, box, variant=FIRST)
    assert (settled.release.candidate.variant, settled.options) == (FIRST, EngineOptions(1))
    settled = settle_release(paths, box, threads=4)
    assert (settled.release.candidate.variant, settled.options) == (FIRST, EngineOptions(4))
    with pytest.raises(BundleError, match="no candidate 'tflite-fp16'"):
        settle_release(paths, box, variant="tflite-fp16")


@pytest.mark.parametrize(
    "here",
    [
        replace(_TWO_CORES, kernel="6.12.1"),
        replace(_TWO_CORES, cores_allowed=4),
    ],
)
def test_another_kernel_or_number_of_cores_is_measured_again(
    paths: BoxPaths, box: Box, tmp_path: Path, here: Platform
) -> None:
    _chosen(paths, box)
    settled = settle_release(paths, box_at(tmp_path, here))
    assert settled.choice is None
    assert settled.options == EngineOptions(1)
    assert settled.warning is not None
    assert "another runtime, kernel, CPU or GPU" in settled.warning


def test_another_runtime_or_cpu_is_measured_again(
    paths: BoxPaths, box: Box, tmp_path: Path
) -> None:
    _chosen(paths, box)
    assert settle_release(paths, box_at(tmp_path, _TWO_CORES, version="2.4.0")).choice is None
    cpuinfo = tmp_path / "tree" / "proc" / "cpuinfo"
    cpuinfo.parent.mkdir(parents=True)
    cpuinfo.write_text("processor : 0\nmodel name : Intel(R) N100\n")
    assert settle_release(paths, box).choice is None


def test_another_release_is_measured_again_without_a_warning(
    paths: BoxPaths, box: Box, tmp_path: Path
) -> None:
    _chosen(paths, box)
    simulated_release(tmp_path / "next")
    settled = settle_release(BoxPaths(tmp_path / "next", paths.state), box)
    assert (settled.choice, settled.warning) == (None, None)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _changed(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda _: b"[]",
        lambda _: b"[" * 100_000,
        lambda _: b"{}" + b" " * 300_000,
        _changed(lambda d: d.update(schema="edgepack.choice/2")),
        _changed(lambda d: d["choices"][0].pop("rows")),
        _changed(lambda d: d["choices"][0].update(variant="tflite-fp16")),
        _changed(lambda d: d["choices"][0]["options"].update(threads=0)),
        _changed(lambda d: d["choices"][0]["rows"][0]["options"].update(spinning="yes")),
        _changed(lambda d: d["choices"][0].update(rows=[])),
    ],
)
def test_a_damaged_choice_is_passed_over_with_a_warning(
    paths: BoxPaths, box: Box, damage: Callable[[bytes], bytes]
) -> None:
    _chosen(paths, box)
    assert paths.state is not None
    file = paths.state / "choice.json"
    file.write_bytes(damage(file.read_bytes()))
    settled = settle_release(paths, box)
    assert (settled.release.candidate.variant, settled.options) == (FIRST, EngineOptions(1))
    assert settled.warning is not None
    assert "choice.json" in settled.warning


def test_a_choice_of_more_threads_than_cores_is_not_followed(paths: BoxPaths, box: Box) -> None:
    choice = _chosen(paths, box)
    many = EngineOptions(1000)
    rows = (replace(choice.rows[0], variant=SECOND, options=many), *choice.rows[1:])
    keep_choice(paths.state, replace(choice, options=many, rows=rows))
    assert settle_release(paths, box).options == EngineOptions(1)


def test_a_state_folder_that_cannot_be_written_is_told_and_no_fault(
    paths: BoxPaths, box: Box, tmp_path: Path
) -> None:
    choice = _chosen(paths, box)
    (tmp_path / "file").write_text("in the way")
    trouble = keep_choice(tmp_path / "file" / "state", choice)
    assert trouble is not None
    assert trouble.startswith("the choice is not kept: ")
    assert keep_choice(None, choice) == "the choice is not kept: no state folder is known"
    assert read_choices(tmp_path / "file" / "state")[0] == Choices()
    assert read_choices(None) == (Choices(), None)


def test_one_candidate_on_one_core_is_no_choice(tmp_path: Path) -> None:
    release = simulated_release(tmp_path)
    box = box_at(tmp_path, replace(PI_PLATFORM, cores_allowed=1))

    def never(_: bytes) -> WorkerEnd:
        raise AssertionError("nothing is to be measured")

    assert choose(release, box, HandClock(), never) is None


def test_a_box_that_runs_no_candidate_is_told_why(paths: BoxPaths, box: Box) -> None:
    release = load_release(paths.release)
    with pytest.raises(DeviceError, match="no candidate of the bundle"):
        choose(release, box, HandClock(), lambda _: WorkerEnd(-11, ""))


def test_a_choice_reads_back_as_itself(paths: BoxPaths, box: Box) -> None:
    choice = _chosen(paths, box)
    assert read_choices(paths.state) == (Choices((choice,)), None)
    assert choice.key.runtime_version == "2.3.0"
    assert (choice.key.cores_allowed, choice.key.kernel) == (2, PI_PLATFORM.kernel)
    assert len(choice.rows) == 4


def test_a_release_on_trial_does_not_take_the_others_choice(paths: BoxPaths, box: Box) -> None:
    choice = _chosen(paths, box)
    for number in range(MAX_CHOICES - 1):
        other = replace(choice, key=replace(choice.key, release=f"{number}" * 64))
        keep_choice(paths.state, other)
        keep_choice(paths.state, other)
    assert settle_release(paths, box).choice == choice
    one_more = replace(choice, key=replace(choice.key, release="f" * 64))
    keep_choice(paths.state, one_more)
    kept, _ = read_choices(paths.state)
    assert len(kept.choices) == MAX_CHOICES
    assert kept.of_release(choice.key.release) is None
    assert kept.of_release("f" * 64) == one_more


def test_a_runtimes_version_is_found_without_importing_it(tmp_path: Path) -> None:
    box = box_at(tmp_path, version="2.3.0")
    assert find_version(RuntimeName.LITERT, box.import_path) == "2.3.0"
    assert find_version(RuntimeName.ONNXRUNTIME, box.import_path) is None
    (tmp_path / "site-2.3.0" / "onnxruntime_gpu-1.23.0.dist-info").mkdir()
    assert find_version(RuntimeName.ONNXRUNTIME_GPU, box.import_path) == "1.23.0"
    assert find_version(RuntimeName.ONNXRUNTIME, box.import_path) is None


def test_a_runtime_without_a_record_goes_by_the_bundles_word(
    paths: BoxPaths, tmp_path: Path
) -> None:
    choice = _chosen(paths, box_at(tmp_path, _TWO_CORES, version=None))
    assert choice.key.runtime_version == load_release(paths.release).manifest.runtime.version


def test_without_a_card_a_bundle_for_one_is_chosen_for_as_on_a_cpu_and_the_key_says_so(
    tmp_path: Path,
) -> None:
    write_release(tmp_path / "release", runtime=RuntimeName.ONNXRUNTIME_GPU)
    box = replace(box_at(tmp_path, _TWO_CORES), environment={"CUDA_VISIBLE_DEVICES": ""})
    asked: list[Any] = []

    def launch(request: bytes) -> WorkerEnd:
        asked.extend(json.loads(request)["trials"])
        lines = [json.dumps({"trial": i, "median_ns": 50_000}) for i in range(len(asked))]
        return WorkerEnd(0, "\n".join(lines * 3))

    choice = choose(load_release(tmp_path / "release"), box, HandClock(), launch)
    assert choice is not None
    assert choice.key.gpu is None
    assert not any(each["options"]["io_binding"] for each in asked)
    assert {each["options"]["threads"] for each in asked} == {1, 2}


def _card_box(tmp_path: Path, nvml: SimulatedNvml) -> Box:
    return replace(
        box_at(tmp_path, _TWO_CORES), root=write_box(tmp_path / "files"), nvml=nvml, import_path=[]
    )


def _fastest_with_binding(request: bytes) -> WorkerEnd:
    lines = []
    for i, each in enumerate(json.loads(request)["trials"]):
        median_ns = 20_000 if each["options"]["io_binding"] else 50_000
        lines += [json.dumps({"trial": i, "median_ns": median_ns})] * 3
    return WorkerEnd(0, "\n".join(lines))


@pytest.mark.parametrize(
    "busy",
    [Card(used=24 * 2**30), Card(mode=3, pids=(_OTHER_PID,))],
    ids=["full", "taken"],
)
def test_a_choice_for_a_card_is_followed_whatever_else_is_on_the_card(
    tmp_path: Path, busy: Card
) -> None:
    write_release(tmp_path / "release", runtime=RuntimeName.ONNXRUNTIME_GPU)
    release, nvml = load_release(tmp_path / "release"), SimulatedNvml()
    box = _card_box(tmp_path, nvml)
    paths = BoxPaths(tmp_path / "release", tmp_path / "state")
    assert why_not_now(release, box) is None
    choice = choose(release, box, HandClock(), _fastest_with_binding)
    assert choice is not None
    assert (choice.key.gpu, choice.options.io_binding) == ("NVIDIA L4, driver 550.54.15", True)
    assert keep_choice(paths.state, choice) is None
    nvml.cards = [busy]
    settled = settle_release(paths, box)
    assert (settled.choice, settled.warning) == (choice, None)
    assert "while the card is not free" in str(why_not_now(release, box))
    nvml.cards = [Card(name="NVIDIA A2")]
    assert settle_release(paths, box).choice is None


def test_a_card_that_is_too_old_and_full_is_none_to_choose_for(tmp_path: Path) -> None:
    write_release(tmp_path / "release", runtime=RuntimeName.ONNXRUNTIME_GPU)
    nvml = SimulatedNvml(cards=[Card(capability=(5, 2), used=24 * 2**30)])
    box = _card_box(tmp_path, nvml)
    release = load_release(tmp_path / "release")
    assert why_not_now(release, box) is None
    assert choice_key(release, box).gpu is None


def test_another_card_or_driver_is_measured_again(paths: BoxPaths, box: Box) -> None:
    choice = _chosen(paths, box)
    other = replace(choice, key=replace(choice.key, gpu="NVIDIA L4, driver 550.54.15"))
    assert keep_choice(paths.state, other) is None
    settled = settle_release(paths, box)
    assert settled.choice is None
    assert "GPU" in str(settled.warning)
