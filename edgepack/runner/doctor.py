"""Answers `edgepack-runner doctor`: what is wrong on this box, and what to do about it.

Every check looks and says; none repairs. What it needs of the world is passed in. It is not
aware of how its findings are printed. Used by `edgepack.runner.main`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edgepack.formats.errors import BundleError, ConfigError, DeviceError, EdgepackError, HubError
from edgepack.runner.boot.doctor import examine
from edgepack.runner.boot.machine import Machine
from edgepack.runner.boot.store import is_intact
from edgepack.runner.checking import CheckOutcome
from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.health import try_state
from edgepack.runner.release import Release, load_release
from edgepack.runner.reports.spool import MAX_SPOOL_BYTES, Spool
from edgepack.runner.serving_mark import Serving
from edgepack.runner.state import BoxPaths, read_device_id

#: No release is older than this program's first one: a clock before it is wrong.
_EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)
#: Files that come from a box a few minutes ahead are no fault.
_SLACK = timedelta(minutes=10)
_UNIT_NAMES = ("edgepack-runner.service", "edgepack-runner@.service")
#: Where systemd looks for units an administrator installed. Source: systemd.unit(5).
UNIT_FOLDERS = (Path("/etc/systemd/system"), Path("/run/systemd/system"))
#: The checks of the bundle's own doctor that still matter once it is installed.
_BOX_CHECKS = frozenset(("arch", "python", "glibc", "cpu", "memory"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        status: `ok`, `warn` (it serves, but something wants attention) or `fail`.
        found: What was found.
        hint: What to do, where something is wrong.
        exit_code: The class of the fault; 0 unless it failed.
    """

    name: str
    status: str
    found: str
    hint: str | None = None
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as an object of `doctor --json`."""
        return {
            "name": self.name,
            "status": self.status,
            "found": self.found,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class Examination:
    """What a doctor sees of the world; tests put other things here.

    Attributes:
        paths: The box's folders.
        clock: The wall clock is one of the things that may be wrong.
        machine: What this box is.
        check: Loads the release in its runtime and replays the golden answers.
        clock_synced: Asks the kernel about its clock; None when it cannot tell.
        serving: Says whether a daemon of this state folder serves, by the mark it left.
        ask_port: Says who listens there: None nobody, else what it answers to `/healthz`.
        reach: Tries to reach a URL; None when that went well, else why not.
        port: The port that is to be served on.
        settings_fault: What is wrong with the settings file, if anything.
        hub: A URL to reach; empty where none is known; None to leave the network alone.
        unit_folders: Where systemd looks.
    """

    paths: BoxPaths
    clock: Clock
    machine: Machine
    check: Callable[[], CheckOutcome]
    clock_synced: Callable[[], bool | None]
    serving: Callable[[], Serving | None]
    ask_port: Callable[[int], str | None]
    reach: Callable[[str], str | None]
    port: int
    settings_fault: ConfigError | None = None
    hub: str | None = None
    unit_folders: Sequence[Path] = UNIT_FOLDERS


def examine_box(around: Examination) -> list[Finding]:
    """Looks at everything, what others depend on first.

    Args:
        around: The box.

    Returns:
        A finding for each check, faults included; nothing is raised for what a box may have.
    """
    findings = list(_check_release(around))
    fault = around.settings_fault
    if fault is not None:
        findings.append(_failed("settings", ConfigError, fault.message, fault.hint))
    findings.append(_check_state(around.paths))
    findings += _check_spool(around.paths)
    findings.append(_check_clock(around))
    findings.append(_check_port(around))
    findings.append(_check_service(around))
    if around.hub is not None:
        findings.append(_check_hub(around.hub, around.reach))
    return findings


def worst_exit_code(findings: Sequence[Finding]) -> int:
    """Returns the exit status: that of the first failure, on which later ones may depend."""
    return next((each.exit_code for each in findings if each.status == "fail"), 0)


_HUB_HINT = "reports wait on this box until it can be reached; see the proxy and the clock"
_REINSTALL = "install the bundle again: python3 FILE.pyz install --root ROOT"


def _failed(name: str, kind: type[EdgepackError], found: str, hint: str | None = None) -> Finding:
    return Finding(name, "fail", found, hint, kind.exit_code)


def _check_release(around: Examination) -> Iterator[Finding]:
    try:
        release = load_release(around.paths.release)
    except EdgepackError as error:
        yield _failed("release", type(error), error.message, error.hint or _REINSTALL)
        return
    yield _check_files(release)
    manifest = release.manifest
    for check in examine(around.machine, manifest, release.directory):
        if check.name in _BOX_CHECKS and check.status in ("warn", "fail"):
            failed = check.status == "fail"
            yield Finding(
                check.name,
                "fail" if failed else "warn",
                f"{check.found}; the bundle is for {check.needed}",
                check.hint,
                DeviceError.exit_code if failed else 0,
            )
    outcome = around.check()
    runtime = f"{manifest.runtime.name} {manifest.runtime.version}"
    if outcome.problems:
        hint = "edgepack-runner check lists every difference" if outcome.sequences else None
        first = outcome.problems[0]
        yield Finding("model", "fail", f"{runtime}: {first}", hint, outcome.exit_code)
    else:
        found = f"{outcome.variant} in {runtime}: {outcome.sequences} golden answers agree"
        yield Finding("model", "ok", found)


def _check_files(release: Release) -> Finding:
    files = release.manifest.files
    damaged = [f.path for f in files if not is_intact(release.directory / f.path, f)]
    if damaged:
        shown = ", ".join(damaged[:3]) + (" …" if len(damaged) > 3 else "")  # noqa: PLR2004 - enough to see a pattern
        return _failed("release", BundleError, f"{len(damaged)} damaged: {shown}", _REINSTALL)
    model = release.manifest.model
    found = f"{model.name} {model.version}, {len(files)} files whole ({release.id[:12]})"
    return Finding("release", "ok", found)


def _check_state(paths: BoxPaths) -> Finding:
    health = try_state(paths.state)
    if not health.writable:
        return _failed(
            "state",
            DeviceError,
            f"{health.problem}; serving goes on, reports are lost",
            "free some space, or install with another folder: install --root ROOT --state DIR",
        )
    free_mb = (health.free_bytes or 0) / 1e6
    if health.free_bytes is not None and health.free_bytes < 2 * MAX_SPOOL_BYTES:
        return Finding("state", "warn", f"{free_mb:.1f} MB free", "free some space")
    device = read_device_id(paths.state)
    if device is None:
        return Finding(
            "state", "warn", "no device id yet", "edgepack-runner serve makes one when it starts"
        )
    return Finding("state", "ok", f"{paths.state}, {free_mb:.0f} MB free")


def _check_spool(paths: BoxPaths) -> Iterator[Finding]:
    if paths.spool is None:
        return
    spool = Spool(paths.spool)
    try:
        waiting, dropped = spool.waiting(), spool.dropped()
    except DeviceError as error:
        yield _failed("spool", DeviceError, error.message, error.hint)
        return
    found = f"{len(waiting)} reports wait, {dropped} were dropped"
    used = sum(each.size_bytes for each in waiting)
    if dropped or used > MAX_SPOOL_BYTES // 2:
        yield Finding("spool", "warn", found, "the hub has not taken them: doctor --network URL")
    else:
        yield Finding("spool", "ok", found)


def _check_clock(around: Examination) -> Finding:
    now = around.clock.utc_now()
    shown = rfc3339(now)
    earliest = _EARLIEST
    with contextlib.suppress(OSError):
        installed = (around.paths.release / "manifest.json").stat().st_mtime
        earliest = max(earliest, datetime.fromtimestamp(installed, UTC) - _SLACK)
    hint = "set it, or let it be set: timedatectl set-ntp true"
    if now < earliest:
        found = f"{shown} is before the release was installed; TLS refuses certificates"
        return _failed("clock", DeviceError, found, hint)
    if around.clock_synced() is False:
        return Finding("clock", "warn", f"{shown}, not synchronised", hint)
    return Finding("clock", "ok", shown)


def _check_hub(url: str, reach: Callable[[str], str | None]) -> Finding:
    if not url:
        hint = "name it: doctor --network URL, or hub.url in runner.toml"
        return Finding("hub", "warn", "no hub is known: reports wait on this box", hint)
    trouble = reach(url)
    if trouble is None:
        return Finding("hub", "ok", f"{url} can be reached")
    return _failed("hub", HubError, f"{url}: {trouble}", _HUB_HINT)


def _check_port(around: Examination) -> Finding:
    serving = around.serving()
    if serving is not None:
        found = f"process {serving.pid or '?'} serves at {serving.port or '?'}"
        return Finding("port", "ok", found)
    answer = around.ask_port(around.port)
    if answer is None:
        hint = "edgepack-runner serve"
        return Finding("port", "warn", f"{around.port} is free: nothing serves", hint)
    if '"model"' in answer:
        return Finding("port", "ok", f"a runner answers at {around.port}")
    return _failed(
        "port",
        ConfigError,
        f"{around.port} is taken by another program",
        "edgepack-runner serve --port N, or end that program; `ss -ltnp` names it",
    )


def _check_service(around: Examination) -> Finding:
    release = around.paths.release
    # ROOT/current, or ROOT/releases/ID when the launcher has resolved it.
    root = release.parent if release.name == "current" else release.parent.parent
    for folder in around.unit_folders:
        for name in _UNIT_NAMES:
            installed = folder / name
            if not installed.exists():
                continue
            enabled = any(folder.glob(f"*.wants/{name.replace('.', '*.', 1)}"))
            if not enabled:
                hint = f"systemctl enable --now {name.replace('@', '@NAME')}"
                return Finding("service", "warn", f"{installed} is not enabled", hint)
            if not _is_same(installed, root / "systemd" / name):
                hint = f"cp {root}/systemd/{name} {installed} && systemctl daemon-reload"
                return Finding("service", "warn", f"{installed} is not this release's", hint)
            return Finding("service", "ok", f"{installed}, enabled")
    hint = f"systemctl enable --now {root}/systemd/{_UNIT_NAMES[0]}"
    return Finding("service", "warn", "no service is installed: nothing starts it", hint)


def _is_same(installed: Path, own: Path) -> bool:
    if not os.access(own, os.R_OK):
        # A release that was unpacked by hand has none to compare with.
        return True
    try:
        return installed.read_bytes() == own.read_bytes()
    except OSError:
        return True
