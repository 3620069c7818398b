"""Installs a bundle into a root: all of it, or nothing that anyone could notice.

Everything is verified while it is unpacked; the current release changes by one rename at the
end, and whatever goes wrong before that is taken back. `check_*` functions look before anything
is written. It is not aware of command lines. Used by `main`.
"""

from __future__ import annotations

import contextlib
import pwd
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepack.formats.canonical import canonical_json
from edgepack.formats.errors import DeviceError
from edgepack.formats.manifest import FileRecord, Manifest
from edgepack.runner.boot import external
from edgepack.runner.boot.archive import Progress, UnverifiedBundle
from edgepack.runner.boot.disk import Disk, disk_faults
from edgepack.runner.boot.launching import launcher_text
from edgepack.runner.boot.machine import Machine, check_machine
from edgepack.runner.boot.roots import plan_root, root_directory, taken_back_if_first
from edgepack.runner.boot.store import Pruned, RootInfo, Store, read_external
from edgepack.runner.boot.uninstall import DEVICE_ID, LAUNCHER, UNITS

#: Previous releases kept beside the current one.
DEFAULT_KEEP = 2
#: The order of the work; `on_step` is told each before it begins.
STEPS = ("check", "external", "unpack", "adopt", "link", "publish", "launcher", "switch", "prune")

#: Folders, the manifest, the launcher: what an installation needs beside its files.
_SLACK_BYTES = 2**20
_DISK_BLOCK = 4096

#: The runtime directory belongs to the account that systemd makes, so it says whom to hand the
#: state to; asking for the account by name would need a library that small boxes lack.
_OWN_ACCOUNT = """\
DynamicUser=yes
RuntimeDirectory=%N
ExecStartPre=+/bin/chown --recursive --reference=%t/%N ${EDGEPACK_STATE}"""


def _ignore_step(step: str) -> None:
    del step


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """What to install where.

    Attributes:
        root: Absolute path of the root.
        state: Absolute path of the state directory; None keeps what the root says, or
            `ROOT/state` for a new one.
        keep: Previous releases to keep.
        force: Install on a box that does not fit, or over another model.
        fetch: How to get external wheels; None means that the box must bring them.
    """

    root: Path
    state: Path | None = None
    keep: int = DEFAULT_KEEP
    force: bool = False
    fetch: external.Fetcher | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an installation sees of the world outside its root; tests put other things here."""

    machine: Machine
    disk: Disk = field(default_factory=Disk)
    find: external.Finder = external.find_installed
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    python: str = sys.executable
    on_step: Callable[[str], None] = _ignore_step


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation did."""

    root: Path
    release_id: str
    previous_id: str | None
    state: Path
    device_id: str
    new_files: int
    new_bytes: int
    pruned: Pruned


def install(
    bundle: UnverifiedBundle,
    request: InstallRequest,
    around: Surroundings,
    progress: Progress | None = None,
) -> Installed:
    """Verifies and installs a bundle, and makes it the root's current release.

    Args:
        bundle: The opened bundle.
        request: What to install where.
        around: The box.
        progress: Told the unpacked bytes done and in all.

    Returns:
        What was done.

    Raises:
        BundleError: The bundle or a wheel is not what it should be.
        DeviceError: The box does not fit, a wheel is missing, or the disk is full, read-only
            or failing. In all cases the current release is as it was.
    """
    around.on_step("check")
    if not request.force:
        check_fit(around.machine, bundle.manifest)
    with disk_faults(request.root):
        bundle.check_seal()
        store = Store(request.root, around.disk)
        manifest, state, force = bundle.manifest, request.state, request.force
        plan_root(store, manifest, state, force=force)
        with root_directory(request.root), store.locked():
            # Again, now that nobody else changes it.
            before, info = plan_root(store, manifest, state, force=force)
            with taken_back_if_first(store, info):
                return _Installation(bundle, request, around, store, before, info).run(progress)


def check_fit(machine: Machine, manifest: Manifest) -> None:
    """Refuses a box that the bundle was not made for.

    Raises:
        DeviceError: Every difference at once.
    """
    problems = check_machine(machine, manifest.target)
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise DeviceError(
            f"this box is not a {manifest.target.name}{lines}",
            hint="take the bundle built for this kind of box, or install with --force",
        )


class _Installation:
    """One run under the root's lock."""

    def __init__(
        self,
        bundle: UnverifiedBundle,
        request: InstallRequest,
        around: Surroundings,
        store: Store,
        before: RootInfo | None,
        info: RootInfo,
    ) -> None:
        self._bundle = bundle
        self._request = request
        self._around = around
        self._store = store
        self._before = before
        self._info = info
        self._id = bundle.release_id
        self._staged: dict[str, Path] = {}
        self._new_bytes = 0

    def run(self, progress: Progress | None) -> Installed:
        store, step = self._store, self._around.on_step
        previous = store.current_id()
        extra: dict[str, bytes] = {"manifest.json": self._bundle.manifest_bytes}
        wheel_files: list[FileRecord] = []
        self._check_space()
        if self._before is None:
            # First of all: after a power cut this must still be known as a root.
            store.write_info(self._info)
        store.make_folders()
        try:
            step("external")
            if self._bundle.manifest.runtime.external:
                wheel_files, extra["external.json"] = self._bring_external()
            step("unpack")
            self._unpack(progress)
            step("adopt")
            store.adopt(self._staged.values())
            files = [*self._bundle.manifest.files, *wheel_files]
            step("link")
            with self._published(files, extra):
                step("launcher")
                self._write_launcher()
                device_id = self._prepare_state()
                step("switch")
                self._info = store.remember(self._info, self._id)
                store.write_info(self._info)
                store.switch(self._id)
        finally:
            with contextlib.suppress(OSError):
                store.remove_leftovers()
        step("prune")
        pruned = store.prune(self._info, self._request.keep)
        return Installed(
            root=store.root,
            release_id=self._id,
            previous_id=previous if previous != self._id else None,
            state=store.state_path(self._info),
            device_id=device_id,
            new_files=len(self._staged),
            new_bytes=self._new_bytes,
            pruned=pruned,
        )

    def _check_space(self) -> None:
        needed = _SLACK_BYTES
        for record in self._bundle.manifest.files:
            # Whether the blob is whole is seen later; here its presence is a good guess.
            if not self._store.blob_path(record.sha256, record.mode).exists():
                needed += -(-record.size // _DISK_BLOCK) * _DISK_BLOCK
        free = self._around.disk.free_bytes(self._store.root)
        if free < needed:
            raise DeviceError(
                f"{self._store.root} has {free / 1e6:.1f} MB free; "
                f"this bundle needs {needed / 1e6:.1f} MB",
                hint="free some space there, or choose another directory with --root",
            )

    def _unpack(self, progress: Progress | None) -> None:
        done, total = 0, self._bundle.unpacked_bytes
        for record, content in self._bundle.read_payload():
            self._keep(record, content)
            done += record.size
            if progress is not None:
                progress(done, total)

    def _keep(self, record: FileRecord, content: Iterator[bytes]) -> None:
        name = self._store.blob_path(record.sha256, record.mode).name
        if name in self._staged or self._store.has_blob(record):
            return
        self._staged[name] = self._store.stage(record, content)
        self._new_bytes += record.size

    def _bring_external(self) -> tuple[list[FileRecord], bytes]:
        """Returns the files wheels were unpacked to, and `external.json`."""
        files: list[FileRecord] = []
        paths: list[str] = []
        distributions: list[dict[str, Any]] = []
        folder = self._store.staging / "wheels"
        self._around.disk.make_directory(folder)
        for wheel in self._bundle.manifest.runtime.external:
            facts = {"name": wheel.name, "version": wheel.version, "sha256": wheel.sha256}
            unpacked = self._reuse_wheel(wheel.sha256)
            found = None
            if self._request.fetch is not None and unpacked is None:
                path = self._request.fetch(wheel, folder)
                unpacked = self._unpack_wheel(external.check_wheel(path, wheel))
            elif unpacked is None:
                found = external.check_installed(wheel, self._around.find)
                if found is None:
                    raise external.explain_missing(wheel, self._around.find)
            place = external.EXTERNAL_FOLDER if found is None else str(found.directory)
            files += unpacked or []
            paths.append(place)
            listed = [[f.path, f.sha256, f.size, f.mode] for f in unpacked or []]
            distributions.append({**facts, "path": place, "files": listed})
        external.remove_folder(folder)
        document = {"format": 1, "paths": sorted(set(paths)), "distributions": distributions}
        seen: dict[str, FileRecord] = {}
        return [each for each in files if external.is_new(each, seen)], canonical_json(document)

    def _unpack_wheel(self, found: external.Found) -> list[FileRecord]:
        assert found.file is not None  # noqa: S101 - check_wheel always gives a file
        records = []
        for record, content in external.read_wheel(found.file):
            self._keep(record, content)
            records.append(record)
        return records

    def _reuse_wheel(self, sha256: str) -> list[FileRecord] | None:
        """Returns the files of a wheel that an installed release already has, all whole."""
        for release in self._store.release_ids():
            document = read_external(self._store.releases / release)
            for each in document.get("distributions", []):
                records = [FileRecord(*entry) for entry in each.get("files", [])]
                if each.get("sha256") == sha256 and records:
                    whole = all(self._store.has_blob(record) for record in records)
                    return records if whole else None
        return None

    @contextlib.contextmanager
    def _published(self, files: Sequence[FileRecord], extra: dict[str, bytes]) -> Iterator[None]:
        store, release_id = self._store, self._id
        if release_id in store.release_ids():
            store.repair_release(release_id, files, extra)
            self._around.on_step("publish")
            yield
            return
        draft = store.build_release(release_id, files, extra)
        self._around.on_step("publish")
        store.publish(draft, release_id)
        try:
            yield
        except BaseException:
            if store.current_id() != release_id:
                with contextlib.suppress(OSError):
                    store.discard_release(release_id)
            raise

    def _write_launcher(self) -> None:
        store = self._store
        store.ensure_directory(store.root / LAUNCHER.parent)
        text = launcher_text(self._around.python)
        store.disk.write_file(store.root / LAUNCHER, text, 0o755)

    def _prepare_state(self) -> str:
        store = self._store
        state = store.state_path(self._info)
        state.mkdir(parents=True, exist_ok=True)
        device_id = self._known_device_id() or self._around.new_id()
        store.disk.write_file(state / DEVICE_ID, f"{device_id}\n".encode(), 0o644)
        for unit in UNITS:
            template = store.releases / self._id / unit
            if template.is_file():
                store.ensure_directory(store.root / unit.parent)
                text = fill_unit(template.read_text("utf-8"), store.root, state)
                store.disk.write_file(store.root / unit, text.encode(), 0o644)
        return device_id

    def _known_device_id(self) -> str | None:
        """Returns the box's id, which stays when the state moves elsewhere."""
        for info in (self._info, self._before):
            if info is not None:
                with contextlib.suppress(OSError):
                    path = self._store.state_path(info) / DEVICE_ID
                    return path.read_text("ascii", "replace").strip() or None
        return None


def fill_unit(template: str, root: Path, state: Path) -> str:
    """Writes a root's real paths and an account into a systemd unit of a release.

    Args:
        template: Text with `@ROOT@`, `@ROOTS@`, `@STATE@` and `@ACCOUNT@`.
        root: Absolute path.
        state: Absolute path; it exists.

    Returns:
        The unit. The service runs as the state's owner; never as root, but then as an account
        of its own that systemd makes, to which the state is handed at each start.
    """
    owner = state.stat().st_uid
    account = _account_of(owner) if owner else _OWN_ACCOUNT
    template = template.replace("@ACCOUNT@", account)
    # systemd reads % as the start of a specifier.
    words = {"@ROOT@": str(root), "@ROOTS@": str(root.parent), "@STATE@": str(state)}
    for mark, word in words.items():
        template = template.replace(mark, word.replace("%", "%%"))
    return template


def _account_of(owner: int) -> str:
    try:
        return f"User={pwd.getpwuid(owner).pw_name}"
    except KeyError:
        return f"User={owner}"
