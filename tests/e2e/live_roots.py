"""Installed roots whose releases run the checkout's runner with this environment's packages."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from edgepack.formats.variants import RuntimeName
from tests.e2e.real_models import write_real_release

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_LAUNCHER = _REPOSITORY / "edgepack" / "runner" / "boot" / "launcher.py"


def make_root(root: Path) -> Path:
    """Lays out a root without releases, as an install does, and returns it."""
    (root / "bin").mkdir(parents=True)
    (root / "releases").mkdir()
    (root / "state").mkdir()
    launcher = root / "bin" / "edgepack-runner"
    launcher.write_text(f"#!{sys.executable}\n{_LAUNCHER.read_text()}")
    launcher.chmod(0o755)
    return root


def add_release(
    root: Path, version: str, model: Path, runtime: RuntimeName, max_batch: int = 1
) -> Path:
    """Adds a release of a model; it is not current yet."""
    release = root / "releases" / version
    write_real_release(release, model, runtime, version, max_batch)
    (release / "runner").mkdir()
    (release / "runner" / "edgepack").symlink_to(_REPOSITORY / "edgepack")
    (release / "site").symlink_to(sysconfig.get_path("purelib"))
    return release


def switch(root: Path, release: Path, link: str = "current") -> None:
    """Points a link of the root at a release with one rename, as an install does."""
    new = root / f"{link}.new"
    new.symlink_to(Path("releases") / release.name)
    os.replace(new, root / link)


def start(root: Path, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts the root's launcher; its log is a file, as a handover keeps it open."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("EDGEPACK_")}
    known.pop("PYTHONPATH", None)
    command = [str(root / "bin" / "edgepack-runner"), "serve", "--port", "0", *arguments]
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=known)
