"""Takes out of a site what running a model never loads.

It is not aware of targets or wheels' hashes. Used by `edgepack.build.targets.site`.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgepack.build.targets import elf, no_blas

#: Folders of wheels that only developers of other packages need.
_FOLDERS = frozenset(
    {"tests", "test", "include", "f2py", "distutils", "__pycache__", "docs", "doc", "_examples"}
)
#: Files that only compilers, type checkers and installers read.
_SUFFIXES = frozenset(
    {".pyi", ".pxd", ".pyx", ".a", ".h", ".hpp", ".c", ".cpp", ".pyc", ".typed", ".lib", ".f90"}
)
#: What an installer writes of itself; paths and times in it differ from run to run.
_INSTALLER_FILES = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}
)
#: Parts of what the runner itself needs that are for other systems and other programs.
_ELSEWHERE = (
    "psutil/_ps[!lp]*.py",
    "prometheus_client/*/parser.py",
    "prometheus_client/parser.py",
    "prometheus_client/multiprocess.py",
)
#: Where auditwheel puts it, as all libraries that a wheel's modules are linked with.
_OPENBLAS = "*.libs/*openblas*"
_EMPTY_MODULE = b'"""Left out of this bundle: nothing on the box uses it."""\n'


def trim_site(site: Path, prune: Sequence[str], hollow: Sequence[str] = ()) -> None:
    """Removes tests, headers, stubs, installers' notes and what the globs name; shortens libraries.

    OpenBLAS gives way to a library that stands in for it (see `no_blas`), libraries that nothing
    is linked with any more go, and the rest keep what a loader reads.

    Args:
        site: The directory the wheels were unpacked into.
        prune: Globs against paths relative to it; `*` also matches `/`.
        hollow: Packages that others import and nobody uses, as paths relative to it; an empty
            module is left of each.
    """
    # Command-line programs of packages: the box has its own launcher.
    shutil.rmtree(site / "bin", ignore_errors=True)
    for path in _files(site):
        relative = path.relative_to(site)
        if (
            path.suffix in _SUFFIXES
            or _FOLDERS.intersection(relative.parts[:-1])
            or (relative.parts[0].endswith(".dist-info") and path.name in _INSTALLER_FILES)
            or any(
                fnmatch.fnmatchcase(relative.as_posix(), pattern)
                for pattern in (*prune, *_ELSEWHERE)
            )
        ):
            path.unlink()
        else:
            # Wheels made on other systems carry any mode; a library needs no execute bit.
            path.chmod(0o644)
    for package in hollow:
        _hollow_out(site / package)
    _replace_blas(site)
    for path in _libraries(site):
        path.write_bytes(elf.strip(path.read_bytes()))
    _remove_empty_folders(site)


def _hollow_out(package: Path) -> None:
    if not package.is_dir():
        return
    shutil.rmtree(package)
    package.mkdir()
    (package / "__init__.py").write_bytes(_EMPTY_MODULE)


def _replace_blas(site: Path) -> None:
    """Puts the stand-in where OpenBLAS was and removes what only OpenBLAS was linked with."""
    libraries = {path: elf.read_linkage(path.read_bytes()) for path in _libraries(site)}
    for path in [each for each in libraries if each.match(_OPENBLAS)]:
        own = libraries[path]
        asked = own.defined & frozenset().union(
            *(each.undefined for each in libraries.values() if own.soname in each.needed)
        )
        machine = elf.machine(path.read_bytes())
        if no_blas.can_stand_in(machine, asked):
            path.write_bytes(no_blas.make_stand_in(machine, own.soname, asked))
            libraries[path] = elf.Linkage(own.soname, frozenset(), asked, frozenset())
            _remove_unused(path.parent, libraries)


def _remove_unused(folder: Path, libraries: dict[Path, elf.Linkage]) -> None:
    """Removes the libraries of a folder that no other library is linked with, one by one."""
    while True:
        needed = frozenset().union(*(each.needed for each in libraries.values()))
        unused = [each for each in libraries if each.parent == folder and each.name not in needed]
        if not unused:
            return
        for path in unused:
            del libraries[path]
            path.unlink()


def _libraries(site: Path) -> list[Path]:
    """Returns the shared libraries of a site."""
    found = []
    for path in _files(site):
        if ".so" in path.suffixes or path.suffix == ".so":
            with path.open("rb") as file:
                if elf.is_elf(file.read(elf.HEADER_BYTES)):
                    found.append(path)
    return found


def _files(site: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(site):
        for name in names:
            yield Path(folder, name)


def _remove_empty_folders(site: Path) -> None:
    for folder, _, _ in os.walk(site, topdown=False):
        path = Path(folder)
        if path != site and not any(path.iterdir()):
            path.rmdir()
