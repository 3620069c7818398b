"""Runs a program inside a root: its own files, processes and no network.

With bubblewrap, which needs no rights; where that is not allowed and the caller is root, with
mount namespaces and chroot. It is not aware of what it runs. Used by
`edgepack.build.emulate.verification` and tests.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from edgepack.build.emulate.root import Root, RootUnavailableError
from edgepack.build.process import ChildResult, run_limited
from edgepack.formats.errors import Problem

_PROBE_TIMEOUT_S: Final = 10.0
#: The root is read-only; everything a program may see or write is mounted below here.
MOUNT_BASE: Final = PurePosixPath("/mnt")


@dataclass(frozen=True, slots=True)
class Bind:
    """A host folder shown inside a root, at /mnt/NAME."""

    source: Path
    name: str
    writable: bool = False

    @property
    def inside(self) -> PurePosixPath:
        """Where it lies inside."""
        return MOUNT_BASE / self.name


def run_in_root(
    root: Root,
    argv: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    cpu_model: str | None = None,
    timeout_s: float,
    memory_bytes: int | None = None,
    env: Mapping[str, str] | None = None,
    network: bool = False,
) -> ChildResult:
    """Runs a program inside a root.

    Args:
        root: The root; it is shown read-only, with an empty /tmp.
        argv: The program and its arguments, as paths inside.
        binds: Host folders to show.
        cpu_model: The CPU to be in QEMU's words; only an emulated root heeds it.
        timeout_s: Wall-clock limit in seconds.
        memory_bytes: Limit of resident memory, emulator included.
        env: Further variables; nothing of the caller's environment is passed on.
        network: Whether it may use the host's network, loopback included.

    Returns:
        How it ended; a signal inside shows as `ChildResult.signal`.

    Raises:
        RootUnavailableError: Neither bubblewrap nor chroot works here.
    """
    variables = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",  # noqa: S108 - the sandbox's own, empty and gone afterwards
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **(env or {}),
    }
    if root.emulated:
        variables["EDGEPACK_EMULATED"] = "1"
        if cpu_model:
            variables["QEMU_CPU"] = cpu_model
    if _bubblewrap_works():
        command = bubblewrap_command(root, argv, binds, variables, network=network)
    elif os.geteuid() == 0 and _namespaces_work():
        command = chroot_command(root, argv, binds, variables, network=network)
    else:
        hint = "apt install --no-install-recommends bubblewrap"
        text = "is not installed, or this host does not allow its namespaces"
        raise RootUnavailableError(root.arch, [Problem("bwrap", text, hint)])
    return run_limited(command, timeout_s=timeout_s, memory_bytes=memory_bytes)


def bubblewrap_command(
    root: Root,
    argv: Sequence[str],
    binds: Sequence[Bind],
    env: Mapping[str, str],
    *,
    network: bool,
) -> list[str]:
    """Returns the command that runs a program with bubblewrap.

    The host's /sys is left out on purpose: an ARM program that reads an x86 machine's
    topology there does what it would do on no device. The root has a small one of its own.
    """
    command = ["bwrap", "--ro-bind", str(root.path), "/", "--dev", "/dev", "--proc", "/proc"]
    for folder in ("/tmp", "/run", str(MOUNT_BASE)):  # noqa: S108 - mount points inside
        command += ["--tmpfs", folder]
    for bind in binds:
        kind = "--bind" if bind.writable else "--ro-bind"
        command += [kind, str(bind.source), str(bind.inside)]
    command += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]
    command += ["--new-session", "--chdir", "/", "--clearenv"]
    if not network:
        command.append("--unshare-net")
    for name, value in env.items():
        command += ["--setenv", name, value]
    return [*command, "--", *argv]


def chroot_command(
    root: Root,
    argv: Sequence[str],
    binds: Sequence[Bind],
    env: Mapping[str, str],
    *,
    network: bool,
) -> list[str]:
    """Returns the command that runs a program with unshare, mount and chroot, as root."""
    top = shlex.quote(str(root.path))
    steps = [
        "set -e",
        f"mount --bind {top} {top}",
        f"mount -o remount,bind,ro {top}",
        f"mount -t proc proc {top}/proc",
        f"mount --rbind /dev {top}/dev",
        *(f"mount -t tmpfs tmpfs {top}/{name}" for name in ("tmp", "run", "mnt")),
    ]
    for bind in binds:
        inside = shlex.quote(f"{root.path}{bind.inside}")
        steps += [f"mkdir {inside}", f"mount --bind {shlex.quote(str(bind.source))} {inside}"]
        if not bind.writable:
            steps.append(f"mount -o remount,bind,ro {inside}")
    variables = [f"{name}={value}" for name, value in env.items()]
    # Both are the host's own programs; the root has neither.
    # The shell stays as the first process of the namespace, whom no signal of its own can end.
    program = shlex.join(["env", "-i", *variables, "chroot", str(root.path), *argv])
    steps += [f"{program} || exit $?", "exit 0"]
    command = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    if not network:
        command.append("--net")
    return [*command, "sh", "-c", "\n".join(steps)]


@functools.cache
def _bubblewrap_works() -> bool:
    if shutil.which("bwrap") is None:
        return False
    probe = ["bwrap", "--ro-bind", "/", "/", "--unshare-net", "--unshare-pid", "true"]
    return run_limited(probe, timeout_s=_PROBE_TIMEOUT_S).ok


@functools.cache
def _namespaces_work() -> bool:
    if shutil.which("unshare") is None or shutil.which("chroot") is None:
        return False
    probe = ["unshare", "--mount", "--pid", "--fork", "true"]
    return run_limited(probe, timeout_s=_PROBE_TIMEOUT_S).ok
