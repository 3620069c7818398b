"""A box with a stand-in for NVIDIA's library: the real Python package over it, the real runtime.

`libnvidia-ml.so.1` is compiled here and found through LD_LIBRARY_PATH, as the driver's would be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.cache import Cache
from edgepack.build.targets import load_target, make_site
from edgepack.runner.gpu.needs import CUDA_LIBRARIES
from tests.e2e.doubling import lay_out, write_onnx
from tests.e2e.standin_nvml import compile_driver, compile_library

_LOOK = (
    "import json; from edgepack.formats.typed import to_plain; "
    "from edgepack.runner.gpu.nvml import look_at_cards; "
    "print(json.dumps(to_plain(look_at_cards())))"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-in of the driver's library."""
    return compile_driver(tmp_path_factory.mktemp("driver"))


def _environment(*folders: Path, **told: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "LD_LIBRARY_PATH": ":".join(map(str, folders)), **told}


def _look(repository: Path, *folders: Path, **told: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-c", _LOOK],
        cwd=repository,
        env=_environment(*folders, **told),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_the_real_package_reads_the_stand_in_card(repository: Path, driver: Path) -> None:
    look = _look(repository, driver)
    assert look["trouble"] is None, look["words"]
    (card,), (state,) = look["cards"], look["states"]
    assert (look["driver_version"], look["cuda_version"]) == ("550.54.15", "12.4")
    assert (card["name"], card["compute_capability"]) == ("NVIDIA L4", "8.9")
    assert (card["compute_mode"], card["persistence_mode"]) == ("default", True)
    assert card["missing"] == {"mig_mode": "Not Supported"}
    assert (state["temperature_mc"], state["power_mw"]) == (41_000, 12_500)
    assert state["utilisation"] == 0.07
    assert state["throttle_reasons"] == ["gpu_idle"]
    assert state["missing"] == {}


@pytest.mark.parametrize(
    ("told", "trouble"),
    [({"STANDIN_INIT": "18"}, "mismatch"), ({"STANDIN_INIT": "9"}, "not_loaded")],
)
def test_what_the_library_refuses_with_is_known_by_its_number(
    repository: Path, driver: Path, told: dict[str, str], trouble: str
) -> None:
    assert _look(repository, driver, **told)["trouble"] == trouble


def test_without_the_library_that_is_what_is_said(repository: Path, tmp_path: Path) -> None:
    assert _look(repository, tmp_path)["trouble"] == "no_library"


class Box:
    """A release of the target `gpu` with the wheel that the box brings, checked as on the box."""

    def __init__(self, folder: Path, cache: Cache, repository: Path) -> None:
        target = load_target("gpu")
        runtime = target.runtime("onnxruntime-gpu")
        site = make_site(target, runtime, cache)
        assert site.external_path is not None
        model = folder / "double.onnx"
        write_onnx(model)
        self.release = folder / "release"
        lay_out(self.release, target, runtime, site.path, model, 3.0)
        self.packages = [site.path, site.external_path]
        self._path = [repository, *self.packages]

    def check(self, *folders: Path, **told: str) -> dict[str, Any]:
        """Runs `edgepack-runner check` with nothing but the release and the wheel to import."""
        start = f"import sys; sys.path[:0] = {[str(each) for each in self._path]!r}; "
        release = str(self.release)
        start += "from edgepack.runner.main import main; sys.exit(main(sys.argv[1:]))"
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-c", start, *("check", "--json", "--release"), release],
            env=_environment(*folders, **told),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        assert (found["ok"], found["provider"]) == (True, "CPUExecutionProvider")
        return found


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, own_cache: Cache, repository: Path) -> Box:
    return Box(tmp_path_factory.mktemp("box"), own_cache, repository)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"STANDIN_DRIVER": "470.82.01", "STANDIN_CUDA": "11040"}, "found 470.82.01, which runs"),
        ({"STANDIN_CAPABILITY": "5"}, "found compute capability 5.9; needed 6.0"),
        ({"STANDIN_FREE": "1000000"}, "the memory of NVIDIA L4: found 1 MiB free"),
        ({"STANDIN_MODE": "2"}, "found prohibited; needed default"),
        ({"STANDIN_INIT": "18"}, "the same version of both"),
        ({"STANDIN_CARDS": "0"}, "found none, though the driver runs"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES: found '-1'"),
        ({}, "the CUDA runtime (libcudart.so.12): found"),
    ],
)
def test_the_real_runtime_answers_on_the_cpu_and_the_reason_is_named(
    box: Box, driver: Path, told: dict[str, str], words: str
) -> None:
    fallback = box.check(driver, **told)["fallback"]
    assert fallback.startswith("CUDAExecutionProvider cannot be used: ")
    assert words in fallback


def test_without_a_driver_the_real_runtime_says_so(box: Box, tmp_path: Path) -> None:
    if list(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has a driver")
    assert "the NVIDIA driver: found none" in box.check(tmp_path)["fallback"]


def test_libraries_that_look_right_and_are_not_end_on_the_cpu_as_well(
    box: Box, driver: Path, tmp_path: Path
) -> None:
    for library in CUDA_LIBRARIES:
        compile_library(tmp_path, library.soname)
    fallback = box.check(driver, tmp_path)["fallback"]
    assert fallback.startswith("CUDAExecutionProvider cannot load the model: ")
    assert str(tmp_path) not in fallback


def test_the_table_of_kernels_is_what_the_wheel_says(
    box: Box, repository: Path, tmp_path: Path
) -> None:
    folder = repository / "edgepack" / "build" / "preflight"
    site = tmp_path / "site"
    site.mkdir()
    for place in box.packages:
        for each in place.iterdir():
            if not (site / each.name).exists():
                (site / each.name).symlink_to(each)
    ended = subprocess.run(
        [sys.executable, str(folder / "measure_cuda.py"), str(site)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (folder / "cuda_kernels.json").read_text()
