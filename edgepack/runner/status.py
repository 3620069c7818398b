"""Answers `edgepack-runner status`: what is installed here, without loading a runtime.

It is not aware of how the answer is printed. Used by `edgepack.runner.main`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from edgepack.formats.variants import RuntimeName
from edgepack.runner.reports.spool import Spool
from edgepack.runner.state import BoxPaths, read_device_id


@dataclass(frozen=True, slots=True)
class Status:
    """What is installed and what waits.

    Attributes:
        facts: Name and value, in the order they are shown.
    """

    facts: Mapping[str, str | int | None]


def read_status(paths: BoxPaths) -> Status:
    """Reads the installed release's manifest and the state folder.

    Args:
        paths: The box's folders.

    Returns:
        The status.

    Raises:
        BundleError: There is no readable release.
    """
    manifest_path = paths.release / "manifest.json"
    try:
        with manifest_path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(
            f"{manifest_path} cannot be read: {error.strerror or error}",
            hint="python3 BUNDLE.pyz install --root ROOT",
        ) from error
    manifest = parse_manifest(data)
    waiting, dropped = _spooled(paths.spool)
    return Status(
        {
            "model": manifest.model.name,
            "version": manifest.model.version,
            "variant": manifest.candidate().variant,
            "runtime": f"{manifest.runtime.name} {manifest.runtime.version}",
            "target": manifest.target.name,
            "release": sha256_hex(data),
            "directory": str(paths.release),
            **_gpu(manifest),
            "device_id": read_device_id(paths.state),
            "reports_waiting": waiting,
            "reports_dropped": dropped,
        }
    )


def _gpu(manifest: Manifest) -> dict[str, str]:
    """Says what would compute, for a bundle that asks for a GPU."""
    if manifest.runtime.name is not RuntimeName.ONNXRUNTIME_GPU:
        return {}
    from edgepack.runner.gpu.looking import look_and_judge, summary, wish_of

    return {"gpu": summary(look_and_judge(wish_of(manifest, manifest.candidate().size)))}


def _spooled(directory: Path | None) -> tuple[int | None, int | None]:
    """Returns how many reports wait and were dropped; None where this user may not look."""
    if directory is None:
        return None, None
    spool = Spool(directory)
    try:
        return len(spool.waiting()), spool.dropped()
    except DeviceError:
        return None, None
