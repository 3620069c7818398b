"""A content-addressed store of finished directories, shared by builds that run at once.

An entry is made in a temporary directory and renamed into place, so a reader sees all of it
or nothing, whatever kills the writer. What a killed writer leaves is removed by the next one.
It is not aware of what the entries are. Used by every part of the build side.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.errors import ConfigError

_KEY_FILE = ".key.json"


def default_cache_dir() -> Path:
    """Returns `$EDGEPACK_CACHE`, or `edgepack` in the user's cache directory.

    Source: XDG Base Directory Specification, `$XDG_CACHE_HOME`.
    """
    if own := os.environ.get("EDGEPACK_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgepack"


class Cache:
    """Finished directories by kind and key."""

    def __init__(self, root: Path) -> None:
        """Opens (and creates) a cache.

        Args:
            root: The directory that holds everything.

        Raises:
            ConfigError: The directory cannot be made or written.
        """
        self.root = root
        try:
            for name in ("tmp", "locks"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the cache directory {root} cannot be used: {error.strerror}",
                hint="point EDGEPACK_CACHE or --cache at a directory you may write",
            ) from error

    def path_of(self, kind: str, key: Mapping[str, Any]) -> Path:
        """Returns where an entry lies or would lie."""
        return self.root / kind / sha256_hex(canonical_json(key))[:32]

    def find(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """Returns a finished entry's directory, or None."""
        path = self.path_of(kind, key)
        return path if (path / _KEY_FILE).is_file() else None

    def get_or_make(self, kind: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """Returns an entry, making it first where it is not there.

        A second process that wants the same entry waits and then uses it.

        Args:
            kind: The first folder level, such as `"site"`.
            key: Everything the content depends on, as JSON values.
            make: Fills the directory it is given; what it raises is passed on and leaves
                nothing behind.

        Returns:
            The finished directory; treat it as read-only.

        Raises:
            ConfigError: The disk is full.
        """
        if (found := self.find(kind, key)) is not None:
            return found
        path = self.path_of(kind, key)
        with self._locked(f"{kind}-{path.name}"):
            if (found := self.find(kind, key)) is not None:
                return found
            # A directory without its key file is what an older, interrupted delete left.
            remove_tree(path)
            with self.temporary_directory(f"{kind}-") as draft:
                make(draft)
                (draft / _KEY_FILE).write_bytes(canonical_json(key))
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(draft, path)
        return path

    @contextmanager
    def temporary_directory(self, prefix: str = "tmp-") -> Iterator[Path]:
        """Gives a directory on the cache's own disk that is gone afterwards.

        Raises:
            ConfigError: The disk filled up inside the block.
        """
        name = prefix + secrets.token_hex(8)
        path = self.root / "tmp" / name
        # The lock says that its owner lives, so it must be there before the directory.
        with self._locked(name):
            try:
                path.mkdir()
                # An entry must be readable like any other directory, whatever the umask.
                path.chmod(0o755)
                yield path
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise ConfigError(
                        f"no space left on the disk of the cache {self.root}",
                        hint="free some space, or point EDGEPACK_CACHE or --cache elsewhere",
                    ) from error
                raise
            finally:
                remove_tree(path)
                self._lock_path(name).unlink(missing_ok=True)

    def remove_abandoned(self) -> tuple[str, ...]:
        """Removes temporary directories whose process was killed before it could.

        Returns:
            The names of those that were removed; those of running builds are left alone.
        """
        removed = []
        for path in sorted((self.root / "tmp").iterdir()):
            with self._lock_path(path.name).open("wb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                remove_tree(path)
                self._lock_path(path.name).unlink(missing_ok=True)
                removed.append(path.name)
        return tuple(removed)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        # The lock belongs to the open file, so the kernel lets go of it when a process dies.
        with self._lock_path(name).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _lock_path(self, name: str) -> Path:
        return self.root / "locks" / name


def remove_tree(path: Path) -> None:
    """Removes a directory with everything in it, read-only folders included."""
    if not path.exists():
        return
    for folder, _, _ in os.walk(path):
        # A root file system holds folders that even their owner may not write.
        os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=True)
