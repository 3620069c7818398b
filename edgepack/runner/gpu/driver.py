"""What the file system says of NVIDIA's driver, without loading anything of it.

It is not aware of cards beyond their device files. Used by `looking`, and by the bundle's own
`doctor`, which has nothing but the standard library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_VERSION = re.compile(r"\b(\d{3,4}\.\d+(?:\.\d+)?)\b")
_LIBRARY_NAME = "libnvidia-ml.so"
_MAX_BYTES = 4096
#: A card is /dev/nvidia0 and so on; /dev/nvidiactl and nvidia-uvm are the driver's own.
_CARD = re.compile(r"nvidia\d+")
_WANTED = re.compile(r"nvidia(\d+|ctl|-uvm)")


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver as files show it.

    Attributes:
        version: Of the kernel's module, such as `550.54.15`; None where none is loaded.
        library_version: Of the user's side, libnvidia-ml; None where there is no such file.
        cards: Device files of cards, such as `/dev/nvidia0`.
        denied: Device files that this user may not open.
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
    """

    version: str | None = None
    library_version: str | None = None
    cards: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    visible: str | None = None


def _may_open(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def read_driver(
    environment: Mapping[str, str],
    library_folders: tuple[Path, ...],
    root: Path = Path("/"),
    may_open: Callable[[Path], bool] = _may_open,
) -> Driver:
    """Looks at the driver's files.

    Args:
        environment: Environment variables.
        library_folders: Where shared libraries are looked for.
        root: The file tree to look at.
        may_open: Says whether this user may read and write a device file.

    Returns:
        What they say; a file that is not there or cannot be read is None or left out.
    """
    devices = sorted(
        path for path in _children(root / "dev") if _WANTED.fullmatch(path.name) is not None
    )
    return Driver(
        version=_module_version(root),
        library_version=_library_version(library_folders),
        cards=tuple(f"/dev/{each.name}" for each in devices if _CARD.fullmatch(each.name)),
        denied=tuple(f"/dev/{each.name}" for each in devices if not may_open(each)),
        visible=environment.get("CUDA_VISIBLE_DEVICES"),
    )


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _module_version(root: Path) -> str | None:
    # The first has a sentence with the version in it, the second the version alone.
    for name in ("proc/driver/nvidia/version", "sys/module/nvidia/version"):
        try:
            with (root / name).open("rb") as file:
                found = _VERSION.search(file.read(_MAX_BYTES).decode("utf-8", "replace"))
        except OSError:
            continue
        if found:
            return found[1]
    return None


def _library_version(folders: tuple[Path, ...]) -> str | None:
    """Returns the version in the name of the file that `libnvidia-ml.so.1` is a link to."""
    for folder in folders:
        try:
            real = (folder / f"{_LIBRARY_NAME}.1").resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        found = _VERSION.search(real.name.removeprefix(_LIBRARY_NAME))
        if found:
            return found[1]
    return None
