from __future__ import annotations

import ast
import sys
from pathlib import Path, PurePosixPath

import pytest

from edgepack.build.pack.sources import program_files, runner_files, tuning_files
from edgepack.formats.bundle import SEAL_BYTES, check_release_path, parse_seal
from edgepack.formats.variants import RuntimeName
from edgepack.runner.boot import entry


def imported_modules(source: bytes) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("runtime", [RuntimeName.LITERT, RuntimeName.ONNXRUNTIME_GPU])
def test_the_program_holds_every_module_it_imports_and_only_the_standard_library(
    runtime: RuntimeName,
) -> None:
    program = program_files(runtime)
    for_gpu = runtime is RuntimeName.ONNXRUNTIME_GPU
    assert any("/gpu/" in name for name in program) is for_gpu
    # The launcher runs after the installation, with the release on its path.
    launcher = "edgepack/runner/boot/launcher.py"
    for name, source in program.items():
        for module in imported_modules(source):
            if module.split(".")[0] == "edgepack":
                path = module.replace(".", "/")
                inside = f"{path}.py" in program or f"{path}/__init__.py" in program
                # What judges a card is imported where the bundle asks for one.
                absent = module.startswith("edgepack.runner.gpu.") and not for_gpu
                assert inside or name == launcher or absent, f"{name} imports {module}"
            elif module == "pynvml":
                # Where it is missing, the driver's files are looked at alone.
                assert name == "edgepack/runner/gpu/nvml.py"
            else:
                assert module.split(".")[0] in sys.stdlib_module_names, f"{name}: {module}"


def test_the_program_begins_with_the_seal_check() -> None:
    assert b"find_damage" in program_files()["__main__.py"]
    assert "edgepack/runner/boot/entry.py" not in program_files()


def test_the_entry_and_the_formats_agree_on_the_seal() -> None:
    sealed = entry.SEAL_LABEL + b"0" * 64
    assert entry.SEAL_BYTES == SEAL_BYTES
    assert parse_seal(sealed) == "0" * 64


def test_the_runners_files_are_the_packages_own_sources() -> None:
    files = runner_files()
    assert "runner/edgepack/runner/boot/store.py" in files
    assert "runner/edgepack/formats/manifest.py" in files
    repository = Path(entry.__file__).parents[3]
    for path, data in files.items():
        check_release_path(path, "runner_files")
        assert "__pycache__" not in path
        assert not path.startswith(("runner/edgepack/build", "runner/edgepack/cli"))
        relative = PurePosixPath(path).relative_to("runner")
        assert data == (repository / relative).read_bytes()


def test_what_tunes_is_in_no_bundle_and_nothing_that_is_imports_it() -> None:
    tuning = tuning_files()
    assert "runner/edgepack/runner/tuning/worker.py" in tuning
    assert "runner/edgepack/formats/tuning.py" in tuning
    shipped = {**runner_files(), **{f"p/{n}": d for n, d in program_files().items()}}
    assert not set(tuning) & set(shipped)
    assert "p/edgepack/formats/tuning.py" not in shipped
    for name, source in shipped.items():
        for node in ast.walk(ast.parse(source)):
            module = getattr(node, "module", None) or ""
            assert not module.startswith(("edgepack.formats.tuning", "edgepack.runner.tuning")), (
                name
            )


def test_what_is_for_graphics_cards_alone_travels_only_there_and_is_imported_late() -> None:
    everything = set(runner_files())
    cpu = runner_files(RuntimeName.LITERT)
    assert set(runner_files(RuntimeName.ONNXRUNTIME_GPU)) == everything
    absent = {name.removeprefix("runner/")[:-3].replace("/", ".") for name in everything - set(cpu)}
    absent |= {name.removesuffix(".__init__") for name in absent}
    assert "edgepack.runner.gpu.fit" in absent
    for name, source in cpu.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ImportFrom):
                assert node.module not in absent, f"{name} imports {node.module} when it is loaded"
