"""The shape of the code: what may import what, and what starts quickly."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgepack.cli.main import COMMANDS, cli

#: Modules that take a second or hundreds of megabytes; importing a command may not load them.
HEAVY = ("tensorflow", "keras", "onnx", "onnxruntime", "ai_edge_litert", "tf2onnx", "pyarrow")
#: What a box has: the standard library and these.
ON_THE_BOX = {
    "ai_edge_litert",
    "edgepack",
    "httptools",
    "numpy",
    "onnxruntime",
    "prometheus_client",
    "psutil",
    "pynvml",
    "tflite_runtime",
}


def _modules(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


def test_the_runner_and_the_formats_need_only_what_a_box_has(repository: Path) -> None:
    for part in ("runner", "formats"):
        for path in _modules(repository / "edgepack" / part):
            for name in _imports(path):
                top = name.partition(".")[0]
                assert top in ON_THE_BOX or top in sys.stdlib_module_names, f"{path}: {name}"
                if top == "edgepack":
                    allowed = ("edgepack.runner", "edgepack.formats")
                    assert name == "edgepack" or name.startswith(allowed), f"{path}: {name}"


def test_the_bundles_program_and_the_formats_need_only_python(repository: Path) -> None:
    folders = [repository / "edgepack" / "formats", repository / "edgepack" / "runner" / "boot"]
    for folder in folders:
        for path in _modules(folder):
            for name in _imports(path):
                top = name.partition(".")[0]
                assert top == "edgepack" or top in sys.stdlib_module_names, f"{path}: {name}"


def test_the_three_programs_do_not_import_each_other(repository: Path) -> None:
    programs = ("build", "runner", "hub")
    for part in programs:
        others = tuple(f"edgepack.{other}" for other in (*programs, "cli") if other != part)
        for path in _modules(repository / "edgepack" / part):
            for name in _imports(path):
                assert not name.startswith(others), f"{path} imports {name}"


def test_only_the_command_line_prints_on_the_host(repository: Path) -> None:
    allowed = ("cli", "runner")
    for path in _modules(repository / "edgepack"):
        if path.relative_to(repository / "edgepack").parts[0] in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_print = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
            # A worker is a program of its own: its line of output is its answer.
            assert not is_print or path.name == "worker.py", f"{path}:{node}"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_loads_without_heavy_libraries_and_has_help(name: str) -> None:
    before = set(sys.modules)
    command = cli.get_command(click.Context(cli), name)
    loaded = {module.partition(".")[0] for module in set(sys.modules) - before}
    assert not loaded & set(HEAVY)
    assert command is not None
    assert command.help
    assert "Example" in command.help or isinstance(command, click.Group)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_short_help_is_the_first_sentence_of_the_long_one(name: str) -> None:
    module, attribute = COMMANDS[name][0].split(":")
    command = getattr(importlib.import_module(module), attribute)
    assert str(command.help).splitlines()[0] == COMMANDS[name][1]


def test_files_and_functions_stay_small(repository: Path) -> None:
    for path in [*_modules(repository / "edgepack"), *_modules(repository / "tests")]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 450, f"{path} has {lines} lines"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 80, f"{path}: {node.name} has {length} lines"
