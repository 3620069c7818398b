"""Starts the runner of a root's current release: `ROOT/bin/edgepack-runner`.

`install` writes this file's text there under a first line that names the Python it ran in, so
it must stand alone. It finds the root from its own path, lets nothing be imported but the
standard library, the release and what the release says the box brings, and keeps byte code in
the state directory, as the root may be read-only. It is not aware of what the runner does.
Nobody imports it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def standard_library_path(entries: list[str], library: str) -> list[str]:
    """Keeps the entries of an import path that belong to the standard library.

    Args:
        entries: Such as `sys.path`.
        library: The directory of the standard library.
    """
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    dynamic = ("lib-dynload",)
    return [
        entry
        for entry in entries
        if entry == library
        or Path(entry).name == archive
        or (Path(entry).name in dynamic and Path(entry).parent.name.startswith("python"))
    ]


def import_path(release: Path, library: list[str]) -> list[str]:
    """Returns the whole import path of a release: its own folders, the library, the box's.

    Args:
        release: The release's directory.
        library: The standard library's entries.
    """
    brought: list[str] = []
    try:
        document = json.loads((release / "external.json").read_text("utf-8"))
        brought = [str(release / path) for path in document.get("paths", [])]
    except (OSError, ValueError):
        # Only thin bundles have this file.
        pass
    return [str(release / "runner"), str(release / "site"), *library, *brought]


def state_directory(root: Path) -> Path:
    """Returns where the runner keeps what it writes: the environment's word, the root's, state."""
    if chosen := os.environ.get("EDGEPACK_STATE"):
        return Path(chosen)
    try:
        marker = json.loads((root / "edgepack-root.json").read_text("utf-8"))
        return root / str(marker["state"])
    except (OSError, ValueError, KeyError):
        return root / "state"


def main(root: Path) -> int:
    """Runs the current release's runner with this process's arguments.

    Args:
        root: The installation.

    Returns:
        The exit status.
    """
    # Resolved once: a switch while the runner starts must not mix two releases.
    release = (root / "current").resolve()
    if not (release / "runner").is_dir():
        sys.stderr.write(
            f"error: {root} has no current release\n"
            "hint: install a bundle there: python3 FILE.pyz install --root " + f"{root}\n"
        )
        return 8
    state = state_directory(root)
    os.environ["EDGEPACK_ROOT"] = str(root)
    os.environ["EDGEPACK_STATE"] = str(state)
    sys.pycache_prefix = str(state / "pycache")
    library = standard_library_path(sys.path, str(Path(os.__file__).parent))
    sys.path[:] = import_path(release, library)
    sys.path_importer_cache.clear()
    from edgepack.runner.main import main as run

    return int(run(sys.argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
