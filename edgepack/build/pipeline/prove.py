"""Lays a release out as it would lie on a box, and lets the target run it.

It is not aware of verdicts or choices. Used by `judge`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgepack.build.cache import Cache
from edgepack.build.emulate import (
    Root,
    RootUnavailableError,
    Verification,
    make_root,
    verify_on_target,
)
from edgepack.build.emulate.verification import host_python, not_run
from edgepack.build.pack import finish_manifest
from edgepack.build.pipeline.assemble import Release
from edgepack.build.targets import Runtime, Site, Target


class Prover:
    """Runs releases on their targets; makes each target's root at most once."""

    def __init__(self, cache: Cache, mirror: str | None = None) -> None:
        """Remembers where roots are kept and come from.

        Args:
            cache: Keeps roots and verdicts.
            mirror: A Debian mirror; None for the host's own apt sources.
        """
        self._cache = cache
        self._mirror = mirror
        self._roots: dict[tuple[str, str], Root | RootUnavailableError] = {}

    def prepare(self, target: Target) -> None:
        """Makes a target's root, so that the first run need not wait for it."""
        key = (target.arch, target.suite)
        if key not in self._roots:
            try:
                self._roots[key] = make_root(target, self._cache, self._mirror)
            except RootUnavailableError as error:
                self._roots[key] = error

    def prove(self, target: Target, runtime: Runtime, site: Site, release: Release) -> Verification:
        """Runs the first candidate of a release on its target.

        Args:
            target: The kind of box; `prepare` was called with it.
            runtime: The runtime in the release.
            site: Its wheels; those outside the bundle are given as the box would bring them.
            release: The release.

        Returns:
            The verdict.
        """
        root = self._roots[target.arch, target.suite]
        variant = release.manifest.candidates[0].variant
        unavailable = root if isinstance(root, RootUnavailableError) else None
        if unavailable is not None and host_python(target) is None:
            return not_run(unavailable)
        with self._cache.temporary_directory("release-") as folder:
            lay_out(release, folder)
            try:
                return verify_on_target(
                    target,
                    runtime,
                    folder,
                    variant,
                    root=root if isinstance(root, Root) else None,
                    cache=self._cache,
                    external=site.external_path,
                )
            except RootUnavailableError as error:
                return not_run(error)


def lay_out(release: Release, folder: Path) -> None:
    """Writes a release's files and manifest into an empty folder.

    Files that already lie on this disk are linked, not copied.
    """
    manifest = finish_manifest(release.manifest, release.files)
    for path, source in release.files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            place.write_bytes(source)
        else:
            _link(source, place)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:
        # Another disk, or a file system without hard links.
        shutil.copy2(source, place)
