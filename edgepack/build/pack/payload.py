"""The payload: file records for the manifest, and the tar inside xz they describe.

The same files are the same bytes: times, owners and order never come from this machine. It is
not aware of zip archives or of what the files are. Used by `bundle`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import lzma
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from edgepack.build.artifacts import Progress
from edgepack.build.cache import Cache
from edgepack.formats.bundle import PAYLOAD_MEMBER, check_release_path
from edgepack.formats.errors import BundleError, ConfigError
from edgepack.formats.manifest import FileRecord, Manifest, parse_manifest

#: A file of a release before it is packed: where it lies, or its bytes.
Source = Path | bytes

#: Part of the cache key; counts up when the order, the headers or the filters change.
_RECIPE = 2
_CHUNK_BYTES = 2**20
_MIN_DICTIONARY_BYTES = 2**20
#: The dictionary is memory the box needs while it unpacks; see `bundle.MAX_XZ_MEMORY_BYTES`.
_MAX_DICTIONARY_BYTES = 64 * 2**20
_TASK = "Packing"


def finish_manifest(draft: Manifest, files: Mapping[str, Source]) -> Manifest:
    """Completes a manifest with the records of a release's files.

    Args:
        draft: The manifest; its `files` are ignored.
        files: Every file of the release by its path there.

    Returns:
        The manifest with `files`, sorted by path; modes are 0755 for what its owner may
        execute and 0644 for all else.

    Raises:
        BundleError: A path no release may have, or a candidate whose file is another one.
        ConfigError: A file cannot be read.
    """
    records = tuple(_record(path, files[path]) for path in sorted(files))
    manifest = dataclasses.replace(draft, files=records)
    # What a box would refuse is refused here.
    parse_manifest(manifest.to_bytes())
    return manifest


def make_payload(
    manifest: Manifest, files: Mapping[str, Source], cache: Cache, progress: Progress
) -> Path:
    """Makes the compressed payload, or takes it from the cache.

    Args:
        manifest: Finished; its records say what goes in.
        files: The files by path.
        cache: Where the payload is kept; compressing takes half a minute.
        progress: Told the uncompressed bytes.

    Returns:
        `payload.tar.xz`, to be treated as read-only.

    Raises:
        BundleError: A file changed since the manifest was finished, or a path fits no tar.
    """
    key = {
        "recipe": _RECIPE,
        "arch": manifest.target.arch,
        "files": [[each.path, each.sha256, each.mode] for each in manifest.files],
    }

    def make(folder: Path) -> None:
        with (folder / PAYLOAD_MEMBER).open("wb") as file:
            write_payload(file, manifest, files, progress)

    return cache.get_or_make("payload", key, make) / PAYLOAD_MEMBER


def write_payload(
    file: BinaryIO, manifest: Manifest, files: Mapping[str, Source], progress: Progress
) -> None:
    """Writes the payload: ustar headers without times and owners, in xz.

    Args:
        file: Where to.
        manifest: Finished.
        files: The files by path.
        progress: Told the uncompressed bytes.

    Raises:
        BundleError: A file changed since the manifest was finished, or a path fits no tar.
    """
    total = sum(record.size for record in manifest.files)
    compressor = lzma.LZMACompressor(
        format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=_filters(total, manifest.target.arch)
    )
    progress.start(_TASK, total)
    try:
        for record in sorted(manifest.files, key=_compression_order):
            file.write(compressor.compress(_header(record)))
            digest = hashlib.sha256()
            for chunk in read_source(files[record.path]):
                digest.update(chunk)
                file.write(compressor.compress(chunk))
                progress.advance(_TASK, len(chunk))
            if digest.hexdigest() != record.sha256:
                raise BundleError(f"{record.path} changed while it was packed")
            file.write(compressor.compress(bytes(-record.size % tarfile.BLOCKSIZE)))
        file.write(compressor.compress(bytes(2 * tarfile.BLOCKSIZE)))
        file.write(compressor.flush())
    finally:
        progress.finish(_TASK)


def read_source(source: Source) -> Iterator[bytes]:
    """Yields a file's bytes in chunks.

    Raises:
        ConfigError: The file cannot be read.
    """
    if isinstance(source, bytes):
        yield source
        return
    with _readable(source), source.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _record(path: str, source: Source) -> FileRecord:
    check_release_path(path, "the release")
    digest = hashlib.sha256()
    size = 0
    for chunk in read_source(source):
        digest.update(chunk)
        size += len(chunk)
    executable = False
    if isinstance(source, Path):
        with _readable(source):
            executable = bool(source.stat().st_mode & 0o100)
    return FileRecord(path, digest.hexdigest(), size, 0o755 if executable else 0o644)


def _header(record: FileRecord) -> bytes:
    info = tarfile.TarInfo(record.path)
    info.size, info.mode = record.size, record.mode
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError as error:
        raise BundleError(f"{record.path} does not fit a tar header: {error}") from error


def _compression_order(record: FileRecord) -> tuple[int, str, str, str]:
    # Like beside like: xz finds what repeats, and its model of the bytes stays in tune.
    path = PurePosixPath(record.path)
    if ".so" in path.suffixes or path.suffix == ".so":
        return (0, ".so", path.name, record.path)
    return (1, path.suffix, str(path.parent), record.path)


def _filters(total: int, arch: str) -> list[dict[str, int]]:
    """Returns the strongest settings for an architecture's code, which most of a payload is.

    The dictionary is no larger than the payload. Nothing is used that a liblzma of before 5.4
    cannot read, as Pythons come with older ones; so there is no filter for ARM64.
    """
    size = _MIN_DICTIONARY_BYTES
    while size < min(total, _MAX_DICTIONARY_BYTES):
        size *= 2
    compress = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}
    if arch == "x86_64":
        # The targets of calls become absolute, so that calls of one function look alike.
        return [{"id": lzma.FILTER_X86}, compress]
    # Instructions of four bytes at places that four divides.
    return [{**compress, "lc": 2, "lp": 2, "pb": 2}]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
