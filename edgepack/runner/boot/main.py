"""The command line of a bundle: `python3 FILE.pyz verify|install|stage|run|bench|…`.

The one boundary on the box that prints and turns errors into exit codes. It is not aware of
how any command does its work. Started by the bundle's `__main__.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from edgepack.formats.errors import DeviceError, EdgepackError
from edgepack.runner.boot import external
from edgepack.runner.boot.archive import Progress, open_bundle
from edgepack.runner.boot.arguments import build_parser
from edgepack.runner.boot.disk import disk_faults
from edgepack.runner.boot.doctor import examine
from edgepack.runner.boot.graphics import gpu_checks
from edgepack.runner.boot.install import InstallRequest, Surroundings, install
from edgepack.runner.boot.machine import read_machine
from edgepack.runner.boot.roots import is_whole, prune
from edgepack.runner.boot.stage import StageRequest, stage
from edgepack.runner.boot.store import Store
from edgepack.runner.boot.uninstall import LAUNCHER, uninstall

_INTERRUPTED = 130
_TERMINATED = 143
_WHOLE = 100


def main(bundle: str, argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        bundle: The bundle this program is in.
        argv: The arguments; the process's own by default.

    Returns:
        The exit status: 0, or the one of the error's class.
    """
    signal.signal(signal.SIGTERM, _terminate)
    path = Path(bundle).absolute()
    parser = build_parser(path.name)
    options, rest = parser.parse_known_args(argv)
    if rest and options.command not in ("run", "bench"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _COMMANDS[options.command](path, options, rest)
    except EdgepackError as error:
        return _show_error(error, options)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the current release is as it was\n")
        return _INTERRUPTED


def _show_error(error: EdgepackError, options: argparse.Namespace) -> int:
    if options.debug:
        traceback.print_exc()
    if getattr(options, "json", False):
        _print_json({"ok": False, "error": error.message, "hint": error.hint})
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
    return error.exit_code


def _verify(path: Path, options: argparse.Namespace, rest: Sequence[str]) -> int:
    del rest
    bundle = open_bundle(path).verify(_show_progress("verifying"))
    manifest = bundle.manifest
    if options.json:
        _print_json(
            {
                "ok": True,
                "path": str(path),
                "bytes": bundle.size_bytes,
                "sha256": bundle.sha256,
                "release": bundle.release_id,
                "model": {"name": manifest.model.name, "version": manifest.model.version},
                "target": manifest.target.name,
                "files": len(manifest.files),
            }
        )
    else:
        print(f"{path.name}: whole ({len(manifest.files)} files, release {bundle.release_id[:12]})")
    return 0


def _install(path: Path, options: argparse.Namespace, rest: Sequence[str]) -> int:
    del rest
    request = InstallRequest(
        root=options.root.absolute(),
        state=None if options.state is None else options.state.absolute(),
        keep=options.keep,
        force=options.force,
        fetch=_fetcher(options),
    )
    bundle = open_bundle(path)
    around = Surroundings(machine=read_machine())
    done = install(bundle, request, around, _show_progress("installing"))
    for check in gpu_checks(bundle.manifest):
        if check.status == "warn":
            sys.stderr.write(
                f"warning: {check.found} (needed: {check.needed}); the CPU computes until then\n"
                f"hint: {check.hint}\n"
            )
    if options.json:
        _print_json(
            {
                "ok": True,
                "root": str(done.root),
                "release": done.release_id,
                "previous": done.previous_id,
                "state": str(done.state),
                "device_id": done.device_id,
                "new_files": done.new_files,
                "new_bytes": done.new_bytes,
                "removed_releases": list(done.pruned.releases),
            }
        )
        return 0
    model = bundle.manifest.model
    print(f"installed {model.name} {model.version} (release {done.release_id[:12]}) in {done.root}")
    print(f"new: {done.new_files} files, {done.new_bytes / 1e6:.1f} MB")
    print(f"start it: {done.root / LAUNCHER} serve")
    return 0


def _stage(path: Path, options: argparse.Namespace, rest: Sequence[str]) -> int:
    del rest
    request = StageRequest(
        options.folder.absolute(), options.state, options.python, _fetcher(options)
    )
    bundle = open_bundle(path)
    done = stage(bundle, request, progress=_show_progress("staging"))
    if options.json:
        _print_json(
            {
                "ok": True,
                "folder": str(done.folder),
                "release": done.release_id,
                "runtime": done.runtime,
                "runtime_bytes": done.runtime_bytes,
                "release_bytes": done.release_bytes,
            }
        )
        return 0
    model = bundle.manifest.model
    print(f"staged {model.name} {model.version} (release {done.release_id[:12]}) in {done.folder}")
    print(f"runtime: {done.runtime_bytes / 1e6:.1f} MB, the same for the next model")
    print(f"release: {done.release_bytes / 1e6:.1f} MB")
    return 0


def _run(path: Path, options: argparse.Namespace, rest: Sequence[str]) -> int:
    return _start(path, options, "serve", rest)


def _bench(path: Path, options: argparse.Namespace, rest: Sequence[str]) -> int:
    return _start(path, options, "bench", rest)


def _start(path: Path, options: argparse.Namespace, verb: str, rest: Sequence[str]) -> int:
    """Unpacks into the cache where needed and becomes the runner."""
    bundle = open_bundle(path)
    cache = (options.cache or _default_cache()).absolute()
    root = cache / bundle.release_id
    # Beside the roots, so that the box keeps its id when another release is run.
    state = cache / "state" / bundle.manifest.model.name
    store = Store(root)
    if not is_whole(store, bundle):
        request = InstallRequest(
            root=root, state=state, force=options.force, fetch=_fetcher(options)
        )
        install(bundle, request, Surroundings(read_machine()), _show_progress("unpacking"))
    sys.stdout.flush()
    sys.stderr.flush()
    launcher = str(root / LAUNCHER)
    with disk_faults(root):
        os.execv(sys.executable, [sys.executable, launcher, verb, *rest])  # noqa: S606 - becomes the runner


def _doctor(path: Path, options: argparse.Namespace, rest: Sequence[str]) -> int:
    del rest
    manifest = open_bundle(path).manifest
    checks = examine(read_machine(), manifest, (options.root or Path.cwd()).absolute())
    checks += gpu_checks(manifest)
    failed = [check for check in checks if check.status == "fail"]
    if options.json:
        _print_json({"ok": not failed, "checks": [dict(check.to_json()) for check in checks]})
    else:
        print(f"{path.name} is for {manifest.target.name}:")
        for check in checks:
            print(f"  {check.status:7} {check.name:8} {check.found} (needed: {check.needed})")
            if check.hint:
                print(f"          hint: {check.hint}")
    return DeviceError.exit_code if failed else 0


def _uninstall(path: Path, options: argparse.Namespace, rest: Sequence[str]) -> int:
    del path, rest
    removed = uninstall(options.root.absolute(), keep_state=options.keep_state)
    if options.json:
        _print_json({"ok": True, "root": str(removed.root), "kept": list(removed.kept)})
    elif removed.kept:
        print(f"uninstalled from {removed.root}; left there: {', '.join(removed.kept)}")
    else:
        print(f"uninstalled from {removed.root}")
    return 0


def _prune(path: Path, options: argparse.Namespace, rest: Sequence[str]) -> int:
    del path, rest
    pruned = prune(options.root.absolute(), options.keep)
    if options.json:
        _print_json(
            {
                "ok": True,
                "removed_releases": list(pruned.releases),
                "blobs": pruned.blobs,
                "bytes": pruned.size_bytes,
            }
        )
    else:
        print(
            f"removed {len(pruned.releases)} releases and {pruned.blobs} files, "
            f"{pruned.size_bytes / 1e6:.1f} MB"
        )
    return 0


_COMMANDS: Mapping[str, Callable[[Path, argparse.Namespace, Sequence[str]], int]] = {
    "verify": _verify,
    "install": _install,
    "stage": _stage,
    "run": _run,
    "bench": _bench,
    "doctor": _doctor,
    "uninstall": _uninstall,
    "prune": _prune,
}


def _fetcher(options: argparse.Namespace) -> external.Fetcher | None:
    if options.wheels is not None:
        return external.take_wheel(options.wheels)
    return external.fetch_with_pip if options.fetch else None


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "edgepack"
    try:
        return Path.home() / ".cache" / "edgepack"
    except RuntimeError as error:
        raise DeviceError("this user has no home directory", hint="give --cache DIR") from error


def _show_progress(what: str) -> Progress | None:
    if not sys.stderr.isatty():
        return None
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        percent = _WHOLE * done // max(total, 1)
        if percent != shown:
            shown = percent
            end = "\n" if percent >= _WHOLE else ""
            sys.stderr.write(f"\r{what} {percent:3d} %{end}")
            sys.stderr.flush()

    return show


def _print_json(value: Mapping[str, Any]) -> None:
    print(json.dumps(value, sort_keys=True))


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # As an exception, so that an installation takes itself back like on Ctrl-C.
    del number, frame
    raise SystemExit(_TERMINATED)
