"""Where a box keeps the release and its own state, and the random id it goes by.

The paths come from options first, then from `EDGEPACK_ROOT` and `EDGEPACK_STATE`, which the
launcher sets. It is not aware of what a release is. Used by the runner's programs.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.errors import ConfigError, DeviceError
from edgepack.runner.durable import LOCAL, wait_for_lock, write_durably

_DEVICE_ID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")
_DEVICE_ID_FILE = "device_id"
#: A UUID's text is 36 bytes; anything longer is not one.
_MAX_ID_BYTES = 64


@dataclass(frozen=True, slots=True)
class BoxPaths:
    """The folders of one installed model.

    Attributes:
        release: The release that is run: `ROOT/current`, or the folder that was named.
        state: Device id and spool; it need not exist yet. None: nothing is kept.
    """

    release: Path
    state: Path | None

    @property
    def spool(self) -> Path | None:
        """Where reports wait, or None when nothing is kept."""
        return None if self.state is None else self.state / "spool"


def find_paths(
    environment: Mapping[str, str], *, release: Path | None = None, state: Path | None = None
) -> BoxPaths:
    """Finds the folders from options and the environment.

    Args:
        environment: The process's environment variables.
        release: A release folder that was named on the command line.
        state: A state folder that was named on the command line.

    Returns:
        The paths; whether they exist is not looked at.

    Raises:
        ConfigError: There is neither a release folder nor a root.
    """
    root = environment.get("EDGEPACK_ROOT")
    if release is None:
        if not root:
            raise ConfigError(
                "no release to run: EDGEPACK_ROOT is not set",
                hint="use ROOT/bin/edgepack-runner of an installed bundle, or --release DIR",
            )
        release = Path(root) / "current"
    if state is None:
        named = environment.get("EDGEPACK_STATE")
        state = Path(named) if named else (Path(root) / "state" if root else None)
    return BoxPaths(release=release, state=state)


def read_device_id(state: Path | None) -> str | None:
    """Reads the box's id.

    Args:
        state: The state folder, or None.

    Returns:
        The id made at install, or None when there is none or it is not one.
    """
    if state is None:
        return None
    try:
        with (state / _DEVICE_ID_FILE).open("rb") as file:
            text = file.read(_MAX_ID_BYTES + 1).decode("ascii", "replace").strip()
    except OSError:
        return None
    return text if _DEVICE_ID.fullmatch(text) else None


def ensure_device_id(state: Path | None) -> str | None:
    """Reads the box's id, making a random one where there is none.

    Of several programs that start at once in an empty state, all get the same one.

    Args:
        state: The state folder, made if needed; or None.

    Returns:
        The id, or None when it cannot be kept: an id that changes would count a box twice.
    """
    existing = read_device_id(state)
    if existing is not None or state is None:
        return existing
    try:
        LOCAL.make_directory(state)
        with _alone_in(state):
            return read_device_id(state) or _make_device_id(state)
    except OSError:
        return None


def reset_device_id(state: Path) -> str:
    """Gives the box a new random id, by which nobody knows it as the box it was.

    Args:
        state: The state folder, made if needed.

    Returns:
        The new id; reports that are made from now on carry it.

    Raises:
        DeviceError: The folder cannot be written; the id is the old one then.
    """
    try:
        return _make_device_id(state)
    except OSError as error:
        raise DeviceError(
            f"{state}: the id cannot be kept: {error.strerror or error}",
            hint="name a folder this user may write with --state DIR",
        ) from error


@contextlib.contextmanager
def _alone_in(state: Path) -> Iterator[None]:
    """Holds a lock on the folder itself, so that no file of it is left in there."""
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Without locks, or with one who never lets go: the last of two first starts gives the id.
        with contextlib.suppress(OSError):
            wait_for_lock(descriptor, state)
        yield
    finally:
        os.close(descriptor)


def _make_device_id(state: Path) -> str:
    # Random, never derived from hardware: it says nothing about the box or its shop.
    made = str(uuid.uuid4())
    LOCAL.make_directory(state)
    write_durably(state / _DEVICE_ID_FILE, f"{made}\n".encode())
    return made
