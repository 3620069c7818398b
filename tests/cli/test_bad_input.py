"""Bad input through the command line: a clear message, its class's status, nothing written."""

from __future__ import annotations

import json
import platform
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.cli.main import main
from edgepack.formats.bundle import SEAL_BYTES
from tests.build.tune.tunings import tuning
from tests.bundles import MODEL_FILE, end_of_tar, forge, member, pack, payload_of, release_files

COLUMNS = ("--session", "who", "--item", "what", "--order", "when")
HEADER = "who,what,when\n"
ROWS = "a,x,1\na,y,2\na,z,3\n"


class Shell:
    """Runs `edgepack` in this process, with an output folder and a cache of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.out = folder / "dist"
        self.cache = folder / "cache"
        self._capsys = capsys

    def fails(self, *arguments: str | Path, status: int, says: tuple[str, ...]) -> None:
        """Asserts the status and the words, and that nothing was left behind."""
        with pytest.raises(SystemExit) as caught:
            main([str(each) for each in arguments])
        message = self._capsys.readouterr().err
        assert caught.value.code == status, message
        for words in says:
            assert words in message
        assert "Traceback" not in message
        assert not self.out.exists()
        kept = [path for path in self.cache.rglob("*") if path.is_file()]
        assert [path for path in kept if path.parent.name != "locks"] == []
        assert list(self.folder.rglob("*.pyz")) == []

    def train(self, log: Path, *, status: int, says: tuple[str, ...]) -> None:
        options = ("--data", log, *COLUMNS, "--cache", self.cache)
        self.fails("train", *options, status=status, says=says)

    def convert(self, model: Path, *, status: int, says: tuple[str, ...]) -> None:
        samples = self.folder / "samples.npz"
        np.savez(samples, x=np.ones((4, 4), np.float32))
        options = ("--samples", samples, "--out", self.out, "--cache", self.cache)
        self.fails("convert", "--model", model, *options, status=status, says=says)

    def build(self, *options: str | Path, status: int, says: tuple[str, ...]) -> None:
        options = (*options, "--out", self.out, "--cache", self.cache)
        self.fails("build", *options, status=status, says=says)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Targets and projects


@pytest.mark.parametrize("typed", ["arm46", "amr64", "Arm64"])
def test_an_unknown_target_gets_a_suggestion(shell: Shell, typed: str) -> None:
    says = (f"no target is called '{typed}'", "did you mean 'arm64'?", "arm64-tiny")
    shell.build("--target", typed, status=3, says=says)


def test_several_mistakes_in_a_targets_file_are_all_named(shell: Shell) -> None:
    text = 'name = "kiosk"\narch = "arch64"\nmemory_mb = -5\nglibc = "new"\ncolour = 1\n'
    target = write(shell.folder / "kiosk.toml", text)
    says = ("kiosk.toml", "arch: got 'arch64'", "memory_mb", "glibc: got 'new'", "colour: unknown")
    shell.build("--target", target, status=3, says=says)


def test_several_mistakes_in_a_projects_file_are_all_named(shell: Shell) -> None:
    project = shell.folder / "shop"
    project.mkdir()
    text = 'name = "My Shop"\ntop_k = 0\nsequnce_length = 9\n'
    write(project / "model.toml", text)
    says = ("model.toml", "name: got 'My Shop'", "top_k: got 0", "did you mean 'sequence_length'?")
    shell.fails("train", "--model", project, "--cache", shell.cache, status=3, says=says)


# Tuning


@pytest.mark.parametrize("text", ["0", "1,x", "", "65", "1;2"])
def test_numbers_of_threads_that_are_none_are_refused(shell: Shell, text: str) -> None:
    options = ("--target", "cpu", "--threads", text, "--cache", shell.cache)
    shell.fails("tune", *options, status=2, says=("--threads", "give whole numbers from 1 to 64"))


def test_a_target_that_can_only_be_emulated_is_not_tuned(shell: Shell) -> None:
    other = "arm64" if platform.machine() == "x86_64" else "cpu"
    says = ("emulated times say nothing", "edgepack-runner bench --choose", "--dask")
    options = ("--target", other, "--out", shell.out, "--cache", shell.cache)
    shell.fails("tune", *options, status=8, says=says)


def test_a_target_for_cards_alone_is_not_tuned_here(shell: Shell) -> None:
    says = ("computes on a graphics card", "edgepack-runner bench --choose")
    options = ("--target", "gpu", "--runtime", "onnxruntime-gpu", "--cache", shell.cache)
    shell.fails("tune", *options, status=3, says=says)


def test_several_targets_at_once_are_not_tuned(shell: Shell) -> None:
    options = ("--target", "all", "--cache", shell.cache)
    shell.fails("tune", *options, status=3, says=("one target is tuned at a time",))


def test_a_tuning_that_is_none_is_refused_before_any_work(shell: Shell) -> None:
    file = write(shell.folder / "tune.json", "{}")
    shell.build("--target", "cpu", "--tuned", file, status=3, says=("tune.json", "schema None"))
    missing = shell.folder / "none.json"
    says = ("none.json cannot be read", "edgepack tune --out DIR")
    shell.build("--target", "cpu", "--tuned", missing, status=3, says=says)


def test_a_tuning_for_another_target_is_refused_before_any_work(shell: Shell) -> None:
    file = write(shell.folder / "tune.json", tuning().to_bytes())
    says = ("it is for target cpu, which this build does not make", "--target cpu")
    shell.build("--target", "arm64", "--tuned", file, status=3, says=says)


# Logs


def test_a_missing_log_is_named_with_the_closest_one(shell: Shell) -> None:
    write(shell.folder / "clicks.csv", HEADER + ROWS)
    says = ("click.csv", "there is no such file", "did you mean 'clicks.csv'?")
    shell.train(shell.folder / "click.csv", status=3, says=says)


@pytest.mark.parametrize("content", ["", "\n", HEADER])
def test_a_log_without_rows_is_refused(shell: Shell, content: str) -> None:
    log = write(shell.folder / "clicks.csv", content)
    shell.train(log, status=3, says=("clicks.csv", "is empty" if content != HEADER else "no rows"))


def test_a_missing_column_is_named_with_those_there_are(shell: Shell) -> None:
    log = write(shell.folder / "clicks.csv", "who,wat,when\n" + ROWS)
    says = ("column 'what': there is none", "did you mean 'wat'?", "who, wat, when")
    shell.train(log, status=3, says=says)


def test_a_log_of_a_single_item_is_refused(shell: Shell) -> None:
    log = write(shell.folder / "clicks.csv", HEADER + "a,x,1\na,x,2\na,x,3\nb,x,1\n")
    shell.train(log, status=3, says=("one item only ('x')", "expected at least 2", "--item"))


def test_a_single_item_in_the_sessions_that_are_long_enough_is_refused(shell: Shell) -> None:
    log = write(shell.folder / "clicks.csv", HEADER + "a,x,1\na,x,2\na,x,3\nb,y,1\n")
    shell.train(log, status=3, says=("hold only the item 'x'", "at least 2"))


@pytest.mark.parametrize("nothing", ["NaN", "nan", "", "null"])
@pytest.mark.parametrize("column", ["who", "what"])
def test_ids_that_are_nan_are_counted_and_placed(shell: Shell, column: str, nothing: str) -> None:
    row = f"{nothing},x,9\n" if column == "who" else f"a,{nothing},9\n"
    log = write(shell.folder / "clicks.csv", HEADER + ROWS + row)
    says = (f"column '{column}'", "1 of 4 rows have no id", "data row 4", f'--where "{column}')
    shell.train(log, status=3, says=says)


# Model files


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.keras", b"", "empty"),
        ("m.keras", b"import os\n", "its first bytes are b'import o'"),
        ("m.keras", b"PK\x03\x04 cut off", "a damaged or cut-off zip archive"),
        ("m.h5", b"<html>", "its first bytes are"),
        ("m.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(20), "already a TFLite file"),
        ("m.onnx", b"not a model", "is not an ONNX model"),
    ],
)
def test_a_model_file_that_is_none_is_refused(
    shell: Shell, name: str, content: bytes, words: str
) -> None:
    shell.convert(write(shell.folder / name, content), status=5, says=(name, words))


def test_a_missing_model_file_is_named(shell: Shell) -> None:
    shell.convert(shell.folder / "m.keras", status=3, says=("m.keras", "No such file"))


def onnx_file(
    path: Path, *, op: str = "MatMul", domain: str = "", weights_file: str | None = None
) -> Path:
    """Writes y = op(x, w) for x float32[n, 4], its weights in a file of their own or not."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 4])],
        [helper.make_tensor_value_info("y", kind, ["n", 4])],
        [weights],
    )
    imports = [helper.make_opsetid("", 17)]
    imports += [helper.make_opsetid(domain, 1)] if domain else []
    model = helper.make_model(graph, ir_version=8, opset_imports=imports)
    if weights_file is None:
        onnx.save(model, str(path))
    else:
        apart = {"save_as_external_data": True, "location": weights_file, "size_threshold": 0}
        onnx.save(model, str(path), **apart)
    return path


def test_an_onnx_file_without_its_external_data_names_the_file_that_lacks(shell: Shell) -> None:
    model = onnx_file(shell.folder / "m.onnx", weights_file="weights.bin")
    (shell.folder / "weights.bin").unlink()
    says = ("m.onnx keeps weights in weights.bin, which is not there", "beside the model")
    shell.convert(model, status=5, says=says)


def test_external_data_cut_short_is_refused(shell: Shell) -> None:
    model = onnx_file(shell.folder / "m.onnx", weights_file="weights.bin")
    write(shell.folder / "weights.bin", bytes(7))
    shell.convert(model, status=5, says=("m.onnx", "external data cannot be read"))


def test_external_data_outside_the_models_folder_is_refused(shell: Shell) -> None:
    onnx = pytest.importorskip("onnx")
    path = onnx_file(shell.folder / "m.onnx", weights_file="weights.bin")
    model = onnx.load(str(path), load_external_data=False)
    (entry,) = (e for e in model.graph.initializer[0].external_data if e.key == "location")
    inside = shell.folder / "models"
    inside.mkdir()
    entry.value = "../weights.bin"
    onnx.save(model, str(inside / "m.onnx"))
    shell.convert(inside / "m.onnx", status=5, says=("m.onnx", "../weights.bin"))


def test_an_operator_that_onnx_does_not_have_is_named(shell: Shell) -> None:
    model = onnx_file(shell.folder / "m.onnx", op="Sparkle")
    shell.convert(model, status=5, says=("m.onnx", "Sparkle", "opset"))


@pytest.mark.parametrize("domain", ["com.example", "com.microsoft"])
def test_an_operator_that_no_runtime_has_is_named(shell: Shell, domain: str) -> None:
    model = onnx_file(shell.folder / "m.onnx", op="Sparkle", domain=domain)
    shell.convert(model, status=5, says=("m.onnx", f"{domain}.Sparkle", "ONNX Runtime"))


def test_an_output_folder_below_a_file_is_named_before_any_work(shell: Shell) -> None:
    write(shell.folder / "file", "")
    says = ("file/dist", "is no folder", "--out")
    options = ("--out", shell.folder / "file" / "dist", "--cache", shell.cache)
    shell.fails("convert", *options, status=3, says=says)
    shell.fails("build", "--target", "cpu", *options, status=3, says=says)


# Bundles


def cut(folder: Path) -> Path:
    path = pack(folder).path
    return write(path, path.read_bytes()[:-SEAL_BYTES])


def flipped(folder: Path) -> Path:
    path = pack(folder).path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    return write(path, bytes(data))


def leaving(folder: Path) -> Path:
    honest = payload_of(release_files())[: -len(end_of_tar())]
    return forge(folder, payload=honest + member("../outside", b"x") + end_of_tar())


def linking(folder: Path) -> Path:
    others = {path: data for path, data in release_files().items() if path != MODEL_FILE}
    link = member(MODEL_FILE, type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0)
    return forge(folder, payload=link + payload_of(others))


def newer(folder: Path) -> Path:
    def edit(data: bytes) -> bytes:
        fields: dict[str, Any] = {**json.loads(data), "format": 99}
        return json.dumps(fields).encode()

    return forge(folder, edit_manifest=edit)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (cut, "bytes"),
        (flipped, "is damaged in"),
        (leaving, "'../outside' is not listed"),
        (linking, "a symbolic link"),
        (newer, "format 99"),
    ],
)
def test_a_bad_bundle_is_refused_on_the_host(
    make: Callable[[Path], Path],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["verify", str(path)])
    said = capsys.readouterr()
    assert caught.value.code == 7
    assert words in said.err
    assert said.out == ""
    assert not (tmp_path.parent / "outside").exists()
