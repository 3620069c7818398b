"""The runner's import graph, read from its source: what may be on a box and what may not."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ALLOWED = {"numpy", "httptools", "prometheus_client", "psutil"}
_GPU = {"pynvml"}
_RUNTIMES = {"ai_edge_litert", "tflite_runtime", "onnxruntime"}
#: Which file alone may import which foreign package.
_HOMES = {
    "ai_edge_litert": "runner/engines/litert.py",
    "tflite_runtime": "runner/engines/tflite_runtime.py",
    "onnxruntime": "runner/engines/onnxruntime.py",
    "httptools": "runner/http/protocol.py",
    "prometheus_client": "runner/http/metrics",
    "psutil": "runner/bench/process.py",
    "pynvml": "runner/gpu/nvml.py",
    "urllib.request": "runner/reports/transport.py",
}


def _imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module


def _sources(repository: Path, package: str) -> list[Path]:
    found = sorted((repository / "edgepack" / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("package", ["runner", "formats"])
def test_the_runner_needs_nothing_that_is_not_on_a_box(repository: Path, package: str) -> None:
    known = set(sys.stdlib_module_names) | _ALLOWED | _RUNTIMES | _GPU
    for path in _sources(repository, package):
        for name in _imports(path):
            if name.split(".")[0] == "edgepack":
                assert name == "edgepack" or name.split(".")[1] in ("runner", "formats"), (
                    f"{path} imports {name}"
                )
            else:
                assert name.split(".")[0] in known, f"{path} imports {name}"


def test_formats_know_nothing_of_the_runner(repository: Path) -> None:
    for path in _sources(repository, "formats"):
        for name in _imports(path):
            assert not name.startswith("edgepack.runner"), f"{path} imports {name}"
            assert name.split(".")[0] in {"edgepack", *sys.stdlib_module_names}


@pytest.mark.parametrize(("package", "home"), _HOMES.items())
def test_a_foreign_package_is_imported_in_one_place(
    repository: Path, package: str, home: str
) -> None:
    importers = [
        path
        for path in _sources(repository, "runner")
        if "boot" not in path.parts
        and any(name == package or name.startswith(f"{package}.") for name in _imports(path))
    ]
    place = repository / "edgepack" / home
    assert importers
    assert all(path == place or place in path.parents for path in importers)


def _loaded_by(repository: Path, start: str) -> Iterator[tuple[str, str]]:
    """Yields every import a module makes when it is loaded, followed module by module."""
    pending, seen = [start], set[str]()
    while pending:
        module = pending.pop()
        if module in seen:
            continue
        seen.add(module)
        base = repository / Path(*module.split("."))
        path = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
        for name in _imports(path, lazy=False):
            yield module, name
            if name.split(".")[0] == "edgepack":
                pending.append(name)


def test_the_command_line_imports_nothing_heavy_before_it_must(repository: Path) -> None:
    """What `edgepack-runner status` loads."""
    heavy = _ALLOWED | _RUNTIMES | _GPU | {"asyncio", "http", "urllib.request"}
    loaded = list(_loaded_by(repository, "edgepack.runner.main"))
    for module, name in loaded:
        assert name.split(".")[0] not in heavy, f"{module} imports {name}"
    assert "edgepack.runner.state" in {name for _, name in loaded}


@pytest.mark.parametrize(
    "start",
    ["daemon.serve", "bench.command", "checking", "doctor", "status", "choice.worker", "boot.main"],
)
def test_a_bundle_for_the_cpu_loads_nothing_of_graphics_cards(repository: Path, start: str) -> None:
    for module, name in _loaded_by(repository, f"edgepack.runner.{start}"):
        assert not name.startswith("edgepack.runner.gpu"), f"{module} imports {name}"
        assert name != "edgepack.runner.engines.onnxruntime_gpu", f"{module} imports it"
