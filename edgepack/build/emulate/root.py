"""Makes the small Debian root that a target's Python runs in.

Made with mmdebstrap from the host's own apt sources or a mirror; nothing of the foreign
architecture runs while it is made. It is not aware of models. Used by
`edgepack.build.emulate.verification` and tests.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepack.build.cache import Cache
from edgepack.build.emulate.apt import find_sources
from edgepack.build.emulate.binfmt import ensure_interpreter, is_native
from edgepack.build.process import ChildResult, run_limited
from edgepack.build.targets.target import Arch, Target
from edgepack.formats.errors import MissingToolError, Problem

#: What a box with Debian's Python has beside the essential packages.
PACKAGES: Final = ("python3", "python3-minimal", "libstdc++6", "ca-certificates")
#: Folders that no program reads, and devices, which only root could make.
_LEFT_OUT: Final = ("./dev/*", "./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*")
#: The processors of a box, as sysfs lists them. Without these files cpuinfo gives up, and with it
#: XNNPACK: the runtimes then compute by kernels that they use on no box. The host's own are no
#: substitute: an ARM program that reads an x86 machine's topology crashes.
#: Source: the kernel's Documentation/ABI/testing/sysfs-devices-system-cpu; a Raspberry Pi has four.
_CPU_FOLDER: Final = "sys/devices/system/cpu"
_CPU_LISTS: Final = {"possible": "0-3\n", "present": "0-3\n", "online": "0-3\n"}
#: Where the sandbox mounts things.
_MOUNT_POINTS: Final = ("dev", "mnt", "proc", "run", "tmp")
#: A root takes 6 s with a near mirror.
_TIMEOUT_S: Final = 900.0
_LAYOUT_VERSION: Final = 2


class RootUnavailableError(MissingToolError):
    """The root file system of a target cannot be made or entered here."""

    def __init__(self, arch: str, problems: Sequence[Problem]) -> None:
        what = "; ".join(f"{each.where}: {each.message}" for each in problems)
        hints = [each.hint for each in problems if each.hint]
        super().__init__(
            f"no {arch} environment to run the target's Python in: {what}",
            hint=" && ".join(dict.fromkeys(hints)) or None,
        )
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Root:
    """A root file system.

    Attributes:
        path: Its top folder; read-only.
        arch: Its architecture.
        suite: Its Debian suite.
        id: Tells roots of different content recipes apart.
    """

    path: Path
    arch: Arch
    suite: str
    id: str

    @property
    def emulated(self) -> bool:
        """Whether its programs run under an emulator here."""
        return not is_native(self.arch)


def check_tools(arch: Arch) -> list[Problem]:
    """Returns every tool that making and entering a root needs and this host lacks."""
    problems = []
    for program, package in (("mmdebstrap", "mmdebstrap"), ("tar", "tar")):
        if shutil.which(program) is None:
            hint = f"apt install --no-install-recommends {package}"
            problems.append(Problem(program, "is not installed", hint))
    if not is_native(arch) and shutil.which("arch-test") is None:
        hint = "apt install --no-install-recommends arch-test"
        problems.append(Problem("arch-test", "is not installed", hint))
    missing = ensure_interpreter(arch)
    return [*problems, missing] if missing else problems


def make_root(target: Target, cache: Cache, mirror: str | None = None) -> Root:
    """Returns the root for a target's architecture and suite, making it the first time.

    Args:
        target: The target.
        cache: Where roots are kept.
        mirror: A Debian mirror's address; the host's own apt sources by default.

    Returns:
        The root.

    Raises:
        RootUnavailableError: A tool is missing, or the packages cannot be fetched.
    """
    sources = [f"deb {mirror} {target.suite} main"] if mirror else find_sources(target.suite)
    key = {
        "arch": target.debian_arch,
        "suite": target.suite,
        "packages": list(PACKAGES),
        "sources": list(sources),
        "layout": _LAYOUT_VERSION,
    }
    if problems := check_tools(target.arch):
        raise RootUnavailableError(target.arch, problems)

    def make(draft: Path) -> None:
        _bootstrap(target, sources, draft)

    path = cache.get_or_make("root", key, make)
    return Root(path / "root", target.arch, target.suite, path.name)


def _bootstrap(target: Target, sources: Sequence[str], draft: Path) -> None:
    archive, root = draft / "root.tar", draft / "root"
    result = run_limited(
        [
            "mmdebstrap",
            f"--architectures={target.debian_arch}",
            "--variant=extract",
            f"--include={','.join(PACKAGES)}",
            "--format=tar",
            target.suite,
            archive,
            *sources,
        ],
        timeout_s=_TIMEOUT_S,
        # It unpacks there first; a stop half-way must leave nothing outside the cache's draft.
        env={**os.environ, "TMPDIR": str(draft)},
    )
    if not result.ok:
        raise RootUnavailableError(target.arch, [_explain(result, target)])
    root.mkdir()
    # Unpacked by hand so that every file is the caller's, whoever the caller is.
    excludes = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    argv = ["tar", "--extract", f"--file={archive}", f"--directory={root}", "--no-same-owner"]
    unpacked = run_limited([*argv, *excludes], timeout_s=_TIMEOUT_S)
    if not unpacked.ok:
        words = " ".join(unpacked.stderr.split()[-30:])
        raise RootUnavailableError(target.arch, [Problem("tar", words or unpacked.describe())])
    archive.unlink()
    for name in _MOUNT_POINTS:
        (root / name).mkdir(exist_ok=True)
    (root / _CPU_FOLDER).mkdir(parents=True, exist_ok=True)
    for name, processors in _CPU_LISTS.items():
        (root / _CPU_FOLDER / name).write_text(processors, encoding="ascii")


def _explain(result: ChildResult, target: Target) -> Problem:
    lines = [line for line in result.stderr.splitlines() if re.match(r"[EW]: ", line)]
    said = "; ".join(line[3:] for line in lines[:3]) or result.describe()
    if "NO_PUBKEY" in result.stderr or "keyring" in said:
        hint = "apt install debian-archive-keyring"
    else:
        hint = f"check the network, or pass --mirror with a Debian mirror that has {target.suite}"
    return Problem("mmdebstrap", said, hint)
