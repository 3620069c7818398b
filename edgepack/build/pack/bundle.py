"""Puts a bundle together: manifest, SBOM, program and payload in one sealed file.

The file appears under its name whole or not at all, and the same inputs give the same bytes.
It is not aware of how the files of the release were made. Used by the pipeline through
`edgepack.build.pack`.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgepack.build.artifacts import Progress, SilentProgress
from edgepack.build.cache import Cache
from edgepack.build.pack.payload import Source, finish_manifest, make_payload, read_source
from edgepack.build.pack.sbom import Component, build_sbom
from edgepack.build.pack.sources import program_files
from edgepack.build.whole_file import whole_file
from edgepack.formats.bundle import (
    MANIFEST_MEMBER,
    PAYLOAD_MEMBER,
    SBOM_MEMBER,
    SEAL_BYTES,
    bundle_prefix,
    seal,
)
from edgepack.formats.manifest import Manifest

#: The earliest date a zip archive can hold.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_CHUNK_BYTES = 2**20
_STRONGEST_DEFLATE = 9


@dataclass(frozen=True, slots=True)
class PackedBundle:
    """A finished bundle file.

    Attributes:
        path: The file.
        size_bytes: Its bytes.
        sha256: Hash of the whole file.
        manifest: The manifest in it; its `id` is the release id.
        payload_bytes: Bytes of the compressed payload in it.
    """

    path: Path
    size_bytes: int
    sha256: str
    manifest: Manifest
    payload_bytes: int


def bundle_filename(manifest: Manifest) -> str:
    """Returns a bundle's file name, such as `session-1.2.0-arm64.pyz`."""
    return f"{manifest.model.name}-{manifest.model.version}-{manifest.target.name}.pyz"


def pack_bundle(
    draft: Manifest,
    files: Mapping[str, Source],
    out: Path,
    *,
    cache: Cache,
    components: Sequence[Component] = (),
    program: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
) -> PackedBundle:
    """Packs a release into one file.

    Args:
        draft: The manifest; its `files` are filled in here.
        files: Every file of the release by its path there: models, vocabulary, golden
            answers, site, `runner_files()`, `service_units()`.
        out: The bundle's path; an older file there is replaced.
        cache: Keeps compressed payloads.
        components: The wheels in the release, for the SBOM.
        program: The bundle's program by member name; edgepack's own by default.
        progress: Told how far the compression is.

    Returns:
        The finished bundle.

    Raises:
        BundleError: A path no release may have, or a candidate whose file is another one.
        ConfigError: A file cannot be read, or the bundle cannot be written.
    """
    manifest = finish_manifest(draft, files)
    payload = make_payload(manifest, files, cache, progress or SilentProgress())
    members: dict[str, Source] = dict(
        program_files(manifest.runtime.name) if program is None else program
    )
    members[MANIFEST_MEMBER] = manifest.to_bytes()
    members[SBOM_MEMBER] = build_sbom(manifest, components)
    # Last, so that everything a person may look at lies at the front of the file.
    members[PAYLOAD_MEMBER] = payload
    # So that a box can start it as a program.
    with whole_file(out, mode=0o755) as file:
        sha256 = write_sealed(file, members)
        size = file.tell()
    return PackedBundle(out, size, sha256, manifest, payload.stat().st_size)


def write_sealed(file: BinaryIO, members: Mapping[str, Source]) -> str:
    """Writes a bundle's outer form: prefix, archive, seal.

    Args:
        file: Empty, readable and writable; left at its end.
        members: The archive's members in their order.

    Returns:
        The SHA-256 of the whole file.
    """
    file.write(bundle_prefix(0))
    with zipfile.ZipFile(file, "w", compresslevel=_STRONGEST_DEFLATE) as archive:
        for name, source in members.items():
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.create_system = _UNIX
            info.external_attr = 0o100644 << 16
            if name != PAYLOAD_MEMBER:
                info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as member:
                for chunk in read_source(source):
                    member.write(chunk)
        archive.comment = seal("0" * 64)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    file.write(bundle_prefix(size))
    file.seek(0)
    digest = hashlib.sha256()
    left = size - SEAL_BYTES
    while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
        digest.update(chunk)
        left -= len(chunk)
    comment = seal(digest.hexdigest())
    file.seek(size - SEAL_BYTES)
    file.write(comment)
    digest.update(comment)
    return digest.hexdigest()
