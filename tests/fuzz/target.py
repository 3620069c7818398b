"""What is fuzzed: a function that takes bytes, honest examples of them, and what it may raise."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.errors import EdgepackError

#: Takes any bytes; raises one of a target's errors or nothing, else there is a bug.
Eat = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser of bytes from the network or the disk.

    Attributes:
        name: Such as `manifest`.
        eat: Feeds it.
        seeds: Honest and hostile examples that others are made of.
        errors: The documented errors; everything else is a bug.
        cost: How many times dearer one example is than a plain parser's.
    """

    name: str
    eat: Eat
    seeds: Sequence[bytes]
    errors: tuple[type[Exception], ...] = (EdgepackError,)
    cost: int = 1

    def bites(self, data: bytes) -> Exception | None:
        """Feeds it some bytes; the undocumented exception, or None."""
        try:
            self.eat(data)
        except self.errors:
            return None
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            return error
        return None


def folder_for_fuzzing() -> tempfile.TemporaryDirectory[str]:
    """Makes a folder for files that are written tens of thousands of times over, in memory if so.

    ext4 syncs a file that is emptied and written again: 5 ms, where the parser takes 50 us.
    """
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def through_file(path: Path, read: Callable[[], object]) -> Eat:
    """Feeds a reader of a file: the bytes are written there first."""

    def eat(data: bytes) -> None:
        path.write_bytes(data)
        read()

    return eat
