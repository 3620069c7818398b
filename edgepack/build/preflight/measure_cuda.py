"""Asks onnxruntime-gpu itself which operators its CUDA provider has kernels for.

`cuda_kernels.json` beside this file is made with it, on any x86-64 Linux machine with gcc and
binutils; no card and no CUDA are needed:

    python edgepack/build/preflight/measure_cuda.py SITE > cuda_kernels.json

where SITE is a directory with the wheels of onnxruntime-gpu and numpy. The provider's library is
loaded over stand-ins of CUDA's libraries, made on the spot, whose functions do nothing: the table
of kernels is made while the provider is constructed and needs none of them. It imports nothing of
edgepack, because the table is read in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

_PROVIDERS = ("libonnxruntime_providers_cuda.so", "libonnxruntime_providers_tensorrt.so")
_FOREIGN = re.compile(r"(cu|__cuda|createInfer|getInfer|getPlugin|createNv|getNv|initLibNv)")
#: What has to answer something else than 0 for a provider to be constructed.
_ANSWERS = {
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int *n) { *n = 1; return 0; }",
    "cudaMalloc": "int cudaMalloc(void **p, size_t n) { *p = malloc(n); return 0; }",
    "cudaMemGetInfo": "int cudaMemGetInfo(size_t *a, size_t *b) { *a = *b = 1ul << 33; return 0; }",
}
_DUMP = """
import json
from onnxruntime.capi import onnxruntime_pybind11_state as state
print(json.dumps([
    (each.provider, each.domain, each.op_name, each.version_range, dict(each.type_constraints))
    for each in state.get_all_opkernel_def()
]))
"""
_NEWEST = 2**31 - 1


def stand_in_libraries(site: Path, folder: Path) -> None:
    """Makes a library for each that the providers need, with every function they ask for.

    Args:
        site: Where onnxruntime-gpu is.
        folder: Where the libraries go.
    """
    symbols: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in _PROVIDERS:
        path = site / "onnxruntime" / "capi" / name
        for library in re.findall(r"NEEDED.*\[(lib(?:cu|nv).*)\]", _read_elf("-d", path)):
            symbols[library][""].update()
        for symbol, version in re.findall(r"UND (\w+)(?:@(\S+))?", _read_elf("--dyn-syms", path)):
            if _FOREIGN.match(symbol):
                # TensorRT's two functions carry no version, and either library may have them.
                symbols[version or "libnvinfer.so.10"][version].add(symbol)
    for library, versions in symbols.items():
        _compile(folder, library, versions)


def _read_elf(option: str, path: Path) -> str:
    command = ["readelf", "--wide", option, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _compile(folder: Path, library: str, versions: dict[str, set[str]]) -> None:
    names = sorted(set().union(*versions.values()))
    source = "#include <stdlib.h>\n" + "\n".join(
        _ANSWERS.get(name, f"long {name}() {{ return 0; }}") for name in names
    )
    (folder / "stand_in.c").write_text(source + "\nint edgepack_stand_in;\n")
    script = "".join(
        f"{version} {{ global: {' '.join(f'{name};' for name in sorted(found))} }};\n"
        for version, found in versions.items()
        if version
    )
    (folder / "versions").write_text(script)
    command = ["gcc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{library}"]
    command += [f"-Wl,--version-script={folder / 'versions'}"] if script else []
    output = ["-o", str(folder / library), str(folder / "stand_in.c")]
    subprocess.run([*command, *output], check=True)


def read_kernels(site: Path, libraries: Path) -> list[Any]:
    """Returns the CUDA provider's kernels as the runtime tells them."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", _DUMP], env=environment, capture_output=True, text=True, check=True
    )
    rows = json.loads(done.stdout.splitlines()[-1])
    return [row[1:] for row in rows if row[0] == "CUDAExecutionProvider"]


def compact(kernels: list[Any]) -> dict[str, list[Any]]:
    """Puts kernels that differ in one type only together.

    Args:
        kernels: Domain, operator, first and last version, types by constraint.

    Returns:
        By `domain.operator` (the operator alone for ONNX's own): first version, last or None,
        and the types of each constraint.
    """
    rows: dict[tuple[str, int, int], list[dict[str, list[str]]]] = defaultdict(list)
    for domain, name, (first, last), types in kernels:
        plain = {key: [_plain(each) for each in some] for key, some in sorted(types.items())}
        rows[f"{domain}.{name}" if domain else name, first, last].append(plain)
    found: dict[str, list[Any]] = defaultdict(list)
    for (name, first, last), each in sorted(rows.items()):
        for key in sorted({key for types in each for key in types}):
            each = _merged(each, key)  # noqa: PLW2901 - merged by one constraint after the other
        end = None if last == _NEWEST else last
        found[name] += [[first, end, types] for types in each]
    return found


def _plain(kind: str) -> str:
    return kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else kind


def _merged(rows: list[dict[str, list[str]]], key: str) -> list[dict[str, list[str]]]:
    groups: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        rest = json.dumps({name: some for name, some in row.items() if name != key})
        known = groups.setdefault(rest, {**row, key: []} if key in row else dict(row))
        if key in row:
            known[key] = sorted({*known.get(key, []), *row[key]})
    return list(groups.values())


def write_table(version: str, table: dict[str, list[Any]]) -> str:
    """Returns the JSON text, an operator a line."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(rows, separators=(',', ':'))}"
        for name, rows in sorted(table.items())
        # What the runtime makes of convolutions by itself; no file names these.
        if not name.startswith("com.ms.internal.")
    ]
    body = ",\n".join(lines)
    head = f'{{"source": {json.dumps(_SOURCE)},\n"versions": {{{json.dumps(version)}: {{\n'
    return f"{head}{body}\n}}}}}}\n"


def main(site: Path) -> None:
    """Prints the table of one version."""
    version = next(site.glob("onnxruntime_gpu-*.dist-info")).name.split("-")[1].split(".dist")[0]
    with tempfile.TemporaryDirectory() as folder:
        stand_in_libraries(site, Path(folder))
        table = compact(read_kernels(site, Path(folder)))
    sys.stdout.write(write_table(version, table))


_SOURCE = "get_all_opkernel_def() of the wheel; made by measure_cuda.py"

if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
