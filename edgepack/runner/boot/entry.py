"""A bundle's `__main__.py`: checks the seal over the whole file, then starts the program.

Until the seal has been checked nothing of the file is to be believed, so this imports only the
standard library and repeats the two words it needs of `edgepack.formats.bundle`; a test holds
them equal. It is not aware of commands. `build.pack` copies its text; nobody imports it.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

SEAL_LABEL = b"edgepack-sha256:"
SEAL_BYTES = len(SEAL_LABEL) + 64
_BUNDLE_ERROR = 7
_CHUNK_BYTES = 2**20
_HEAD_BYTES = 512
_SIZE_LINE = 2


def find_damage(path: Path) -> str | None:
    """Returns what is wrong with a bundle's bytes, or None when the seal holds.

    Args:
        path: The bundle.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - SEAL_BYTES
        while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
        seal = file.read()
    if seal == SEAL_LABEL + digest.hexdigest().encode("ascii"):
        return None
    size, announced = path.stat().st_size, _announced_size(path)
    if size < announced:
        return f"is cut short: {size} of {announced} bytes are there"
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip() or "the records between its members"
    except Exception:  # noqa: BLE001 - whatever a damaged archive makes zipfile raise
        part = "its archive's directory"
    said = ascii(seal[len(SEAL_LABEL) :])[2:-1]
    return (
        f"is damaged in {part}: its bytes have SHA-256 {digest.hexdigest()}, its seal says {said}"
    )


def _announced_size(path: Path) -> int:
    """Returns the size in the file's third line, 0 where there is none."""
    with path.open("rb") as file:
        lines = file.read(_HEAD_BYTES).split(b"\n")
    words = lines[_SIZE_LINE].split() if len(lines) > _SIZE_LINE else []
    # "# edgepack bundle of 000014253311 bytes"
    return next((int(word) for word in words if word.isdigit()), 0)


def main(path: Path) -> int:
    """Runs the bundle's program if every byte is as it was packed.

    Args:
        path: The bundle.

    Returns:
        The exit status.
    """
    damage = find_damage(path)
    if damage is not None:
        sys.stderr.write(f"error: {path} {damage}\nhint: copy or download the bundle again\n")
        return _BUNDLE_ERROR
    # A zip cannot hold byte code files, and the current directory is none of our business.
    sys.dont_write_bytecode = True
    from edgepack.runner.boot.main import main as run

    return run(str(path))


if __name__ == "__main__":
    sys.exit(main(Path(sys.path[0])))
