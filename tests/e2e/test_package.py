"""The wheel: what it carries, and what an installation without TensorFlow can do."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
import uv


def _uv(*arguments: str | Path, cwd: Path) -> None:
    command = [uv.find_uv_bin(), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    _uv("build", "--wheel", "--out-dir", out, repository, cwd=out)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bin_dir(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with nothing but `edgepack[runner]`."""
    folder = tmp_path_factory.mktemp("bare")
    _uv("venv", "--quiet", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    _uv("pip", "install", "--quiet", "--python", python, f"{wheel}[runner]", cwd=folder)
    return folder / "venv" / "bin"


def _run(bin_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [bin_dir / arguments[0], *arguments[1:]],
        cwd=bin_dir,
        capture_output=True,
        text=True,
        check=False,
    )


def test_targets_locks_and_models_travel_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("targets/arm64.toml", "targets/arm64.lock", "models/session/model.toml"):
        assert f"edgepack/_shipped/{wanted}" in names
    assert "edgepack/_shipped/Dockerfile.arm64" in names
    assert "edgepack/build/preflight/operators.json" in names
    assert not [name for name in names if name.startswith("tests/")]


def test_the_command_line_works_outside_a_checkout(bin_dir: Path) -> None:
    listed = _run(bin_dir, "edgepack", "targets", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    targets = json.loads(listed.stdout)["targets"]
    assert [each["name"] for each in targets] == ["arm64", "arm64-tiny", "cpu", "gpu"]
    models = json.loads(_run(bin_dir, "edgepack", "models", "list", "--json").stdout)["models"]
    assert [each["name"] for each in models] == ["bilstm", "gru4rec", "session"]


def test_every_module_of_the_runner_imports_without_the_build_side(bin_dir: Path) -> None:
    code = (
        "import importlib, pkgutil, sys, edgepack.runner as r, edgepack.formats as f\n"
        "skip = {'litert', 'tflite_runtime', 'onnxruntime'}\n"
        "for package in (r, f):\n"
        "    for m in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if m.name.rpartition('.')[2] not in skip | {'entry', '__main__'}:\n"
        "            importlib.import_module(m.name)\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'edgepack.build', 'edgepack.cli', 'click'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = _run(bin_dir, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_the_runner_starts_from_its_own_script(bin_dir: Path) -> None:
    done = _run(bin_dir, "edgepack-runner", "--help")
    assert done.returncode == 0
    assert "serve" in done.stdout


def test_a_build_without_its_extra_names_the_command_that_installs_it(
    bin_dir: Path, tmp_path: Path
) -> None:
    done = _run(bin_dir, "edgepack", "train", "--cache", str(tmp_path))
    assert done.returncode == 4, done.stderr
    assert "pip install 'edgepack[build]'" in done.stderr
