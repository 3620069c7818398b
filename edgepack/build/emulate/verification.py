"""Runs a release on its target's CPU, Python and C library, and says in words how that went.

It is not aware of how a release is made or judged further. Used by the pipeline.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from edgepack.build.cache import Cache
from edgepack.build.emulate.binfmt import emulator_version
from edgepack.build.emulate.root import Root
from edgepack.build.emulate.sandbox import Bind, run_in_root
from edgepack.build.process import ChildResult, run_limited
from edgepack.build.targets.target import Runtime, Target
from edgepack.formats.canonical import canonical_json
from edgepack.formats.errors import EdgepackError

#: An emulated import of ONNX Runtime takes 3 s, a replay of golden sequences less.
DEFAULT_TIMEOUT_S: Final = 300.0
#: QEMU and its translated code beside what the program itself needs.
_EMULATOR_MEMORY_BYTES: Final = 512 * 10**6

#: Starts the runner from a release as its launcher would: the release's own folders and the
#: standard library, no site-packages.
_START: Final = (
    "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); "
    "from edgepack.runner.main import main; sys.exit(main(sys.argv[1:]))"
)
#: The only execution provider that a root without devices has.
_CPU_PROVIDER: Final = "CPUExecutionProvider"
_PYTHON_OPTIONS: Final = ("-I", "-S", "-B")
#: Ends of a loader's message about something the box does not have.
_LIBRARY_SIGNS: Final = (
    "cannot open shared object file",
    "No module named",
    "version `GLIBC",
    "version `CXXABI",
    "undefined symbol",
    "wrong ELF class",
)


class VerifyStatus(StrEnum):
    """What a run on the target showed."""

    RUNS = "runs"
    FAILED = "failed"
    NOT_RUN = "not-run"


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict of a run on the target.

    Attributes:
        status: Whether it ran with the golden answers.
        reason: In words, for the table.
        emulated: Whether an emulator stood in for the CPU.
        cpu: The CPU it ran as: QEMU's model, or `host`.
        elapsed_s: Wall-clock seconds of the run; 0 from the cache.
    """

    status: VerifyStatus
    reason: str
    emulated: bool = False
    cpu: str = ""
    elapsed_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it ran and answered right."""
        return self.status is VerifyStatus.RUNS

    def to_json(self) -> dict[str, Any]:
        """Returns the manifest's record; without times, so that equal inputs give equal bytes."""
        return {
            "status": str(self.status),
            "reason": self.reason,
            "emulated": self.emulated,
            "cpu": self.cpu,
        }


def not_run(error: EdgepackError) -> Verification:
    """Returns the verdict where the target's environment could not be made.

    Args:
        error: Why not, such as a `RootUnavailableError`.
    """
    hint = f" ({error.hint})" if error.hint else ""
    return Verification(VerifyStatus.NOT_RUN, f"{error.message}{hint}")


def host_python(target: Target) -> Path | None:
    """Returns an interpreter of this host that is the target's: architecture and version."""
    if platform.machine() != target.arch or platform.system().lower() != target.os:
        return None
    if f"{sys.version_info.major}.{sys.version_info.minor}" == target.python:
        return Path(sys.executable)
    found = shutil.which(f"python{target.python}")
    return Path(found) if found else None


def verify_on_target(
    target: Target,
    runtime: Runtime,
    release: Path,
    variant: str,
    *,
    root: Root | None,
    cache: Cache,
    external: Path | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Verification:
    """Runs a release's own check on the target: load the model, replay the golden answers.

    Args:
        target: The kind of box.
        runtime: The runtime in the release.
        release: The release directory, laid out as on a box.
        variant: The candidate's name.
        root: The target's root; None runs with the host's own Python where that is the
            target's.
        cache: Verdicts are kept here, by everything that decides them.
        external: Wheels that the box brings, beside the release's own.
        timeout_s: Limit in seconds.

    Returns:
        The verdict; a crash is one of them, not an error.

    Raises:
        RootUnavailableError: The root cannot be entered on this host.
    """
    python = None if root else host_python(target)
    if root is None and python is None:
        reason = f"no {target.arch} environment with Python {target.python} to run it in"
        return Verification(VerifyStatus.NOT_RUN, reason)
    emulated = root is not None and root.emulated
    key = {
        "release": hash_release(release),
        "external": hash_release(external) if external else None,
        "variant": variant,
        "root": root.id if root else f"host {platform.python_version()}",
        "cpu": target.qemu_model if emulated else "host",
        "emulator": emulator_version(target.arch),
        "memory_mb": target.memory_mb,
        "version": 1,
    }
    if (found := cache.find("verified", key)) is not None:
        return _load(found)
    if root is not None:
        result = _run_in_root(target, root, release, variant, external, timeout_s)
    else:
        result = _run_on_host(python, release, variant, external, target, timeout_s)
    verdict = judge(result, target, runtime, emulated=emulated)
    if not result.timed_out:
        # A time-out says something about this moment's load, not about the bytes.
        cache.get_or_make("verified", key, lambda draft: _store(draft, verdict))
    return verdict


def _run_in_root(
    target: Target,
    root: Root,
    release: Path,
    variant: str,
    external: Path | None,
    timeout_s: float,
) -> ChildResult:
    binds = [Bind(release, "release")]
    folders = ["/mnt/release/runner", "/mnt/release/site"]
    if external is not None:
        binds.append(Bind(external, "external"))
        folders.append("/mnt/external")
    state = "/tmp/state"  # noqa: S108 - inside the sandbox
    return run_in_root(
        root,
        ["python3", *_check_arguments(folders, "/mnt/release", variant)],
        binds=binds,
        cpu_model=target.qemu_model,
        timeout_s=timeout_s,
        memory_bytes=_memory_limit(target, emulated=root.emulated),
        env={"EDGEPACK_STATE": state},
    )


def _run_on_host(
    python: Path | None,
    release: Path,
    variant: str,
    external: Path | None,
    target: Target,
    timeout_s: float,
) -> ChildResult:
    folders = [str(release / "runner"), str(release / "site")]
    folders += [str(external)] if external else []
    return run_limited(
        [str(python), *_check_arguments(folders, str(release), variant)],
        timeout_s=timeout_s,
        memory_bytes=_memory_limit(target, emulated=False),
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
    )


def _check_arguments(folders: Sequence[str], release: str, variant: str) -> list[str]:
    check = ["check", "--release", release, "--candidate", variant, "--json"]
    return [*_PYTHON_OPTIONS, "-c", _START, ":".join(folders), *check]


def _memory_limit(target: Target, *, emulated: bool) -> int:
    return target.memory_mb * 10**6 + (_EMULATOR_MEMORY_BYTES if emulated else 0)


def judge(result: ChildResult, target: Target, runtime: Runtime, *, emulated: bool) -> Verification:
    """Turns the end of a check into a verdict.

    Args:
        result: How the check ended.
        target: The kind of box.
        runtime: The runtime.
        emulated: Whether an emulator stood in.

    Returns:
        The verdict, with the crash, the missing library or the wrong answers named.
    """
    cpu = target.qemu_model if emulated else "host"
    where = f"{cpu} (emulated)" if emulated else "this host"
    report = parse_report(result.stdout)
    passed = result.ok and report is not None and report.get("ok") is True
    if passed:
        reason = f"{runtime.label} runs it on {where}"
        if runtime.providers and runtime.providers[0] != _CPU_PROVIDER:
            reason += f" with its CPU fallback; {runtime.providers[0]} was not tried"
    else:
        reason = _explain(result, report, runtime.label, where, cpu)
    status = VerifyStatus.RUNS if passed else VerifyStatus.FAILED
    return Verification(status, reason, emulated, cpu, result.elapsed_s)


def _explain(
    result: ChildResult, report: Mapping[str, Any] | None, label: str, where: str, cpu: str
) -> str:
    if result.timed_out or result.memory_exceeded:
        return f"{label} on {where}: {result.describe()}"
    if result.signal == "SIGILL":
        return (
            f"illegal instruction on {cpu}: {label} uses instructions that this CPU does not "
            f"have (SIGILL)"
        )
    if result.signal is not None:
        return f"{label} {result.describe()} on {where}"
    if report is not None and report.get("problems"):
        problems = [str(each) for each in report["problems"]]
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return f"{label} on {where}: {problems[0]}{more}"
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    for line in reversed(lines):
        if any(sign in line for sign in _LIBRARY_SIGNS):
            return f"{label} cannot be loaded on {where}: {line}"
    last = f": {lines[-1]}" if lines else ""
    ended = "ended without a report" if result.returncode == 0 else result.describe()
    return f"{label} on {where} {ended}{last}"


def parse_report(stdout: str) -> Mapping[str, Any] | None:
    """Returns the JSON object on the last line of a check's output, or None."""
    lines = stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def hash_release(folder: Path) -> str:
    """Returns what tells a release's bytes apart.

    Args:
        folder: A release, or any folder.

    Returns:
        The SHA-256 of its manifest, which holds every file's hash and was written from the
        files a moment ago, and of the files' paths and sizes; without a manifest, of their
        contents.
    """
    manifest = folder / "manifest.json"
    digest = hashlib.sha256(manifest.read_bytes() if manifest.is_file() else b"")
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        if manifest.is_file():
            content = str(path.stat().st_size)
        else:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _store(draft: Path, verdict: Verification) -> None:
    (draft / "verdict.json").write_bytes(canonical_json(verdict.to_json()))


def _load(folder: Path) -> Verification:
    found = json.loads((folder / "verdict.json").read_bytes())
    return Verification(
        VerifyStatus(found["status"]), found["reason"], found["emulated"], found["cpu"]
    )
