"""Says whether a bundle can live on this box, and what is wrong or tight where it cannot.

It looks at nothing itself but the disk; what it judges is given. Used by `main`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgepack.formats.manifest import Manifest, TargetInfo
from edgepack.runner.boot import external
from edgepack.runner.boot.disk import Disk
from edgepack.runner.boot.machine import Machine, check_machine

Status = Literal["ok", "warn", "fail", "unknown"]

#: A kernel keeps part of the memory to itself; less than this share of the target's is tight.
_MEMORY_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Check:
    """One fact and its verdict.

    Attributes:
        name: What was looked at.
        status: `fail` keeps the bundle from running; `warn` does not.
        found: What is there.
        needed: What the bundle wants.
        hint: What to do, where something is wrong.
    """

    name: str
    status: Status
    found: str
    needed: str
    hint: str | None = None

    def to_json(self) -> Mapping[str, Any]:
        """Returns the check as a JSON object."""
        return asdict(self)


def examine(
    machine: Machine,
    manifest: Manifest,
    folder: Path,
    *,
    disk: Disk | None = None,
    find: external.Finder = external.find_installed,
) -> list[Check]:
    """Judges a box.

    Args:
        machine: The box.
        manifest: The bundle's.
        folder: Where it would be installed; the nearest directory that exists is looked at.
        disk: What knows the free space.
        find: What finds the box's own packages.

    Returns:
        Every check, in the order a person reads them.
    """
    target = manifest.target
    bad = {problem.where: problem for problem in check_machine(machine, target)}
    wanted = {
        "os": (machine.os, target.os),
        "arch": (machine.arch, target.arch),
        "python": (machine.python, target.python),
        "glibc": (machine.glibc or "none", f"{target.glibc} or newer"),
    }
    checks = []
    for name, (found, needed) in wanted.items():
        problem = bad.get(name)
        status: Status = "fail" if problem else "ok"
        checks.append(Check(name, status, found, needed, problem.hint if problem else None))
    checks.append(_check_cpu(machine, target))
    checks.append(_check_memory(machine, target))
    checks.append(_check_disk(manifest, folder, disk or Disk()))
    lzma: Status = "ok" if machine.has_lzma else "fail"
    hint = None if machine.has_lzma else "apt-get install python3"
    checks.append(Check("lzma", lzma, "present" if machine.has_lzma else "none", "present", hint))
    return [*checks, *_check_wheels(manifest, find)]


def _check_cpu(machine: Machine, target: TargetInfo) -> Check:
    needed = ", ".join(target.cpu_flags) or "no special flags"
    name = machine.cpu or "an unnamed CPU"
    if machine.cpu_flags is None:
        return Check("cpu", "unknown", f"{name}; the kernel names no flags", needed)
    lacking = [flag for flag in target.cpu_flags if flag not in machine.cpu_flags]
    if lacking:
        return Check("cpu", "fail", f"{name} without {', '.join(lacking)}", needed)
    return Check("cpu", "ok", name, needed)


def _check_memory(machine: Machine, target: TargetInfo) -> Check:
    needed = f"{target.memory_mb} MB"
    if machine.memory_bytes is None:
        return Check("memory", "unknown", "not told by the kernel", needed)
    found_mb = machine.memory_bytes / 1e6
    tight = found_mb < target.memory_mb * _MEMORY_SHARE
    return Check("memory", "warn" if tight else "ok", f"{found_mb:.0f} MB", needed)


def _check_disk(manifest: Manifest, folder: Path, disk: Disk) -> Check:
    while not folder.is_dir():
        folder = folder.parent
    needed = sum(record.size for record in manifest.files)
    free = disk.free_bytes(folder)
    status: Status = "ok" if free >= needed else "fail"
    return Check(
        "disk",
        status,
        f"{free / 1e6:.0f} MB free at {folder}",
        f"{needed / 1e6:.1f} MB",
        None if status == "ok" else "free some space, or install elsewhere with --root",
    )


def _check_wheels(manifest: Manifest, find: external.Finder) -> list[Check]:
    checks = []
    for wheel in manifest.runtime.external:
        found = find(wheel.name)
        good = external.check_installed(wheel, find) is not None
        # Not a failure: install can still be given the wheel.
        checks.append(
            Check(
                wheel.name,
                "ok" if good else "warn",
                found[0] if found else "not installed",
                wheel.version,
                None if good else "or `install --wheels DIR`, or `install --fetch`",
            )
        )
    return checks
