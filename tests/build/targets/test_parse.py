"""Targets as people write them: every mistake named at once, in its place."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.build.targets.find import list_targets, load_target
from edgepack.build.targets.parse import parse_document, parse_target
from edgepack.build.targets.target import CUDA_DISTRIBUTIONS, RUNNER_REQUIREMENTS, Target
from edgepack.formats.errors import ConfigError
from edgepack.formats.variants import Format, RuntimeName, runtime_format

GOOD = """
name = "kiosk"
description = "a box"
arch = "aarch64"
os = "linux"
glibc = "2.36"
python = "3.11"
memory_mb = 1000
bundle_limit_mb = 14.5

[cpu]
qemu_model = "cortex-a53"
flags = ["asimd"]

[[runtime]]
name = "litert"
version = "2.3.0"

[verify]
mode = "emulated"
suite = "bookworm"
"""


def parse(text: str, name: str = "kiosk") -> Target:
    return parse_target(text.encode(), Path("targets") / f"{name}.toml")


def complaints(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.exit_code == 3
    return caught.value.message


def test_a_short_target_takes_the_defaults() -> None:
    target = parse(GOOD)
    assert (target.candidates, target.p99_ms, target.base_image) == (1, None, "")
    assert target.bundle_limit_bytes == 14_500_000
    assert target.uv_platform == "aarch64-manylinux_2_36"
    assert target.debian_arch == "arm64"
    assert {spec.format for spec in target.variants} == {Format.TFLITE}
    assert len(target.variants) == 5
    assert target.lock_path == Path("targets/kiosk.lock")


def test_several_mistakes_in_one_file_are_all_named_with_file_and_key_path() -> None:
    text = (
        GOOD.replace('arch = "aarch64"', 'arch = "arch64"')
        .replace("memory_mb = 1000", "memory_mb = -5")
        .replace('glibc = "2.36"', 'glibc = "new"')
        .replace("flags", "flag")
        .replace('name = "litert"', 'name = "liteert"\nprun = ["x"]')
        .replace('mode = "emulated"', 'mode = "emulate"')
        .replace('python = "3.11"\n', "")
    )
    said = complaints(text)
    assert said.startswith("targets/kiosk.toml: 8 problems")
    for words in (
        "arch: got 'arch64'",
        "did you mean 'aarch64'?",
        "memory_mb: got -5, expected more than 0",
        "glibc: got 'new', expected a form like '2.36'",
        "cpu.flag: unknown key; did you mean 'flags'?",
        "runtime[0].name: got 'liteert'",
        "runtime[0].prun: unknown key; did you mean 'prune'?",
        "verify.mode: got 'emulate'",
        "python: missing; expected text",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "kiosk"', 'name = "till"', "name: got 'till', expected 'kiosk'"),
        ("memory_mb = 1000", "memory_mb = true", "memory_mb: got True, expected a whole number"),
        ("memory_mb = 1000", 'memory_mb = "1"', "memory_mb: got '1', expected a whole number"),
        ('flags = ["asimd"]', "flags = [1]", "cpu.flags: got [1], expected a list of texts"),
        ("[cpu]", "[cpuu]", "cpu.qemu_model: missing"),
        ('version = "2.3.0"', 'version = ">=2"', "runtime[0].version: got '>=2'"),
        ("[verify]", "[variants]\nallowed=['onnx-fp32']\n[verify]", "loaded by none"),
        ("[verify]", "[variants]\nallowed=['tflite-fp31']\n[verify]", "did you mean 'tflite-fp32'"),
        ("[verify]", "[choice]\ncandidates = 0\n[verify]", "choice.candidates: got 0"),
        ("[[runtime]]", "[[runtimes]]", "runtime: missing"),
        ("[verify]", '[[runtime]]\nname="litert"\nversion="2.2.0"\n[verify]', "listed 2 times"),
    ],
)
def test_a_mistake_is_named_in_its_place(old: str, new: str, words: str) -> None:
    assert old in GOOD
    assert words in complaints(GOOD.replace(old, new))


def test_a_file_that_is_not_toml_is_refused() -> None:
    assert "kiosk.toml: not TOML" in complaints("name = ")
    with pytest.raises(ConfigError, match="not TOML"):
        parse_target(b"\xff\xfe", Path("kiosk.toml"))


@given(
    st.recursive(
        st.one_of(st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
    ),
    st.sampled_from([*tomllib.loads(GOOD), "variants", "latency", "choice"]),
)
def test_any_value_in_any_place_is_taken_or_refused_never_a_crash(value: Any, key: str) -> None:
    document = {**tomllib.loads(GOOD), key: value}
    with suppress(ConfigError):
        assert parse_document(document, Path("kiosk.toml")).name == "kiosk"


def test_an_unknown_target_is_answered_with_a_suggestion_and_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        load_target("arm46")
    assert "no target is called 'arm46'; did you mean 'arm64'?" in caught.value.message
    assert caught.value.hint is not None
    assert "arm64-tiny" in caught.value.hint


def test_a_users_own_target_wins_over_a_shipped_one(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    for folder, memory in ((own, 2000), (shipped, 1000)):
        folder.mkdir()
        (folder / "kiosk.toml").write_text(GOOD.replace("= 1000", f"= {memory}"))
    (shipped / "till.toml").write_text(GOOD.replace("kiosk", "till"))
    search = (own, shipped)
    assert list(list_targets(search)) == ["kiosk", "till"]
    assert load_target("kiosk", search).memory_mb == 2000
    assert load_target("till", search).memory_mb == 1000
    assert load_target(str(shipped / "kiosk.toml")).memory_mb == 1000
    with pytest.raises(ConfigError, match="cannot be read"):
        load_target(str(tmp_path / "none.toml"))


def test_an_unknown_runtime_of_a_target_is_answered_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="has no runtime 'litrt'; did you mean 'litert'"):
        parse(GOOD).runtime("litrt")


@pytest.mark.parametrize("name", list(list_targets()))
def test_a_shipped_target_is_whole(name: str, repository: Path) -> None:
    target = load_target(name, (repository / "targets",))
    assert target.description
    assert all(runtime.all_requirements for runtime in target.runtimes)
    formats = {runtime_format(runtime.name) for runtime in target.runtimes}
    assert formats == {spec.format for spec in target.variants}, "no runtime without variants"
    assert target.info().sha256 == target.sha256()


def test_the_shipped_targets_are_those_of_the_design() -> None:
    found = {name: load_target(name) for name in list_targets()}
    assert set(found) >= {"cpu", "gpu", "arm64", "arm64-tiny"}
    for name in ("cpu", "arm64"):
        assert [each.name for each in found[name].runtimes] == [
            RuntimeName.LITERT,
            RuntimeName.ONNXRUNTIME,
        ]
    assert found["arm64-tiny"].runtimes[0].requirements == ("numpy<2",)
    assert found["gpu"].runtimes[0].external == ("onnxruntime-gpu",)
    assert (found["arm64"].bundle_limit_mb, found["arm64-tiny"].bundle_limit_mb) == (14, 9)


def test_the_runners_requirements_are_those_of_its_extra(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extra = set(project["optional-dependencies"]["runner"])
    without_numpy = {each for each in extra if not each.startswith("numpy")}
    assert without_numpy == set(RUNNER_REQUIREMENTS)


def test_whatever_decides_a_build_changes_the_targets_hash() -> None:
    target = parse(GOOD)
    same = parse(GOOD.replace("a box", "another description"))
    assert target.sha256() == same.sha256()
    for old, new in (("cortex-a53", "cortex-a72"), ("2.3.0", "2.2.0"), ("= 1000", "= 1001")):
        assert parse(GOOD.replace(old, new)).sha256() != target.sha256()
    assert target.sha256(b"lock") != target.sha256()


GPU = GOOD.replace(
    'name = "litert"\nversion = "2.3.0"', 'name = "onnxruntime-gpu"\nversion = "1.24.4"'
)


def test_cuda_comes_from_the_box_unless_it_is_bundled() -> None:
    (runtime,) = parse(GPU).runtimes
    assert (runtime.cuda, runtime.outside) == ("system", ())
    bundled = GPU.replace('"1.24.4"', '"1.24.4"\ncuda = "bundled"\nexternal = ["onnxruntime-gpu"]')
    (runtime,) = parse(bundled).runtimes
    assert runtime.outside == ("onnxruntime-gpu", *CUDA_DISTRIBUTIONS)
    assert runtime.all_requirements[0] == "onnxruntime-gpu[cuda,cudnn]==1.24.4"


def test_cuda_is_a_word_of_one_runtime_and_of_two_kinds() -> None:
    text = complaints(GPU.replace('"1.24.4"', '"1.24.4"\ncuda = "bundeld"'))
    assert "runtime[0].cuda" in text
    assert "did you mean 'bundled'" in text
    text = complaints(GOOD.replace('"2.3.0"', '"2.3.0"\ncuda = "system"'))
    assert "only onnxruntime-gpu has CUDA libraries, not litert" in text


def test_providers_are_known_names_each_once_and_of_the_gpus_runtime() -> None:
    ordered = 'providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]'
    (runtime,) = parse(GPU.replace('"1.24.4"', f'"1.24.4"\n{ordered}')).runtimes
    assert runtime.providers == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    text = complaints(GPU.replace('"1.24.4"', '"1.24.4"\nproviders = ["CUDAExecutionProvidr"]'))
    assert "did you mean 'CUDAExecutionProvider'" in text
    twice = 'providers = ["CPUExecutionProvider", "CPUExecutionProvider"]'
    assert "more than once" in complaints(GPU.replace('"1.24.4"', f'"1.24.4"\n{twice}'))
    text = complaints(GOOD.replace('"2.3.0"', f'"2.3.0"\n{ordered}'))
    assert "litert computes on the CPU only" in text


_ONNX = GOOD.replace('"litert"\nversion = "2.3.0"', '"onnxruntime"\nversion = "1.32.0"')


def test_a_target_may_ask_for_several_rows_in_one_call() -> None:
    target = parse(_ONNX + "[variants]\nmax_batch = 64\n")
    assert target.max_batch == 64
    batched = [spec.name for spec in target.variants if target.needs(spec).rows]
    assert batched == [spec.name for spec in target.variants if spec.format is Format.ONNX]
    assert not any(target.needs(spec).card for spec in target.variants)


def test_only_a_target_with_a_card_needs_what_a_card_is_good_at() -> None:
    for name, wanted in (("gpu", True), ("cpu", False), ("arm64", False)):
        target = load_target(name)
        assert {target.needs(spec).card for spec in target.variants} == {wanted}


def test_a_target_that_asks_for_one_row_is_the_one_that_does_not_say() -> None:
    said, unsaid = parse(_ONNX + "[variants]\nmax_batch = 1\n"), parse(_ONNX)
    assert said.definition() == unsaid.definition()
    assert said.sha256() != parse(_ONNX + "[variants]\nmax_batch = 2\n").sha256()
    assert not any(said.needs(spec).rows for spec in said.variants)


@pytest.mark.parametrize(
    ("text", "rows", "words"),
    [
        (_ONNX, "0", "variants.max_batch: got 0, expected more than 0"),
        (_ONNX, "257", "variants.max_batch: got 257, expected at most 256"),
        (_ONNX, '"8"', "variants.max_batch: got '8', expected a whole number"),
        (GOOD, "8", "litert runs TFLite files, whose batch is fixed at 1"),
    ],
)
def test_rows_that_a_target_cannot_have_are_refused(text: str, rows: str, words: str) -> None:
    assert words in complaints(f"{text}[variants]\nmax_batch = {rows}\n")
