"""Finds shared libraries where the loader would, and NVIDIA's wheels', without loading them.

It is not aware of what anyone needs them for. Used by `looking`.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepack.runner.gpu.needs import Library

_CACHE = "etc/ld.so.cache"
_MAX_CACHE_BYTES = 64 * 2**20
#: Source: glibc, sysdeps/generic/dl-cache.h: `struct cache_file_new` and `file_entry_new`.
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER_BYTES = 48
_CACHE_ENTRY = struct.Struct("=iIIIQ")
_ELF_HEAD_BYTES = 20
#: Source: elf.h, EM_X86_64 and EM_AARCH64.
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


@dataclass(frozen=True, slots=True)
class Found:
    """Where libraries are.

    Attributes:
        paths: The file of each that is there and whole, by its exact name.
        others: Files with the same stem and another version or form, by the exact name that
            was looked for: what stands in the way of finding it.
    """

    paths: Mapping[str, Path]
    others: Mapping[str, tuple[str, ...]]


def search_folders(
    environment: Mapping[str, str], import_path: Sequence[str], root: Path = Path("/")
) -> tuple[Path, ...]:
    """Lists where shared libraries may be, in the loader's order.

    Args:
        environment: Environment variables, for `LD_LIBRARY_PATH`.
        import_path: Where Python looks; NVIDIA's wheels lie there as `nvidia/*/lib`.
        root: The file tree to look at.

    Returns:
        Folders that exist, each once: wheels, the environment's, those of the loader's cache,
        the usual ones, and CUDA's own that NVIDIA's installer does not always tell the loader.
    """
    machine = platform.machine()
    named = [each for each in environment.get("LD_LIBRARY_PATH", "").split(":") if each]
    wheels = [
        folder
        for entry in import_path
        if entry
        for folder in (
            *_children(Path(entry) / "nvidia", "*/lib"),
            *_children(Path(entry), "tensorrt_libs"),
        )
    ]
    usual = (f"lib/{machine}-linux-gnu", f"usr/lib/{machine}-linux-gnu", "lib64", "usr/lib64")
    toolkit = _children(root / "usr/local", "cuda*/lib64")
    folders = [
        *wheels,
        *(root / each.lstrip("/") for each in named),
        *_cached_folders(root),
        *(root / each for each in (*usual, "lib", "usr/lib", "usr/lib/wsl/lib")),
        *toolkit,
    ]
    return tuple(dict.fromkeys(each for each in folders if each.is_dir()))


def find_libraries(wanted: Iterable[Library], folders: Sequence[Path]) -> Found:
    """Finds libraries by their exact names.

    Args:
        wanted: Which.
        folders: Where, in this order.

    Returns:
        What is there.
    """
    paths, others = {}, {}
    for library in wanted:
        path = next(
            (each for f in folders if (each := f / library.soname).is_file() and _is_ours(each)),
            None,
        )
        if path is not None:
            paths[library.soname] = path
            continue
        seen = {each.name for folder in folders for each in _children(folder, f"{library.stem}*")}
        others[library.soname] = tuple(sorted(seen))
    return Found(paths, others)


def _children(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _is_ours(path: Path) -> bool:
    """Whether a file is a shared library for this machine; one that was cut off is not."""
    try:
        with path.open("rb") as file:
            head = file.read(_ELF_HEAD_BYTES)
    except OSError:
        return False
    if len(head) < _ELF_HEAD_BYTES or head[:4] != b"\x7fELF":
        return False
    machine = _ELF_MACHINES.get(platform.machine())
    return machine is None or int.from_bytes(head[18:20], "little") == machine


def _cached_folders(root: Path) -> list[Path]:
    """Returns the folders of the loader's cache, in its order; none when it cannot be read."""
    try:
        with (root / _CACHE).open("rb") as file:
            data = file.read(_MAX_CACHE_BYTES)
    except OSError:
        return []
    start = data.find(_CACHE_MAGIC)
    if start < 0:
        return []
    data = data[start:]
    folders: dict[Path, None] = {}
    try:
        (count,) = struct.unpack_from("=I", data, len(_CACHE_MAGIC))
        for number in range(count):
            place = _CACHE_HEADER_BYTES + number * _CACHE_ENTRY.size
            _, _, value, _, _ = _CACHE_ENTRY.unpack_from(data, place)
            name = data[value : data.index(b"\0", value)].decode("utf-8", "replace")
            folders[root / name.lstrip("/").rpartition("/")[0]] = None
    except (struct.error, ValueError):
        # A cache of another form; the usual folders are looked at anyway.
        return list(folders)
    return list(folders)
