"""Roots as a whole: which may be installed into, taking a first try back, old releases.

It is not aware of how a release is unpacked. Used by `install` and `main`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgepack.formats.errors import DeviceError
from edgepack.formats.manifest import Manifest
from edgepack.runner.boot.archive import UnverifiedBundle
from edgepack.runner.boot.disk import Disk, disk_faults
from edgepack.runner.boot.store import MARKER, Pruned, RootInfo, Store
from edgepack.runner.boot.uninstall import DEVICE_ID, LAUNCHER, remove_root


def plan_root(
    store: Store, manifest: Manifest, state: Path | None, *, force: bool
) -> tuple[RootInfo | None, RootInfo]:
    """Compares a root with a bundle that is to go there.

    Args:
        store: The root; it need not exist.
        manifest: The bundle's.
        state: The state directory asked for, or None.
        force: Let the bundle replace another model.

    Returns:
        What the root says about itself, None for a new one, and what it is to say.

    Raises:
        DeviceError: The root or the state directory belongs to something else.
    """
    info = store.read_info()
    if info is not None and info.model != manifest.model.name and not force:
        raise DeviceError(
            f"{store.root} holds the model {info.model}; this bundle has {manifest.model.name}",
            hint="one root holds one model: choose another --root, or uninstall that one first",
        )
    chosen = str(state) if state else (info.state if info else "state")
    folder = store.root / chosen
    # A draft of the id is another install's, at work now or cut off by a power cut.
    foreign = folder.is_dir() and any(not _is_draft(each.name) for each in folder.iterdir())
    if foreign and not (folder / DEVICE_ID).exists():
        raise DeviceError(
            f"the state directory {folder} is not empty and not an edgepack state",
            hint="choose an empty or new directory with --state",
        )
    return info, RootInfo(manifest.model.name, chosen, info.history if info else ())


@contextlib.contextmanager
def root_directory(root: Path) -> Iterator[None]:
    """Makes the root's directory; removes the ones it made when they are empty after a fault."""
    missing = _missing_directories(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def taken_back_if_first(store: Store, info: RootInfo) -> Iterator[None]:
    """Removes everything again when the first installation into a root fails."""
    first = not (store.root / MARKER).exists()
    had_state = store.state_path(info).exists()
    try:
        yield
    except BaseException:
        if first and store.current_id() is None:
            with contextlib.suppress(OSError):
                remove_root(store, info, keep_state=had_state)
        raise


def _is_draft(name: str) -> bool:
    return name.startswith(f".{DEVICE_ID}.tmp-")


def _missing_directories(path: Path) -> list[Path]:
    """Returns the directories that have to be made for a path, the deepest first."""
    missing = []
    while not path.exists() and path != path.parent:
        missing.append(path)
        path = path.parent
    return missing


def is_whole(store: Store, bundle: UnverifiedBundle) -> bool:
    """Whether a root's current release is this bundle, with every file in its right size.

    A quick look for `run`, which starts often: hashes are the runner's to check.
    """
    if store.current_id() != bundle.release_id:
        return False
    release = store.releases / bundle.release_id
    for record in bundle.manifest.files:
        try:
            if os.lstat(release / record.path).st_size != record.size:
                return False
        except OSError:
            return False
    return (store.root / LAUNCHER).is_file()


def prune(root: Path, keep: int, disk: Disk | None = None) -> Pruned:
    """Removes old releases of a root and the blobs that only they used.

    Args:
        root: Absolute path.
        keep: Releases to keep beside the current one.
        disk: What writes; the real file system by default.

    Raises:
        DeviceError: There is no root, or it cannot be written.
    """
    store = Store(root, disk)
    with disk_faults(root):
        info = require_root(store)
        with store.locked():
            store.remove_leftovers()
            return store.prune(info, keep)


def require_root(store: Store) -> RootInfo:
    """Returns what a root says about itself.

    Raises:
        DeviceError: The directory is not an edgepack root.
    """
    info = store.read_info()
    if info is None:
        raise DeviceError(
            f"{store.root} is not an edgepack root: it has no {MARKER}",
            hint="give the directory that `install --root` was given",
        )
    return info
