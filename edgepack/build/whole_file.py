"""Puts a finished file at its place, where a reader sees all of it or nothing.

It is not aware of what the file is. Used by `pack`, the pipeline and `edgepack convert`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgepack.formats.errors import ConfigError


@contextlib.contextmanager
def whole_file(path: Path, *, mode: int) -> Iterator[BinaryIO]:
    """Gives a file that takes its name only once it is complete and on the disk.

    Args:
        path: Its place; an older file there is replaced, missing folders are made.
        mode: Its permissions.

    Raises:
        ConfigError: It cannot be written; what was there before is still there.
    """
    draft = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
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


def place_whole(source: Path, path: Path, *, mode: int = 0o644) -> None:
    """Copies a file to its name as `whole_file` does.

    Args:
        source: The finished file, on any disk.
        path: See `whole_file`.
        mode: See `whole_file`.

    Raises:
        ConfigError: See `whole_file`.
    """
    with whole_file(path, mode=mode) as file, source.open("rb") as origin:
        shutil.copyfileobj(origin, file)
