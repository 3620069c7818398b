"""A root on a box: blobs by hash, releases made of hard links, one switch, one lock.

    ROOT/edgepack-root.json        what this root is; the last thing `uninstall` removes
    ROOT/blobs/sha256/ab/<hex>     files, once each; `<hex>.x` when executable
    ROOT/releases/<id>/            a release: hard links, `manifest.json`, `external.json`
    ROOT/current                   a symbolic link to `releases/<id>`, switched by one rename

A blob whose only link is its own is used by no release, so what can go needs no bookkeeping
that a power cut could tear. It is not aware of bundles. Used by `install` and `uninstall`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.fields import FieldReader
from edgepack.formats.manifest import FileRecord
from edgepack.runner.boot.disk import Disk

MARKER = "edgepack-root.json"
_FORMAT = 1
_LOCK = ".lock"
#: Another install on a slow SD card takes about this long.
_LOCK_WAIT_S = 120.0
_LOCK_POLL_S = 0.1
_CHUNK_BYTES = 2**20
_ID = re.compile("[0-9a-f]{64}")
#: What may lie in a directory that is to become a root: what a kept state leaves, and what
#: a fresh file system brings.
_HARMLESS = frozenset({"state", "lost+found", _LOCK})


@dataclass(frozen=True, slots=True)
class RootInfo:
    """What a root says about itself.

    Attributes:
        model: The one model it holds.
        state: The state directory: absolute, or relative to the root.
        history: Release ids in the order they became current, newest last.
    """

    model: str
    state: str
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed because nothing uses it any more."""

    releases: tuple[str, ...]
    blobs: int
    size_bytes: int


class Store:
    """One root. Every method but the readers wants the lock held."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        """Names a root; nothing is read or made yet.

        Args:
            root: Absolute path.
            disk: What writes; the real file system by default.
        """
        self.root = root
        self.disk = disk or Disk()
        self.blobs = root / "blobs" / "sha256"
        self.staging = root / "blobs" / "tmp"
        self.releases = root / "releases"
        self.current = root / "current"
        self._folders: set[Path] = set()

    def read_info(self) -> RootInfo | None:
        """Returns what the root says about itself, or None where there is no root.

        Raises:
            DeviceError: The directory belongs to something else.
            BundleError: The marker is damaged.
        """
        try:
            data = (self.root / MARKER).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if not self._is_new():
                # Another install wrote the marker between the two looks.
                return self.read_info()
            return None
        read = FieldReader(parse_json(data, what=str(self.root / MARKER)), MARKER)
        return RootInfo(read.text("model"), read.text("state"), read.texts("history"))

    def write_info(self, info: RootInfo) -> None:
        """Replaces what the root says about itself."""
        body = {"format": _FORMAT, "model": info.model, "state": info.state}
        document: Mapping[str, Any] = {**body, "history": list(info.history)}
        self.disk.write_file(self.root / MARKER, canonical_json(document), 0o644)

    def state_path(self, info: RootInfo) -> Path:
        """Returns the root's state directory."""
        return self.root / info.state

    def current_id(self) -> str | None:
        """Returns the id of the current release, or None."""
        try:
            name = Path(self.current.readlink()).name
        except OSError:
            return None
        return name if _ID.fullmatch(name) else None

    def release_ids(self) -> tuple[str, ...]:
        """Returns the ids of all whole releases, sorted."""
        if not self.releases.is_dir():
            return ()
        return tuple(sorted(p.name for p in self.releases.iterdir() if _ID.fullmatch(p.name)))

    @contextlib.contextmanager
    def locked(self, wait_s: float = _LOCK_WAIT_S) -> Iterator[None]:
        """Holds the root's lock; the kernel lets go of it when the process dies.

        Raises:
            DeviceError: Another process still held it after `wait_s` seconds.
        """
        deadline = time.monotonic() + wait_s
        path = self.root / _LOCK
        while True:
            with path.open("ab") as file:
                # The one who held it may have been an uninstall that removed the file.
                if _try_lock(file) and is_same_file(file, path):
                    yield
                    return
            if time.monotonic() >= deadline:
                raise DeviceError(
                    f"another install or uninstall works on {self.root}; "
                    f"it did not end within {wait_s:.0f} s",
                    hint="wait for it to end, then type this again",
                )
            time.sleep(min(_LOCK_POLL_S, wait_s))

    def make_folders(self) -> None:
        """Makes the root's folders and removes what an interrupted install left."""
        self.remove_leftovers()
        for folder in (self.staging, self.blobs, self.releases):
            self.ensure_directory(folder)

    def remove_leftovers(self) -> None:
        """Removes what an interrupted install or prune left behind."""
        self.disk.remove_tree(self.staging)
        for draft in self.root.glob(".*.tmp-*"):
            draft.unlink()
        if self.releases.is_dir():
            for path in sorted(self.releases.iterdir()):
                if ".tmp-" in path.name:
                    self.disk.remove_tree(path)

    def ensure_directory(self, path: Path) -> None:
        """Makes a directory and those above it up to the root, where they are missing."""
        if path in self._folders or path.is_dir():
            return
        if path != self.root:
            self.ensure_directory(path.parent)
        self.disk.make_directory(path)
        self._folders.add(path)

    def blob_path(self, sha256: str, mode: int) -> Path:
        """Returns where a blob lies; the mode is part of it, as hard links share theirs."""
        suffix = ".x" if mode & 0o100 else ""
        return self.blobs / sha256[:2] / f"{sha256}{suffix}"

    def has_blob(self, record: FileRecord) -> bool:
        """Whether a blob is there, whole and with the right mode: its bytes are read."""
        return is_intact(self.blob_path(record.sha256, record.mode), record)

    def stage(self, record: FileRecord, content: Iterable[bytes]) -> Path:
        """Writes a new blob beside the others, not yet among them.

        Args:
            record: Hash, size and mode; the caller checks the content against them.
            content: The bytes.

        Returns:
            The staged file.
        """
        path = self.staging / self.blob_path(record.sha256, record.mode).name
        with self.disk.create(path, record.mode) as file:
            for chunk in content:
                self.disk.write(file, chunk)
            self.disk.start_writeback(file)
        return path

    def adopt(self, staged: Iterable[Path]) -> None:
        """Moves staged files among the blobs, once their bytes are on the device."""
        staged = list(staged)
        for path in staged:
            self.disk.sync(path)
        folders = set()
        for path in staged:
            folder = self.blobs / path.name[:2]
            self.ensure_directory(folder)
            self.disk.replace(path, folder / path.name)
            folders.add(folder)
        for folder in sorted(folders | {self.blobs}):
            self.disk.sync(folder)

    def build_release(
        self, release_id: str, files: Iterable[FileRecord], extra: Mapping[str, bytes]
    ) -> Path:
        """Builds a release out of blobs, in a directory that is not a release yet.

        Args:
            release_id: Its id.
            files: Every file; each must be a blob.
            extra: Small files beside them, such as `manifest.json`.

        Returns:
            The directory, to be given to `publish`.
        """
        draft = self.releases / f"{release_id}.tmp-{os.getpid()}"
        self.disk.make_directory(draft)
        for record in files:
            target = draft / record.path
            self.ensure_directory(target.parent)
            self.disk.link(self.blob_path(record.sha256, record.mode), target)
        for name, data in extra.items():
            self.disk.write_file(draft / name, data, 0o644)
        for folder, _, _ in os.walk(draft):
            self.disk.sync(Path(folder))
        return draft

    def repair_release(
        self, release_id: str, files: Iterable[FileRecord], extra: Mapping[str, bytes]
    ) -> int:
        """Replaces the damaged files of a release one by one, so that it is never absent.

        Returns:
            How many files were replaced.
        """
        release = self.releases / release_id
        repaired = 0
        for record in files:
            target = release / record.path
            if is_intact(target, record):
                continue
            self.ensure_directory(target.parent)
            draft = target.with_name(f".{target.name}.tmp-{os.getpid()}")
            self.disk.link(self.blob_path(record.sha256, record.mode), draft)
            self.disk.replace(draft, target)
            self.disk.sync(target.parent)
            repaired += 1
        for name, data in extra.items():
            self.disk.write_file(release / name, data, 0o644)
        return repaired

    def publish(self, draft: Path, release_id: str) -> None:
        """Gives a finished release its name."""
        self.disk.replace(draft, self.releases / release_id)
        self.disk.sync(self.releases)

    def switch(self, release_id: str) -> None:
        """Makes a release the current one: one rename, all or nothing."""
        draft = self.root / f".current.tmp-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        self.disk.symlink(f"releases/{release_id}", draft)
        try:
            self.disk.replace(draft, self.current)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self.disk.sync(self.root)

    def remember(self, info: RootInfo, release_id: str) -> RootInfo:
        """Returns the root's information with a release as its newest."""
        there = set(self.release_ids()) - {release_id}
        older = tuple(each for each in info.history if each in there)
        return replace(info, history=(*older, release_id))

    def prune(self, info: RootInfo, keep: int) -> Pruned:
        """Removes all but the newest releases, then every blob that none uses.

        Args:
            info: The root's information.
            keep: Releases to keep beside the current one.

        Returns:
            What was removed.
        """
        current = self.current_id()
        order = {name: at for at, name in enumerate(info.history)}
        others = [name for name in self.release_ids() if name != current]
        others.sort(key=lambda name: order.get(name, -1))
        doomed = others[: max(0, len(others) - keep)]
        for name in doomed:
            self.discard_release(name, self.state_path(info))
        blobs, size_bytes = self._collect_blobs()
        return Pruned(tuple(doomed), blobs, size_bytes)

    def discard_release(self, release_id: str, state: Path | None = None) -> None:
        """Removes a release that is not current, and the byte code made from it."""
        doomed = self.releases / f"{release_id}.tmp-del-{os.getpid()}"
        # Renamed first: half of a release must never look like a whole one.
        self.disk.replace(self.releases / release_id, doomed)
        self.disk.remove_tree(doomed)
        if state is not None:
            place = (self.releases / release_id).resolve().relative_to("/")
            self.disk.remove_tree(state / "pycache" / place)

    def _collect_blobs(self) -> tuple[int, int]:
        count = size_bytes = 0
        for folder, _, names in os.walk(self.blobs):
            for name in names:
                path = Path(folder) / name
                status = path.stat()
                if status.st_nlink == 1:
                    path.unlink()
                    count += 1
                    size_bytes += status.st_size
        return count, size_bytes

    def _is_new(self) -> bool:
        """Whether the directory may become a root; False when it has just become one."""
        try:
            names = {path.name for path in self.root.iterdir()}
        except FileNotFoundError:
            return True
        except NotADirectoryError as error:
            raise DeviceError(
                f"{self.root} is a file or lies below one; a directory is needed",
                hint="choose another directory with --root",
            ) from error
        if MARKER in names:
            return False
        drafts = {name for name in names if name.startswith(f".{MARKER}.tmp-")}
        if foreign := sorted(names - _HARMLESS - drafts):
            raise DeviceError(
                f"{self.root} is not empty and not an edgepack root: it holds "
                f"{', '.join(foreign[:5])}",
                hint="choose an empty or new directory with --root",
            )
        return True


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_same_file(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def read_external(release: Path) -> Mapping[str, Any]:
    """Returns a release's `external.json`, empty where it has none or a damaged one."""
    try:
        return parse_json((release / "external.json").read_bytes(), what="external.json")
    except (OSError, BundleError):
        return {}


def is_intact(path: Path, record: FileRecord) -> bool:
    """Whether a plain file has the size, mode and hash of its record."""
    try:
        status = path.lstat()
        if status.st_size != record.size or status.st_mode != 0o100000 | record.mode:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == record.sha256
