"""Puts a finished file at its place, where a reader sees all of it or nothing.

It is not aware of what the file is. Used by the pipeline and by `edgepack convert`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from edgepack.formats.errors import ConfigError


def place_whole(source: Path, path: Path, *, mode: int = 0o644) -> None:
    """Copies a file to its name, which it has only once it is complete and on the disk.

    Args:
        source: The finished file, on any disk.
        path: Its place; an older file there is replaced, missing folders are made.
        mode: Its permissions.

    Raises:
        ConfigError: It cannot be written; what was there before is still there.
    """
    draft = path.with_name(f".{path.name}.new-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as origin, draft.open("wb") as file:
            shutil.copyfileobj(origin, file)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            hint="free some space there" if full else "choose another folder with --out",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
