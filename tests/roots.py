"""Installing in unit tests: quick, faulty and stopping disks, and one short call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgepack.build.pack import PackedBundle
from edgepack.runner.boot.archive import open_bundle
from edgepack.runner.boot.disk import Disk
from edgepack.runner.boot.install import Installed, InstallRequest, Surroundings, install
from tests.bundles import this_machine

DEVICE_ID = "5f0c6b0e-1111-4222-8333-444455556666"


class QuickDisk(Disk):
    """The real file system without waiting for the device: a test's files need not survive."""

    def sync(self, path: Path) -> None:
        assert path.exists()


def put(
    packed: PackedBundle | Path,
    root: Path,
    *,
    disk: Disk | None = None,
    state: Path | None = None,
    keep: int = 2,
    force: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
    new_id: Callable[[], str] = lambda: DEVICE_ID,
) -> Installed:
    path = packed if isinstance(packed, Path) else packed.path
    around = Surroundings(
        machine=this_machine(), disk=disk or QuickDisk(), on_step=on_step, new_id=new_id
    )
    request = InstallRequest(root=root, state=state, keep=keep, force=force)
    return install(open_bundle(path), request, around)


def snapshot(root: Path) -> dict[str, tuple[int, bytes | str]]:
    """Everything below a directory: kinds, modes and contents."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content: bytes | str = b""
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (mode, content)
    return found
