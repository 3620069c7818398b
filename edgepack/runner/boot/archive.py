"""Opens a bundle and verifies it: the seal, the archive's shape, the manifest, every file.

`open_bundle` reads what can be read without trust and gives an `UnverifiedBundle`; only
`verify` turns it into a `Bundle`. It writes nothing. Used by the bundle's program on the box
and by `edgepack verify` and `inspect` on the host; the one file that translates `zipfile`'s
exceptions.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from edgepack.formats.bundle import (
    FILE_MODES,
    MAIN_MEMBER,
    MANIFEST_MEMBER,
    MAX_SBOM_BYTES,
    MAX_UNPACKED_BYTES,
    PAYLOAD_MEMBER,
    PREFIX_BYTES,
    PROGRAM_FOLDER,
    SBOM_MEMBER,
    SEAL_BYTES,
    check_release_path,
    parse_prefix,
    parse_seal,
)
from edgepack.formats.canonical import parse_json, sha256_hex
from edgepack.formats.errors import BundleError
from edgepack.formats.manifest import MAX_MANIFEST_BYTES, FileRecord, Manifest, parse_manifest
from edgepack.runner.boot.payload import XzStream, read_members

#: Called with the bytes done and the bytes in all.
Progress = Callable[[int, int], None]

_CHUNK_BYTES = 2**20
_COPY_AGAIN = "copy or download the bundle again"
_REQUIRED = (MAIN_MEMBER, MANIFEST_MEMBER, PAYLOAD_MEMBER, SBOM_MEMBER)
#: What zipfile lets through when an archive's own records are damaged.
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose every byte agreed with its seal and its manifest.

    Attributes:
        path: The file.
        size_bytes: Its bytes.
        sha256: Hash of the whole file.
        manifest: What it says about itself.
        release_id: SHA-256 of `manifest.json` as it came.
        sbom: The CycloneDX document.
    """

    path: Path
    size_bytes: int
    sha256: str
    manifest: Manifest
    release_id: str
    sbom: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UnverifiedBundle:
    """A bundle that could be opened; nothing it says has been checked yet.

    Attributes:
        path: The file.
        size_bytes: Its bytes.
        manifest: Parsed, not checked against the payload.
        manifest_bytes: As they came; their hash is the release id.
        sbom: The CycloneDX document.
    """

    path: Path
    size_bytes: int
    manifest: Manifest
    manifest_bytes: bytes
    sbom: Mapping[str, Any]

    @property
    def release_id(self) -> str:
        """The SHA-256 of `manifest.json`: the name of the release on a box."""
        return sha256_hex(self.manifest_bytes)

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of all files the manifest lists."""
        return sum(record.size for record in self.manifest.files)

    def check_seal(self) -> str:
        """Checks that no byte of the file changed since it was packed.

        Returns:
            The SHA-256 of the whole file.

        Raises:
            BundleError: A byte differs; the text names the damaged member where it is known.
        """
        before = hashlib.sha256()
        with _opened(self.path) as file:
            left = self.size_bytes - SEAL_BYTES
            while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
                before.update(chunk)
                left -= len(chunk)
            whole = before.copy()
            comment = file.read(SEAL_BYTES + 1)
        expected = parse_seal(comment)
        whole.update(comment)
        if expected is None:
            raise BundleError(f"{self.path} does not end with a seal", hint=_COPY_AGAIN)
        if before.hexdigest() != expected:
            raise BundleError(
                f"{self.path} is damaged in {self._damaged_part()}: its bytes have SHA-256 "
                f"{before.hexdigest()}, its seal says {expected}",
                hint=_COPY_AGAIN,
            )
        return whole.hexdigest()

    def read_payload(self) -> Iterator[tuple[FileRecord, Iterator[bytes]]]:
        """Yields each file of the payload with its content, checked while it is read.

        Raises:
            BundleError: Anything in the payload disagrees with the manifest.
        """
        files = {record.path: record for record in self.manifest.files}
        with _opened(self.path) as file, _zip_faults(self.path, PAYLOAD_MEMBER):
            archive = zipfile.ZipFile(file)
            with archive.open(PAYLOAD_MEMBER) as payload:
                name = f"{PAYLOAD_MEMBER} in {self.path}"
                yield from read_members(XzStream(cast("BinaryIO", payload), name), files)

    def verify(self, progress: Progress | None = None) -> Bundle:
        """Checks every byte and every file.

        Args:
            progress: Told the unpacked bytes done and in all.

        Returns:
            The bundle, now to be trusted as far as its origin is.

        Raises:
            BundleError: What is wrong, where, what was expected and what was found.
            DeviceError: This Python cannot read xz.
        """
        sha256 = self.check_seal()
        done, total = 0, self.unpacked_bytes
        for _, content in self.read_payload():
            for chunk in content:
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
        return Bundle(self.path, self.size_bytes, sha256, self.manifest, self.release_id, self.sbom)

    def _damaged_part(self) -> str:
        with contextlib.suppress(*_ZIP_FAULTS), zipfile.ZipFile(self.path) as archive:
            for name in archive.namelist():
                try:
                    with archive.open(name) as member:
                        while member.read(_CHUNK_BYTES):
                            pass
                except _ZIP_FAULTS:
                    return name
        return "the records between its members"


def open_bundle(path: Path) -> UnverifiedBundle:
    """Opens a bundle and reads its manifest.

    Args:
        path: The `.pyz` file.

    Returns:
        The bundle, with nothing checked beyond its shape.

    Raises:
        BundleError: Not there, cut short, not a bundle, or of a newer format.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        _check_size(path, size, file.read(PREFIX_BYTES))
        with _zip_faults(path):
            archive = zipfile.ZipFile(file)
            _check_members(path, archive)
        manifest_bytes = _read_member(path, archive, MANIFEST_MEMBER, MAX_MANIFEST_BYTES)
        sbom_bytes = _read_member(path, archive, SBOM_MEMBER, MAX_SBOM_BYTES)
    manifest = parse_manifest(manifest_bytes)
    _check_files(manifest)
    sbom = parse_json(sbom_bytes, what=SBOM_MEMBER, limit=MAX_SBOM_BYTES)
    return UnverifiedBundle(path, size, manifest, manifest_bytes, sbom)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise BundleError(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        yield file


@contextlib.contextmanager
def _zip_faults(path: Path, part: str = "its archive's directory") -> Iterator[None]:
    try:
        yield
    except _ZIP_FAULTS as error:
        raise BundleError(f"{path} is damaged in {part}: {error}", hint=_COPY_AGAIN) from error


def _check_size(path: Path, size: int, head: bytes) -> None:
    announced = parse_prefix(head)
    if announced is None:
        raise BundleError(
            f"{path} is not an edgepack bundle: it does not begin like one",
            hint="edgepack build writes bundles; their names end in .pyz",
        )
    if size < announced:
        raise BundleError(
            f"{path} is cut short: {size} of {announced} bytes are there", hint=_COPY_AGAIN
        )
    if size > announced:
        raise BundleError(
            f"{path} is {size} bytes long; its head announces {announced}", hint=_COPY_AGAIN
        )


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    for name in sorted(set(names)):
        if names.count(name) > 1:
            raise BundleError(f"{path} has the member {name!r} twice", hint=_COPY_AGAIN)
        program = name.startswith(PROGRAM_FOLDER) and name.endswith(".py")
        if name not in _REQUIRED and not program:
            raise BundleError(f"{path} has a member {name!r} that no bundle has")
        check_release_path(name, str(path))
    for name in _REQUIRED:
        if name not in names:
            raise BundleError(f"{path} lacks its member {name}", hint=_COPY_AGAIN)


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with _zip_faults(path, name), archive.open(name) as member:
        data = member.read(limit + 1)
        if len(data) > limit:
            raise BundleError(f"{path}: {name} has more than {limit} bytes; refused")
        # The checksum is only compared once the end has been seen.
        member.read(1)
    return data


def _check_files(manifest: Manifest) -> None:
    total = 0
    for record in manifest.files:
        check_release_path(record.path, "manifest.files")
        if record.mode not in FILE_MODES:
            raise BundleError(
                f"manifest.files: {record.path} has mode {record.mode:04o}; 0644 and 0755 exist"
            )
        if record.path.split("/")[0] in ("manifest.json", "external", "external.json"):
            raise BundleError(f"manifest.files: the path {record.path} belongs to the installer")
        total += record.size
    if total > MAX_UNPACKED_BYTES:
        raise BundleError(
            f"the manifest lists {total} bytes of files; at most {MAX_UNPACKED_BYTES} are unpacked"
        )
    _check_nesting({record.path for record in manifest.files})


def _check_nesting(paths: set[str]) -> None:
    for path in paths:
        parents = path.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            if "/".join(parents[:depth]) in paths:
                raise BundleError(f"manifest.files: {path} lies inside another file")
