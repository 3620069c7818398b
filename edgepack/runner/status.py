"""Answers `edgepack-runner status`: what is installed here, without loading a runtime.

It is not aware of how the answer is printed. Used by `edgepack.runner.main`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import BundleError
from edgepack.formats.manifest import MAX_MANIFEST_BYTES, parse_manifest
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
    spool = None if paths.spool is None else Spool(paths.spool)
    return Status(
        {
            "model": manifest.model.name,
            "version": manifest.model.version,
            "variant": manifest.candidate().variant,
            "runtime": f"{manifest.runtime.name} {manifest.runtime.version}",
            "target": manifest.target.name,
            "release": sha256_hex(data),
            "directory": str(paths.release),
            "device_id": read_device_id(paths.state),
            "reports_waiting": None if spool is None else len(spool.waiting()),
            "reports_dropped": None if spool is None else spool.dropped(),
        }
    )
