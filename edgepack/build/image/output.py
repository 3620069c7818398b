"""Puts a finished folder at its place, and says in words when the disk would not have it.

It is not aware of what is in the folder. Used by `make`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgepack.formats.errors import ConfigError, ImageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def parse_output(text: str) -> Path:
    """Returns the folder of `--output oci:DIR`.

    Raises:
        ConfigError: It is written in another way.
    """
    kind, colon, folder = text.partition(":")
    if kind != "oci" or not colon or not folder:
        raise ConfigError(
            f"--output: got '{text:.80}', expected oci:DIR", hint="--output oci:dist/session-image"
        )
    return Path(folder)


def check_output(folder: Path) -> None:
    """Refuses a folder that holds something else than an image made before.

    Raises:
        ConfigError: It is in use, or a file.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "oci-layout").is_file()):
        raise ConfigError(
            f"--output: {folder} is there already and is not an image's folder",
            hint="name a new or empty folder",
        )


@contextlib.contextmanager
def appears_whole(folder: Path | None, work: Path) -> Iterator[Path]:
    """Gives a folder to write to, which takes its name once everything went well.

    Args:
        folder: Its name; an older image there is replaced. None for a folder that is not kept.
        work: Where such a one may lie.
    """
    if folder is None:
        yield work / "finished"
        return
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Random: two containers that share the folder may have the same process number.
    token = secrets.token_hex(6)
    draft = folder.with_name(f".{folder.name}.tmp-{token}")
    older = folder.with_name(f".{folder.name}.old-{token}")
    try:
        yield draft
        if folder.exists():
            os.replace(folder, older)
        os.replace(draft, folder)
    except BaseException:
        if older.exists() and not folder.exists():
            os.replace(older, folder)
        raise
    finally:
        for path in (draft, older):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def disk_faults() -> Iterator[None]:
    """Says in words what went wrong when writing.

    Raises:
        ImageError: The disk is full, read-only, or not ours.
    """
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or "a temporary file"
        full = error.errno in _FULL
        raise ImageError(
            f"{place} cannot be written: {error.strerror or error}",
            hint="free some space there, or set TMPDIR to a larger disk" if full else None,
        ) from error
