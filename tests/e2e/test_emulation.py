"""The proof on the target, for real: Debian roots, QEMU as a Cortex-A72, real wheels."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from edgepack.build.artifacts import ConvertedVariant
from edgepack.build.cache import Cache
from edgepack.build.emulate import (
    Bind,
    Root,
    RootUnavailableError,
    Verification,
    VerifyStatus,
    make_root,
    run_in_root,
    verify_on_target,
)
from edgepack.build.emulate import sandbox as sandbox_module
from edgepack.build.emulate.root import check_tools
from edgepack.build.pack import finish_manifest, runner_files
from edgepack.build.preflight import preflight
from edgepack.build.targets import Runtime, Target, load_lock, load_target, make_site
from edgepack.build.targets.uv import WheelsUnavailableError
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import ConfigError
from edgepack.formats.golden import GoldenSet, GoldenTensors, TensorValue
from edgepack.formats.manifest import Candidate, Manifest, ModelInfo, RuntimeInfo
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Format, VariantSpec, parse_variant_name, runtime_format


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache of its own, so that what is proved was proved now."""
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def arm_root(cache: Cache) -> Root:
    target = load_target("arm64")
    problems = check_tools(target.arch)
    if problems and not os.environ.get("CI"):
        pytest.skip("; ".join(str(each) for each in problems))
    return make_root(target, cache)


def _onnx_model(path: Path) -> None:
    """Writes y = x + x as an ONNX file that every ONNX Runtime since 1.10 loads."""
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [value], [result])
    imports = [helper.make_opsetid("", 13)]
    save(helper.make_model(graph, ir_version=8, opset_imports=imports), str(path))


def _tflite_model(path: Path) -> None:
    """Writes y = x + x as a TFLite file."""
    import tensorflow as tf

    function = tf.function(
        lambda x: x + x, input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    path.write_bytes(converter.convert())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    folder = tmp_path_factory.mktemp("models")
    found = {Format.ONNX: folder / "double.onnx", Format.TFLITE: folder / "double.tflite"}
    _onnx_model(found[Format.ONNX])
    _tflite_model(found[Format.TFLITE])
    return found


def _golden(tflite: bool, answer: float) -> GoldenSet:
    name = "serving_default_x:0" if tflite else "x"
    given = TensorValue(name, "float32", (1, 4), (1.5,) * 4)
    wanted = TensorValue("y", "float32", (1, 4), (answer,) * 4)
    return GoldenSet(1e-6, tensors=(GoldenTensors((given,), (wanted,)),))


def _lay_out(
    folder: Path, target: Target, runtime: Runtime, site: Path, model: Path, answer: float
) -> str:
    """Lays out a release of a doubling model; returns the variant's name."""
    spec = parse_variant_name(f"{runtime_format(runtime.name)}-fp32")
    tflite = spec.format is Format.TFLITE
    golden = _golden(tflite, answer)
    data = model.read_bytes()
    inputs, outputs = (
        _read_tflite_specs(model)
        if tflite
        else ((TensorSpec("x", "float32", (1, 4)),), (TensorSpec("y", "float32", (1, 4)),))
    )
    files: dict[str, bytes | Path] = {
        **runner_files(),
        f"models/{spec.file_name}": model,
        f"golden/{spec.name}.json": golden.to_bytes(),
        **{f"site/{each.relative_to(site)}": each for each in site.rglob("*") if each.is_file()},
    }
    candidate = Candidate(
        variant=spec.name,
        format=spec.format,
        precision=spec.precision,
        file=f"models/{spec.file_name}",
        sha256=sha256_hex(data),
        size=len(data),
        inputs=inputs,
        outputs=outputs,
        golden=f"golden/{spec.name}.json",
    )
    draft = Manifest(
        model=ModelInfo("double", "1.0.0", "tensor", "unknown", sha256_hex(data)),
        target=target.info(),
        runtime=RuntimeInfo(runtime.name, runtime.version, runtime.providers),
        candidates=(candidate,),
        reason="the only one",
    )
    for name, source in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    (folder / "manifest.json").write_bytes(finish_manifest(draft, files).to_bytes())
    return spec.name


def _read_tflite_specs(
    model: Path,
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model))

    def specs(details: list[dict[str, object]]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(str(each["name"]), "float32", (1, 4)) for each in details)

    return specs(interpreter.get_input_details()), specs(interpreter.get_output_details())


def _verify(
    target: Target,
    runtime: Runtime,
    root: Root | None,
    cache: Cache,
    model: Path,
    folder: Path,
    answer: float = 3.0,
) -> Verification:
    site = make_site(target, runtime, cache)
    variant = _lay_out(folder, target, runtime, site.path, model, answer)
    return verify_on_target(target, runtime, folder, variant, root=root, cache=cache)


def _own_target(folder: Path, base: str, old: str, new: str) -> Target:
    """A user's own target: a shipped one with a value replaced, not yet locked."""
    text = load_target(base).path.read_text()
    assert old in text
    path = folder / f"{base}.toml"
    path.write_text(text.replace(old, new))
    return load_target(str(path))


@pytest.mark.parametrize("name", ["litert", "onnxruntime"])
def test_both_candidates_of_arm64_run_as_a_cortex_a72(
    name: str, arm_root: Root, cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("arm64")
    runtime = target.runtime(name)
    model = models[runtime_format(runtime.name)]
    verdict = _verify(target, runtime, arm_root, cache, model, tmp_path)
    assert verdict.status is VerifyStatus.RUNS, verdict.reason
    assert (verdict.emulated, verdict.cpu) == (True, "cortex-a72")
    again = verify_on_target(
        target, runtime, tmp_path, f"{model.suffix[1:]}-fp32", root=arm_root, cache=cache
    )
    assert again.to_json() == verdict.to_json()
    assert again.elapsed_s == 0, "the verdict of the same bytes is kept"


def test_the_smallest_runtime_runs_as_a_cortex_a72(
    arm_root: Root, cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("arm64-tiny")
    runtime = target.runtime("tflite-runtime")
    verdict = _verify(target, runtime, arm_root, cache, models[Format.TFLITE], tmp_path)
    assert verdict.status is VerifyStatus.RUNS, verdict.reason


def test_onnxruntime_1_21_is_refused_for_a_cortex_a72_as_an_illegal_instruction(
    arm_root: Root, cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = _own_target(tmp_path, "arm64", 'version = "1.32.0"', 'version = "1.21.0"')
    runtime = target.runtime("onnxruntime")
    verdict = _verify(target, runtime, arm_root, cache, models[Format.ONNX], tmp_path / "release")
    assert verdict.status is VerifyStatus.FAILED
    assert "illegal instruction" in verdict.reason
    assert "cortex-a72" in verdict.reason
    assert "onnxruntime 1.21.0" in verdict.reason


def test_an_answer_that_is_not_the_golden_one_is_a_failure(
    arm_root: Root, cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("arm64")
    runtime = target.runtime("litert")
    model = models[Format.TFLITE]
    verdict = _verify(target, runtime, arm_root, cache, model, tmp_path, answer=3.25)
    assert verdict.status is VerifyStatus.FAILED
    assert "golden" in verdict.reason or "3.25" in verdict.reason


def test_a_site_without_its_runtime_is_named_as_such(
    arm_root: Root, cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("arm64")
    runtime = target.runtime("litert")
    site = make_site(target, runtime, cache)
    half = tmp_path / "half"
    shutil.copytree(site.path, half)
    (half / "ai_edge_litert" / "libpywrap_litert_common.so").unlink()
    model = models[Format.TFLITE]
    variant = _lay_out(tmp_path / "r", target, runtime, half, model, 3.0)
    verdict = verify_on_target(target, runtime, tmp_path / "r", variant, root=arm_root, cache=cache)
    assert verdict.status is VerifyStatus.FAILED
    assert "libpywrap_litert_common.so" in verdict.reason


def test_the_same_machine_needs_no_emulator(
    cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("cpu")
    root = make_root(target, cache)
    if root.emulated:
        pytest.skip("this machine is not an x86-64 one")
    runtime = target.runtime("onnxruntime")
    verdict = _verify(target, runtime, root, cache, models[Format.ONNX], tmp_path)
    assert verdict.status is VerifyStatus.RUNS, verdict.reason
    assert (verdict.emulated, verdict.cpu) == (False, "host")


def test_the_gpu_targets_cpu_fallback_runs_with_the_wheel_the_box_brings(
    cache: Cache, models: dict[Format, Path], tmp_path: Path
) -> None:
    target = load_target("gpu")
    root = make_root(target, cache)
    if root.emulated:
        pytest.skip("this machine is not an x86-64 one")
    runtime = target.runtime("onnxruntime-gpu")
    site = make_site(target, runtime, cache)
    assert [each.name for each in site.external] == ["onnxruntime-gpu"]
    assert not (site.path / "onnxruntime").exists(), "the bundle stays thin"
    variant = _lay_out(tmp_path, target, runtime, site.path, models[Format.ONNX], 3.0)
    verdict = verify_on_target(
        target, runtime, tmp_path, variant, root=root, cache=cache, external=site.external_path
    )
    assert verdict.ok, verdict.reason
    assert "CPU fallback; CUDAExecutionProvider was not tried" in verdict.reason


def _dynamic_int8(path: Path) -> ConvertedVariant:
    """A dense layer quantised as the converter does by default."""
    import numpy as np
    import tensorflow as tf

    weights = tf.constant(np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64))
    function = tf.function(
        lambda x: tf.matmul(x, weights), input_signature=[tf.TensorSpec([1, 64], tf.float32)]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())
    spec: VariantSpec = parse_variant_name("tflite-dynamic-int8")
    return ConvertedVariant(spec, path, path.stat().st_size, sha256_hex(path.read_bytes()))


def test_default_dynamic_int8_is_refused_for_tflite_runtime_by_operator_and_version(
    tmp_path: Path,
) -> None:
    variant = _dynamic_int8(tmp_path / "dense.tflite")
    tiny = load_target("arm64-tiny")
    lock = load_lock(tiny)
    assert lock is not None
    problems = preflight(
        tiny, tiny.runtime("tflite-runtime"), variant, lock.runtimes["tflite-runtime"].wheels
    )
    assert len(problems) == 1
    text = str(problems[0])
    assert "FULLY_CONNECTED version 12" in text
    assert "tflite-runtime 2.14.0" in text
    assert "litert 2.3.0" in text
    arm = load_target("arm64")
    assert preflight(arm, arm.runtime("litert"), variant) == ()


def test_no_network_names_the_wheel_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    cache = Cache(tmp_path / "cache")
    target = load_target("arm64-tiny")
    with pytest.raises(WheelsUnavailableError) as caught:
        make_site(target, target.runtimes[0], cache)
    assert caught.value.exit_code == 4
    assert "arm64-tiny" in caught.value.message
    assert caught.value.hint
    assert not list((tmp_path / "cache" / "tmp").iterdir())
    assert not (tmp_path / "cache" / "site").exists()


def test_a_box_with_an_old_c_library_is_told_what_the_wheels_need(tmp_path: Path) -> None:
    target = _own_target(tmp_path, "arm64-tiny", 'glibc = "2.36"', 'glibc = "2.28"')
    with pytest.raises(ConfigError) as caught:
        make_site(target, target.runtimes[0], Cache(tmp_path / "cache"))
    assert "manylinux_2_34" in caught.value.message
    assert "tflite-runtime" in caught.value.message
    assert not target.lock_path.exists()


@pytest.mark.parametrize("fallback", [False, True])
def test_a_root_shows_no_host_and_no_network(
    fallback: bool, arm_root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fallback:
        if os.geteuid() != 0:
            pytest.skip("chroot is for root only")
        monkeypatch.setattr(sandbox_module, "_bubblewrap_works", lambda: False)
    (tmp_path / "note").write_text("seen")
    program = textwrap.dedent("""
        import os, platform, socket
        print(platform.machine(), os.path.exists("/sys"), "HOST_SECRET" in os.environ)
        print(open("/mnt/given/note").read())
        for path in ("/etc/new", "/mnt/given/new"):
            try:
                open(path, "w")
                print("wrote", path)
            except OSError as error:
                print("refused", path)
        try:
            socket.create_connection(("192.0.2.1", 9), 5)
        except OSError as error:
            print(error.strerror)
    """)
    monkeypatch.setenv("HOST_SECRET", "1")
    result = run_in_root(
        arm_root, ["python3", "-I", "-c", program], binds=[Bind(tmp_path, "given")], timeout_s=60
    )
    assert result.ok, result.stderr
    assert result.stdout.splitlines() == [
        "aarch64 False False",
        "seen",
        "refused /etc/new",
        "refused /mnt/given/new",
        "Network is unreachable",
    ]
    died = run_in_root(
        arm_root, ["python3", "-c", "import os; os.kill(os.getpid(), 11)"], timeout_s=60
    )
    assert died.signal == "SIGSEGV"


def test_a_mirror_that_does_not_answer_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(RootUnavailableError) as caught:
        make_root(load_target("arm64"), cache, mirror=f"file://{tmp_path}/no-mirror")
    assert caught.value.exit_code == 4
    assert "mirror" in (caught.value.hint or "")
    assert not list((tmp_path / "cache" / "tmp").iterdir())
    assert not (tmp_path / "cache" / "root").exists()


_MAKE = """
import sys
from pathlib import Path
from edgepack.build.cache import Cache
from edgepack.build.emulate import make_root
from edgepack.build.targets import load_target, make_site

target = load_target("arm64-tiny")
cache = Cache(Path(sys.argv[2]))
if sys.argv[1] == "root":
    print(make_root(target, cache).path)
else:
    print(make_site(target, target.runtimes[0], cache).path)
"""


def _start(what: str, cache: Path, repository: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _MAKE, what, str(cache)],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_ctrl_c_while_a_root_is_made_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    if check_tools("aarch64") and not os.environ.get("CI"):
        pytest.skip("no tools to make a root with")
    drafts = tmp_path / "cache" / "tmp"
    child = _start("root", tmp_path / "cache", repository)
    deadline = time.monotonic() + 60
    while not list(drafts.glob("root-*/mmdebstrap.*/*")):
        assert time.monotonic() < deadline
        assert child.poll() is None, "it was done before it could be stopped"
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode not in (0, None)
    assert not list(drafts.iterdir())
    assert not (tmp_path / "cache" / "root").exists()


def test_two_builds_at_once_share_one_site(repository: Path, tmp_path: Path) -> None:
    children = [_start("site", tmp_path / "cache", repository) for _ in range(2)]
    answers = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert len(list((tmp_path / "cache" / "site").iterdir())) == 1
    assert not list((tmp_path / "cache" / "tmp").iterdir())
