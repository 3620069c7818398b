"""The bundle's outer shape: member names, limits, path rules and the seal over every byte.

A bundle is a few lines of text, then a zip archive whose comment is the SHA-256 of everything
before it. So one flipped bit anywhere is seen before anything inside is believed, and a file
cut short says so even to a Python that cannot find the archive in it. It is not aware of files
or of the manifest. The build side writes by it, the bundle's own program reads by it; standard
library only.
"""

from __future__ import annotations

import re

from edgepack.formats.errors import BundleError

MAIN_MEMBER = "__main__.py"
MANIFEST_MEMBER = "manifest.json"
PAYLOAD_MEMBER = "payload.tar.xz"
SBOM_MEMBER = "sbom.cdx.json"
#: The folder of the bundle's own program inside the archive.
PROGRAM_FOLDER = "edgepack/"

MAX_SBOM_BYTES = 16 * 2**20
#: About 60x the largest release planned for; a limit against hostile input, not a goal.
MAX_UNPACKED_BYTES = 8 * 2**30
#: What reading a payload may take: a 64 MiB dictionary and room around it.
MAX_XZ_MEMORY_BYTES = 96 * 2**20
#: A ustar header holds 100 bytes of name and 155 of prefix; see `check_release_path`.
MAX_PATH_BYTES = 240
MAX_NAME_BYTES = 100

FILE_MODES = (0o644, 0o755)

_SEAL_LABEL = b"edgepack-sha256:"
SEAL_BYTES = len(_SEAL_LABEL) + 64
# A Python that finds no archive in the file (cut short, or its end damaged) reads it as source
# text. It then stops at the unknown encoding and prints this name as its error.
_PREFIX = (
    b"#!/usr/bin/env python3\n"
    b"# coding: this-edgepack-bundle-is-cut-short-or-damaged.copy-it-again\n"
    b"# edgepack bundle of %012d bytes\n"
)
_PREFIX_PATTERN = re.compile(
    rb"#![^\n]*\n# coding: [^\n]*\n# edgepack bundle of (\d{12}) bytes\n", re.DOTALL
)
PREFIX_BYTES = len(_PREFIX % 0)


def bundle_prefix(size_bytes: int) -> bytes:
    """Returns the text before the archive: shebang, the words for a cut file, the size.

    Args:
        size_bytes: Bytes of the whole file, prefix and seal included.
    """
    return _PREFIX % size_bytes


def parse_prefix(data: bytes) -> int | None:
    """Returns the size the prefix announces, or None where there is no such prefix.

    Args:
        data: At least the first `PREFIX_BYTES` bytes of the file.
    """
    match = _PREFIX_PATTERN.match(data)
    return int(match.group(1)) if match else None


def seal(sha256: str) -> bytes:
    """Returns the archive comment that seals the bytes before it: the file's last bytes.

    Args:
        sha256: Of every byte before the comment, as 64 hexadecimal digits.
    """
    return _SEAL_LABEL + sha256.encode("ascii")


def parse_seal(data: bytes) -> str | None:
    """Returns the SHA-256 in a seal, or None when it is not one.

    Args:
        data: The last `SEAL_BYTES` bytes of the file.
    """
    if len(data) != SEAL_BYTES or not data.startswith(_SEAL_LABEL):
        return None
    digits = data[len(_SEAL_LABEL) :].decode("ascii", "replace")
    return digits if re.fullmatch("[0-9a-f]{64}", digits) else None


def check_release_path(path: str, where: str) -> None:
    """Refuses a path that could leave the release, or that a box could read in two ways.

    Args:
        path: Relative, with `/` between its parts.
        where: The list it stands in, for the error's text.

    Raises:
        BundleError: Absolute, empty, with `.`, `..`, `\\`, an empty part or a control
            character, or longer than a tar header holds.

    Source: POSIX.1-1988 ustar: `name` has 100 bytes, `prefix` 155.
    """
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise BundleError(
            f"{where}: the path {path!r} leaves the release",
            hint="do not use this bundle: edgepack never writes one like it",
        )
    if "" in parts or "." in parts or "\\" in path or not path.isprintable():
        raise BundleError(f"{where}: the path {path!r} is not a plain relative path")
    if len(path.encode()) > MAX_PATH_BYTES or any(
        len(part.encode()) > MAX_NAME_BYTES for part in parts
    ):
        raise BundleError(
            f"{where}: the path {path!r} is too long; at most {MAX_PATH_BYTES} bytes, "
            f"{MAX_NAME_BYTES} a part"
        )
