"""Takes out of a site what running a model never loads.

It is not aware of targets or wheels' hashes. Used by `edgepack.build.targets.site`.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

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


def trim_site(site: Path, prune: Sequence[str]) -> None:
    """Removes tests, headers, stubs, installers' notes and what the globs name.

    Args:
        site: The directory the wheels were unpacked into.
        prune: Globs against paths relative to it; `*` also matches `/`.
    """
    # Command-line programs of packages: the box has its own launcher.
    shutil.rmtree(site / "bin", ignore_errors=True)
    for path in _files(site):
        relative = path.relative_to(site)
        if (
            path.suffix in _SUFFIXES
            or _FOLDERS.intersection(relative.parts[:-1])
            or (relative.parts[0].endswith(".dist-info") and path.name in _INSTALLER_FILES)
            or any(fnmatch.fnmatchcase(relative.as_posix(), pattern) for pattern in prune)
        ):
            path.unlink()
        else:
            # Wheels made on other systems carry any mode; a library needs no execute bit.
            path.chmod(0o644)
    _remove_empty_folders(site)


def _files(site: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(site):
        for name in names:
            yield Path(folder, name)


def _remove_empty_folders(site: Path) -> None:
    for folder, _, _ in os.walk(site, topdown=False):
        path = Path(folder)
        if path != site and not any(path.iterdir()):
            path.rmdir()
