"""Looks at the host: which tools of a build are there, and the command for each that is not.

It is not aware of models. Used by the command line's `doctor`.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from edgepack.build.emulate.binfmt import (
    APT_INSTALL,
    find_interpreter,
    is_native,
    registration_command,
)
from edgepack.build.targets.target import Arch, Target

_BUILD_PACKAGES: Final = (
    *("tensorflow", "keras", "onnx", "tf2onnx", "onnxruntime", "ai-edge-litert", "uv"),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a build needs.

    Attributes:
        name: What it is.
        ok: Whether it is there.
        found: Its version or path, or what is wrong.
        fix: The command that mends it; empty when all is well.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""


def check_host(
    targets: Iterable[Target],
    *,
    which: Callable[[str], str | None] = shutil.which,
    version: Callable[[str], str] = importlib.metadata.version,
) -> list[Check]:
    """Checks the host for everything that builds for some targets need.

    Args:
        targets: The targets.
        which: Finds a program's path.
        version: Finds an installed package's version.

    Returns:
        One check for each tool, in the order a build meets them. Nothing is changed.
    """
    checks = [_package(name, version) for name in _BUILD_PACKAGES]
    checks += [
        _program("mmdebstrap", "mmdebstrap", which),
        _program("bwrap", "bubblewrap", which),
    ]
    foreign = sorted({each.arch for each in targets if not is_native(each.arch)})
    if foreign:
        checks.append(_program("arch-test", "arch-test", which))
    for arch in foreign:
        checks.append(_program(f"qemu-{arch}-static", "qemu-user-static", which))
        checks.append(_interpreter(arch))
    return checks


def _package(name: str, version: Callable[[str], str]) -> Check:
    try:
        return Check(name, True, version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", "pip install 'edgepack[build]'")


def _program(name: str, package: str, which: Callable[[str], str | None]) -> Check:
    path = which(name)
    fix = f"apt install --no-install-recommends {package}"
    return Check(name, True, path) if path else Check(name, False, "not installed", fix)


def _interpreter(arch: Arch) -> Check:
    name = f"binfmt {arch}"
    if found := find_interpreter(arch):
        return Check(name, True, found.path)
    return Check(name, False, "not registered in the kernel", registration_command(arch))


def missing(checks: Iterable[Check]) -> Mapping[str, str]:
    """Returns the fix of each check that failed, by name."""
    return {each.name: each.fix for each in checks if not each.ok}


__all__ = ["APT_INSTALL", "Check", "check_host", "missing"]
