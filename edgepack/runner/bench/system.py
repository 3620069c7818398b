"""Reads the small text files in which Linux says what a box is, below a root that is passed in.

Every read has a limit and gives None for what is not there. It is not aware of what the files
mean. Used by the modules of `edgepack.runner.bench`.
"""

from __future__ import annotations

from pathlib import Path

#: /proc/cpuinfo of a 256-core machine is the longest file read here.
_MAX_BYTES = 1024 * 1024


class SystemTree:
    """The file tree below `/`, or a fake one."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def text(self, path: str) -> str | None:
        """Returns a file's text, stripped, or None when it is absent or cannot be read."""
        data = self.head(path, _MAX_BYTES)
        return None if data is None else data.decode("utf-8", "replace").strip("\x00\n ")

    def number(self, path: str) -> int | None:
        """Returns the whole number a file holds, or None."""
        text = self.text(path)
        try:
            return None if text is None else int(text.split()[0])
        except (ValueError, IndexError):
            return None

    def head(self, path: str, size_bytes: int) -> bytes | None:
        """Returns a file's first bytes, or None."""
        try:
            with (self._root / path.lstrip("/")).open("rb") as file:
                return file.read(size_bytes)
        except OSError:
            return None

    def link(self, path: str) -> str | None:
        """Returns where a symbolic link points, or None."""
        try:
            return str((self._root / path.lstrip("/")).readlink())
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        return (self._root / path.lstrip("/")).exists()

    def names(self, path: str, pattern: str) -> list[str]:
        """Returns the paths in a folder that match a pattern, sorted, as `text` takes them."""
        try:
            found = sorted((self._root / path.lstrip("/")).glob(pattern))
        except OSError:
            return []
        return [f"/{each.relative_to(self._root)}" for each in found]
