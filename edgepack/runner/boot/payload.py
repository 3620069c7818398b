"""Reads the payload, a tar inside xz, one file at a time, believing nothing it says.

Each member must be a plain file that the manifest lists, with the listed size, mode and hash;
any other kind of entry is refused by name. A read never goes past what the manifest promised,
so neither a bomb nor a lying header costs memory. It is not aware of zip archives or disks.
Used by `archive`.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO

from edgepack.formats.bundle import MAX_XZ_MEMORY_BYTES
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.manifest import FileRecord

if TYPE_CHECKING:
    import lzma

_BLOCK = tarfile.BLOCKSIZE
_CHUNK_BYTES = 2**18
#: Zero padding after the last member; tar rounds an archive up to 10,240 bytes.
_MAX_TAIL_BYTES = 10_240 + 2 * _BLOCK
_COPY_AGAIN = "copy or download the bundle again"
_HOSTILE = "do not use this bundle: edgepack never writes one like it"
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.DIRTYPE: "a directory",
}


class XzStream:
    """Bytes out of an xz stream, in bounded steps."""

    def __init__(self, source: BinaryIO, name: str) -> None:
        """Wraps a source of compressed bytes.

        Args:
            source: Compressed bytes.
            name: What they are, for the errors' text.

        Raises:
            DeviceError: This Python was built without lzma.
        """
        self._source = source
        self._name = name
        self._decompressor = _new_decompressor()

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes; empty only at the end.

        Raises:
            BundleError: The stream is damaged or cut short.
        """
        import lzma

        while not self._decompressor.eof:
            try:
                data = b""
                if self._decompressor.needs_input:
                    data = self._source.read(_CHUNK_BYTES)
                    if not data:
                        raise BundleError(
                            f"{self._name} is cut short: its xz stream does not end",
                            hint=_COPY_AGAIN,
                        )
                found = self._decompressor.decompress(data, max_length=size)
            except lzma.LZMAError as error:
                raise BundleError(f"{self._name} is damaged: {error}", hint=_COPY_AGAIN) from error
            if found:
                return found
        return b""

    def read_exactly(self, size: int, what: str) -> bytes:
        """Returns exactly `size` bytes.

        Raises:
            BundleError: Fewer are left.
        """
        parts = []
        missing = size
        while missing:
            part = self.read(missing)
            if not part:
                raise BundleError(
                    f"{self._name} ends inside {what}: {missing} of {size} bytes are missing",
                    hint=_COPY_AGAIN,
                )
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def check_end(self) -> None:
        """Checks that only zero padding is left, then nothing, in the xz stream and after it.

        Raises:
            BundleError: Something follows the last file.
        """
        rest = 0
        while part := self.read(_CHUNK_BYTES):
            rest += len(part)
            if any(part) or rest > _MAX_TAIL_BYTES:
                raise BundleError(
                    f"{self._name} has bytes after its last file; zeros were expected",
                    hint=_HOSTILE,
                )
        if self._decompressor.unused_data or self._source.read(1):
            raise BundleError(f"{self._name} has bytes after its xz stream", hint=_HOSTILE)


def read_members(
    stream: XzStream, files: Mapping[str, FileRecord]
) -> Iterator[tuple[FileRecord, Iterator[bytes]]]:
    """Yields each file with its content, checked while it is read.

    The content's iterator raises at its end when the hash is wrong; what it gave before is
    not to be trusted until then. Leaving it half read is allowed, it is then checked anyway.

    Args:
        stream: The payload.
        files: The manifest's files by path.

    Yields:
        The record and its bytes in chunks.

    Raises:
        BundleError: A member is not a plain file, not listed, of another size, mode or hash,
            or comes twice; or listed files are missing; or something follows the last.
    """
    missing = dict(files)
    while True:
        header = stream.read_exactly(_BLOCK, "a tar header")
        if not any(header):
            break
        record = _parse_header(header, missing, files)
        content = _content(stream, record)
        yield record, content
        for _ in content:
            pass
        del missing[record.path]
    if missing:
        names = ", ".join(sorted(missing)[:5])
        raise BundleError(
            f"the payload lacks {len(missing)} of {len(files)} files the manifest lists: {names}",
            hint=_COPY_AGAIN,
        )
    stream.check_end()


def _new_decompressor() -> lzma.LZMADecompressor:
    try:
        import lzma
    except ImportError as error:
        raise DeviceError(
            "this Python cannot read xz: it was built without the module lzma",
            hint="apt-get install python3 (python3-minimal alone is not enough)",
        ) from error
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY_BYTES)


def _parse_header(
    header: bytes, missing: Mapping[str, FileRecord], files: Mapping[str, FileRecord]
) -> FileRecord:
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise BundleError(f"the payload has a broken tar header: {error}") from error
    name = found.name
    if found.type != tarfile.REGTYPE:
        kind = _KINDS.get(found.type, f"an entry of type {found.type!r}")
        raise BundleError(
            f"payload member {name!r} is {kind}; only plain files are allowed", hint=_HOSTILE
        )
    record = missing.get(name)
    if record is None:
        why = "comes twice" if name in files else "is not listed in the manifest"
        raise BundleError(f"payload member {name!r} {why}", hint=_HOSTILE)
    if found.size != record.size:
        raise BundleError(
            f"payload member {name!r} has {found.size} bytes; the manifest says {record.size}",
            hint=_COPY_AGAIN,
        )
    if found.mode != record.mode:
        raise BundleError(
            f"payload member {name!r} has mode {found.mode:04o}; "
            f"the manifest says {record.mode:04o}",
            hint=_HOSTILE,
        )
    return record


def _content(stream: XzStream, record: FileRecord) -> Iterator[bytes]:
    digest = hashlib.sha256()
    left = record.size
    while left:
        chunk = stream.read_exactly(min(left, _CHUNK_BYTES), record.path)
        digest.update(chunk)
        left -= len(chunk)
        yield chunk
    stream.read_exactly(-record.size % _BLOCK, f"the padding of {record.path}")
    if digest.hexdigest() != record.sha256:
        raise BundleError(
            f"payload member {record.path!r} has SHA-256 {digest.hexdigest()}; "
            f"the manifest says {record.sha256}",
            hint=_COPY_AGAIN,
        )
