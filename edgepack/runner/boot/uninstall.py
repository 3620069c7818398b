"""Takes an installation away: exactly what `install` and the runner made, nothing else.

It is not aware of bundles. Used by `main`, and by `install` to take back a failed first try.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.errors import DeviceError
from edgepack.runner.boot.disk import Disk, disk_faults
from edgepack.runner.boot.store import MARKER, RootInfo, Store

#: Places in a root and its state that are made beside the store's own.
LAUNCHER = Path("bin/edgepack-runner")
UNITS = (Path("systemd/edgepack-runner.service"), Path("systemd/edgepack-runner@.service"))
DEVICE_ID = "device_id"


@dataclass(frozen=True, slots=True)
class Removed:
    """What is left of a root.

    Attributes:
        root: The root.
        kept: Names in it that edgepack did not make, or was told to keep.
        gone: Whether the directory itself is gone.
    """

    root: Path
    kept: tuple[str, ...]
    gone: bool


def uninstall(root: Path, *, keep_state: bool = False, disk: Disk | None = None) -> Removed:
    """Removes an installation.

    Args:
        root: Absolute path.
        keep_state: Leave the device id, the spool of reports and all other state.
        disk: What writes; the real file system by default.

    Returns:
        What was left.

    Raises:
        DeviceError: The directory is not an edgepack root, or cannot be written.
    """
    store = Store(root, disk)
    if not (root / MARKER).is_file():
        raise DeviceError(
            f"{root} is not an edgepack root: it has no {MARKER}; nothing was removed",
            hint="give the directory that `install --root` was given",
        )
    with disk_faults(root):
        info = store.read_info()
        if info is None:
            raise DeviceError(f"{root} was removed by another process meanwhile")
        with store.locked():
            return remove_root(store, info, keep_state=keep_state)


def remove_root(store: Store, info: RootInfo, *, keep_state: bool) -> Removed:
    """Removes everything an installation made; the marker goes last.

    Args:
        store: The root; its lock is held by the caller.
        info: What it says about itself.
        keep_state: Leave the state.
    """
    root, disk = store.root, store.disk
    # The switch first: from here on nothing can start what is being removed.
    store.current.unlink(missing_ok=True)
    for place in (LAUNCHER, *UNITS):
        (root / place).unlink(missing_ok=True)
        _remove_if_empty(root / place.parent)
    for folder in (store.releases, root / "blobs"):
        disk.remove_tree(folder)
    state = store.state_path(info)
    if not keep_state and ((state / DEVICE_ID).exists() or state == root / "state"):
        disk.remove_tree(state)
    elif not keep_state:
        _remove_if_empty(state)
    for draft in root.glob(".*.tmp-*"):
        draft.unlink()
    for name in (".lock", MARKER):
        (root / name).unlink(missing_ok=True)
    kept = tuple(sorted(path.name for path in root.iterdir()))
    if not kept:
        _remove_if_empty(root)
    return Removed(root, kept, gone=not root.exists())


def _remove_if_empty(path: Path) -> None:
    # Someone else's files keep the directory; so does a mount point.
    with contextlib.suppress(OSError):
        path.rmdir()
