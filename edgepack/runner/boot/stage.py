"""Lays a bundle out as it will lie in a container image, on a machine of any kind.

    DIR/runtime/   what a new model leaves as it is: `bin/edgepack-runner`, `runtime/<hash>/`
    DIR/release/   the model: `releases/<id>/`, `current`, `edgepack-root.json`
    DIR/state/     empty: where the state's volume is mounted

The first two are copied over one root, such as `/opt/edgepack`, each as a layer of its own: a
daily model then moves only the second. Every byte is verified like `install` does, the folder
appears whole or not at all, and two stagings of one bundle are the same to the last time stamp.
No device id is made, as two containers of one image must never share one: the runner makes it
in an empty state. It is not aware of container tools. Used by `main`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepack.formats.bundle import SBOM_MEMBER
from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.errors import DeviceError
from edgepack.formats.manifest import ExternalWheel, FileRecord
from edgepack.runner.boot import external
from edgepack.runner.boot.archive import Progress, UnverifiedBundle
from edgepack.runner.boot.disk import Disk, disk_faults
from edgepack.runner.boot.launching import launcher_text
from edgepack.runner.boot.roots import root_directory
from edgepack.runner.boot.store import RootInfo, Store
from edgepack.runner.boot.uninstall import LAUNCHER

#: The parts of a staged folder.
RUNTIME_TREE, RELEASE_TREE, STATE_TREE = "runtime", "release", "state"
#: Where an image keeps its state unless told otherwise.
DEFAULT_STATE = Path("/var/lib/edgepack")
#: The same for every file, so that the same bundle gives the same layer: the earliest time
#: that every archive format can hold, 1980-01-02 in UTC.
STAGED_TIME_S = 315_619_200

#: What a release shares with the ones before and after it.
_SHARED = ("runner", "site", external.EXTERNAL_FOLDER)
_SLACK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class StageRequest:
    """What to stage where.

    Attributes:
        folder: Absolute path; it must not exist or be empty.
        state: The state directory of the containers.
        python: Path of the image's Python, for the launcher's first line.
        fetch: How to get external wheels; None means that this Python must have them.
    """

    folder: Path
    state: Path = DEFAULT_STATE
    python: str = "/usr/bin/python3"
    fetch: external.Fetcher | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """What was staged.

    Attributes:
        folder: The folder.
        release_id: The release in it.
        runtime: Name of the folder of what is shared between releases.
        runtime_bytes: Bytes of all files below `runtime/`.
        release_bytes: Bytes of all files below `release/`.
    """

    folder: Path
    release_id: str
    runtime: str
    runtime_bytes: int
    release_bytes: int


@dataclass(frozen=True, slots=True)
class StageSurroundings:
    """What staging sees of the world outside its folder; tests put other things here."""

    disk: Disk = field(default_factory=Disk)
    find: external.Finder = external.find_installed


def stage(
    bundle: UnverifiedBundle,
    request: StageRequest,
    around: StageSurroundings | None = None,
    progress: Progress | None = None,
) -> Staged:
    """Verifies and lays out a bundle.

    Args:
        bundle: The opened bundle.
        request: What to stage where.
        around: The machine; the real one by default.
        progress: Told the unpacked bytes done and in all.

    Returns:
        What was staged.

    Raises:
        BundleError: The bundle or a wheel is not what it should be.
        DeviceError: The folder is in use, a wheel is missing, or the disk is full or not ours.
            In all cases there is no folder.
    """
    around = around or StageSurroundings()
    with disk_faults(request.folder):
        _refuse_used(request.folder)
        bundle.check_seal()
        with root_directory(request.folder.parent):
            draft = request.folder.with_name(f".{request.folder.name}.tmp-{os.getpid()}")
            try:
                staged = _Staging(bundle, request, around, draft).run(progress)
                around.disk.replace(draft, request.folder)
            finally:
                around.disk.remove_tree(draft)
    return staged


class _Staging:
    """One run into a draft folder."""

    def __init__(
        self,
        bundle: UnverifiedBundle,
        request: StageRequest,
        around: StageSurroundings,
        draft: Path,
    ) -> None:
        self._bundle = bundle
        self._request = request
        self._around = around
        self._disk = around.disk
        self._draft = draft
        self._wheels = [self._find(wheel) for wheel in bundle.manifest.runtime.external]
        self._runtime = _runtime_name(bundle.manifest.files, self._wheels)
        self._shared = draft / RUNTIME_TREE / "runtime" / self._runtime
        self._store = Store(draft / RELEASE_TREE, around.disk)
        self._release = self._store.releases / bundle.release_id

    def run(self, progress: Progress | None) -> Staged:
        self._check_space()
        self._unpack(progress)
        self._bring_external()
        self._finish_release()
        launcher = self._draft / RUNTIME_TREE / LAUNCHER
        self._make(launcher.parent)
        self._disk.write_file(launcher, launcher_text(self._request.python), 0o755)
        self._make(self._draft / STATE_TREE)
        sizes = [_settle(self._draft / tree) for tree in (RUNTIME_TREE, RELEASE_TREE, STATE_TREE)]
        return Staged(
            self._request.folder, self._bundle.release_id, self._runtime, sizes[0], sizes[1]
        )

    def _unpack(self, progress: Progress | None) -> None:
        done, total = 0, self._bundle.unpacked_bytes
        for record, content in self._bundle.read_payload():
            shared = record.path.split("/")[0] in _SHARED
            base = self._shared if shared else self._release
            self._write(base / record.path, record.mode, content)
            done += record.size
            if progress is not None:
                progress(done, total)

    def _bring_external(self) -> None:
        if not self._wheels:
            return
        seen: dict[str, FileRecord] = {}
        for found in self._wheels:
            if found.file is not None:
                for record, content in external.read_wheel(found.file):
                    if external.is_new(record, seen):
                        self._write(self._shared / record.path, record.mode, content)
        places = {
            external.EXTERNAL_FOLDER if each.directory is None else str(each.directory)
            for each in self._wheels
        }
        brought = [_describe(each) for each in self._wheels]
        document = {"format": 1, "paths": sorted(places), "distributions": brought}
        self._write(self._release / "external.json", 0o644, [canonical_json(document)])
        external.remove_folder(self._draft / "wheels")

    def _finish_release(self) -> None:
        bundle, store = self._bundle, self._store
        self._write(self._release / "manifest.json", 0o644, [bundle.manifest_bytes])
        self._write(self._release / SBOM_MEMBER, 0o644, [canonical_json(bundle.sbom)])
        for name in sorted(path.name for path in self._shared.iterdir()):
            link = f"../../runtime/{self._runtime}/{name}"
            self._disk.symlink(link, self._release / name)
        model = bundle.manifest.model.name
        store.write_info(RootInfo(model, str(self._request.state), (bundle.release_id,)))
        store.switch(bundle.release_id)

    def _find(self, wheel: ExternalWheel) -> external.Found:
        """Takes a wheel as a file where there is a source that has it, else where it is."""
        why = ""
        if self._request.fetch is not None:
            folder = self._draft / "wheels"
            self._make(folder)
            try:
                return external.check_wheel(self._request.fetch(wheel, folder), wheel)
            except DeviceError as error:
                # This Python may have what the source has not.
                why = f"; {error.message}"
        found = external.check_installed(wheel, self._around.find)
        if found is None:
            raise DeviceError(
                external.explain_missing(wheel, self._around.find).message + why,
                hint=f"give the folder of {wheel.filename} with --wheels DIR, in an image's build "
                "with --build-arg WHEELS=DIR/*.whl; or unpack in a base that has it",
            )
        return found

    def _check_space(self) -> None:
        needed = self._bundle.unpacked_bytes + _SLACK_BYTES
        self._make(self._draft)
        free = self._disk.free_bytes(self._draft)
        if free < needed:
            raise DeviceError(
                f"{self._request.folder.parent} has {free / 1e6:.1f} MB free; "
                f"this bundle needs {needed / 1e6:.1f} MB",
                hint="free some space there, or stage into a folder elsewhere",
            )

    def _write(self, path: Path, mode: int, content: Iterable[bytes]) -> None:
        self._make(path.parent)
        with self._disk.create(path, mode) as file:
            for chunk in content:
                self._disk.write(file, chunk)

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            self._disk.make_directory(folder)


def _refuse_used(folder: Path) -> None:
    try:
        used = next(folder.iterdir(), None)
    except FileNotFoundError:
        return
    if used is not None:
        raise DeviceError(
            f"{folder} is not empty: it holds {used.name}",
            hint="stage into a new or empty folder",
        )


def _runtime_name(files: Iterable[FileRecord], wheels: Iterable[external.Found]) -> str:
    """Names what releases share by its content, so that equal content has one place."""
    shared = [
        [each.path, each.sha256, each.size, each.mode]
        for each in files
        if each.path.split("/")[0] in _SHARED
    ]
    brought = [each.wheel.sha256 for each in wheels if each.file is not None]
    return sha256_hex(canonical_json({"files": shared, "wheels": brought}))[:32]


def _describe(found: external.Found) -> dict[str, Any]:
    place = external.EXTERNAL_FOLDER if found.directory is None else str(found.directory)
    wheel = found.wheel
    return {
        "name": wheel.name,
        "version": wheel.version,
        "sha256": wheel.sha256,
        "path": place,
        "files": [],
    }


def _settle(tree: Path) -> int:
    """Gives everything in a tree the same time and returns the bytes of its files."""
    total = 0
    for path in (*_walk(tree), tree):
        os.utime(path, (STAGED_TIME_S, STAGED_TIME_S), follow_symlinks=False)
        if path.is_file() and not path.is_symlink():
            total += path.stat().st_size
    return total


def _walk(tree: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(tree, topdown=False):
        yield from (Path(folder) / name for name in (*names, *folders))
