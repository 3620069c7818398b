"""Wheels that a thin bundle leaves out: found on the box, given by hand, or fetched by hash.

What the box has is only pointed at; a wheel file is checked and unpacked into the release. It
is not aware of releases or roots beyond the folder a wheel goes to. Used by `install` and
`doctor`; the one file that starts pip or opens a URL.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shutil
import stat
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgepack.formats.bundle import MAX_UNPACKED_BYTES, check_release_path
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.manifest import ExternalWheel, FileRecord

#: The folder of a release that unpacked wheels go to.
EXTERNAL_FOLDER = "external"
_CHUNK_BYTES = 2**20
#: Ten times the largest wheel of an inference runtime (onnxruntime-gpu, 256 MB).
_MAX_WHEEL_BYTES = 2_560 * 10**6
_CONNECT_TIMEOUT_S = 30.0
_PIP_TIMEOUT_S = 3600.0
#: Parts of a wheel's `.data` folder that belong on the import path.
_IMPORTABLE = ("purelib", "platlib")

#: Finds an installed distribution: its version and the directory to import it from.
Finder = Callable[[str], tuple[str, Path] | None]
#: Puts a wheel's file into a directory and returns it.
Fetcher = Callable[[ExternalWheel, Path], Path]


@dataclass(frozen=True, slots=True)
class Found:
    """Where a wheel comes from: a directory of the box, or a checked wheel file."""

    wheel: ExternalWheel
    directory: Path | None = None
    file: Path | None = None


def find_installed(name: str) -> tuple[str, Path] | None:
    """Looks for a distribution in this Python, as the box's owner installed it."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return found.version, Path(str(found.locate_file(""))).resolve()


def check_installed(wheel: ExternalWheel, find: Finder = find_installed) -> Found | None:
    """Returns the box's own copy when it has the very version, else None."""
    found = find(wheel.name)
    if found is None or found[0] != wheel.version:
        return None
    return Found(wheel, directory=found[1])


def explain_missing(wheel: ExternalWheel, find: Finder = find_installed) -> DeviceError:
    """Composes the error that names the three ways to bring a wheel."""
    found = find(wheel.name)
    here = f"it has {found[0]}" if found else "it has none"
    return DeviceError(
        f"this bundle needs {wheel.name} {wheel.version} from the box, and {here}",
        hint=(
            f"three ways: `python3 -m pip install {wheel.name}=={wheel.version}` first; or "
            f"`install --wheels DIR` with {wheel.filename} in DIR (a URL works too); or "
            "`install --fetch`, which lets pip download it by its hash"
        ),
    )


def take_wheel(source: str) -> Fetcher:
    """Returns a fetcher that takes wheels by file name from a directory or a URL.

    Args:
        source: A directory, or a URL beginning with `http://` or `https://`.
    """

    def take(wheel: ExternalWheel, folder: Path) -> Path:
        _check_filename(wheel)
        if source.startswith(("http://", "https://")):
            return _download(f"{source.rstrip('/')}/{wheel.filename}", folder / wheel.filename)
        path = Path(source) / wheel.filename
        if not path.is_file():
            raise DeviceError(
                f"{path} is not there; the bundle needs {wheel.name} {wheel.version}",
                hint=f"copy the wheel named {wheel.filename} into {source}",
            )
        return path

    return take


def fetch_with_pip(wheel: ExternalWheel, folder: Path) -> Path:
    """Lets the box's pip download a wheel, accepting only the manifest's hash.

    Raises:
        DeviceError: There is no pip, or it failed; its last line is in the text.
    """
    _check_filename(wheel)
    if importlib.util.find_spec("pip") is None:
        raise DeviceError(
            "--fetch needs pip, and this Python has none",
            hint="apt-get install python3-pip, or use --wheels DIR",
        )
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8")
    # fmt: off
    argv = [
        sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps",
        "--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(folder),
        "--requirement", str(wanted),
    ]
    # fmt: on
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"pip did not end within {_PIP_TIMEOUT_S:.0f} s") from error
    path = folder / wheel.filename
    if done.returncode != 0 or not path.is_file():
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise DeviceError(
            f"pip could not download {wheel.filename}: {said}",
            hint="check the network, or use --wheels DIR",
        )
    return path


def check_wheel(path: Path, wheel: ExternalWheel) -> Found:
    """Checks a wheel file's hash.

    Raises:
        BundleError: It is another file than the one the bundle was built with.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != wheel.sha256:
        raise BundleError(
            f"{path} has SHA-256 {digest.hexdigest()}; the manifest says {wheel.sha256}",
            hint="get the very wheel the bundle was built with",
        )
    return Found(wheel, file=path)


def read_wheel(path: Path) -> Iterator[tuple[FileRecord, Iterator[bytes]]]:
    """Yields the importable files of a checked wheel, their paths below `external/`.

    Each is read twice, once for its hash: a wheel may be larger than the box's memory.

    Raises:
        BundleError: Not a wheel, or one with a link or a path that leaves it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _check_infos(path, infos)
            for info in infos:
                target = _import_path(info.filename)
                if target is None:
                    continue
                mode = 0o755 if (info.external_attr >> 16) & 0o100 else 0o644
                digest = hashlib.sha256()
                with archive.open(info) as member:
                    for chunk in _chunks(member):
                        digest.update(chunk)
                place = f"{EXTERNAL_FOLDER}/{target}"
                record = FileRecord(place, digest.hexdigest(), info.file_size, mode)
                with archive.open(info) as member:
                    yield record, _chunks(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BundleError(f"{path} is not a readable wheel: {error}") from error


def is_new(record: FileRecord, seen: dict[str, FileRecord]) -> bool:
    """Tells whether a wheel's file is to be written: a package that wheels share lies in each.

    Args:
        record: The file.
        seen: The files of the wheels so far by path; it is added.

    Raises:
        BundleError: Another wheel has a different file of that name.
    """
    first = seen.setdefault(record.path, record)
    if first.sha256 != record.sha256:
        raise BundleError(f"two of the bundle's wheels bring different files {record.path}")
    return first is record


def _check_infos(path: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    if len({info.filename for info in infos}) != len(infos):
        raise BundleError(f"{path} has a member twice")
    for info in infos:
        check_release_path(info.filename, str(path))
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise BundleError(f"{path}: {info.filename!r} is not a plain file")
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise BundleError(f"{path} unpacks to more than {MAX_UNPACKED_BYTES} bytes; refused")


def _import_path(name: str) -> str | None:
    """Returns where a member goes, or None when it is not for importing.

    Source: Binary distribution format, "Spreading" of the `.data` directory.
    """
    first, _, rest = name.partition("/")
    if not first.endswith(".data"):
        return name
    kind, _, path = rest.partition("/")
    return path if kind in _IMPORTABLE and path else None


def _chunks(member: object) -> Iterator[bytes]:
    read = member.read  # type: ignore[attr-defined]  # zipfile's stream or a file alike
    while chunk := read(_CHUNK_BYTES):
        yield chunk


def _check_filename(wheel: ExternalWheel) -> None:
    if "/" in wheel.filename or not wheel.filename.endswith(".whl"):
        raise BundleError(f"manifest.runtime.external: {wheel.filename!r} names no wheel file")


def _download(url: str, target: Path) -> Path:
    try:
        with (
            urllib.request.urlopen(url, timeout=_CONNECT_TIMEOUT_S) as answer,  # noqa: S310 - http(s) only, checked by the caller
            target.open("xb") as file,
        ):
            _copy_limited(answer, file, url)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DeviceError(
            f"{url} could not be downloaded: {error}",
            hint="check the address and the network, or use --wheels DIR",
        ) from error
    return target


def _copy_limited(answer: BinaryIO, file: BinaryIO, url: str) -> None:
    left = _MAX_WHEEL_BYTES
    while chunk := answer.read(_CHUNK_BYTES):
        left -= len(chunk)
        if left < 0:
            raise BundleError(f"{url} is larger than {_MAX_WHEEL_BYTES} bytes; refused")
        file.write(chunk)


def remove_folder(folder: Path) -> None:
    """Removes a folder of downloads; not there is fine."""
    shutil.rmtree(folder, ignore_errors=True)
