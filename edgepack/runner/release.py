"""Loads an installed release and proves that it is the one its manifest describes.

Nothing is used before its size and hash are checked. It is not aware of engines or of how a
release got here. Used by every program of the runner.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgepack.formats.canonical import MAX_JSON_BYTES, sha256_hex
from edgepack.formats.errors import BundleError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.manifest import MAX_MANIFEST_BYTES, Candidate, Manifest, parse_manifest
from edgepack.formats.vocabulary import Vocabulary

_REINSTALL = "install the bundle again"
_BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Release:
    """A release whose files were checked.

    Attributes:
        directory: Where it lies.
        id: SHA-256 of its `manifest.json`.
        manifest: What it says.
        candidate: The variant that is run.
        model_path: That variant's file.
        vocabulary: The item ids; None for a tensor model.
        golden: The variant's golden answers.
    """

    directory: Path
    id: str
    manifest: Manifest
    candidate: Candidate
    model_path: Path
    vocabulary: Vocabulary | None
    golden: GoldenSet


def load_release(directory: Path, variant: str | None = None) -> Release:
    """Loads a release, checking every file that is about to be used.

    Args:
        directory: A release folder with its `manifest.json`.
        variant: Which candidate to run; the one chosen at build time by default.

    Returns:
        The release.

    Raises:
        BundleError: A file is missing, too long, altered, or does not fit the manifest.
    """
    data = _read_limited(directory / "manifest.json", MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data)
    candidate = manifest.candidate(variant)
    golden = GoldenSet.from_bytes(_read_listed(directory, manifest, candidate.golden))
    return Release(
        directory=directory,
        id=sha256_hex(data),
        manifest=manifest,
        candidate=candidate,
        model_path=_check_model(directory, candidate),
        vocabulary=_load_vocabulary(directory, manifest),
        golden=golden,
    )


def _load_vocabulary(directory: Path, manifest: Manifest) -> Vocabulary | None:
    if manifest.model.kind != "recommender":
        return None
    data = _read_listed(directory, manifest, "vocabulary.json")
    expected = manifest.model.vocabulary_sha256
    if sha256_hex(data) != expected:
        raise BundleError(
            f"vocabulary.json has SHA-256 {sha256_hex(data)}; the model was made with {expected}",
            hint=_REINSTALL,
        )
    vocabulary = Vocabulary.from_bytes(data)
    size = manifest.model.catalogue_size
    if size is not None and len(vocabulary) != size:
        raise BundleError(f"vocabulary.json has {len(vocabulary)} items, the model {size}")
    return vocabulary


def _check_model(directory: Path, candidate: Candidate) -> Path:
    path = _inside(directory, candidate.file)
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        if size != candidate.size:
            raise BundleError(
                f"{candidate.file} has {size} bytes, expected {candidate.size}", hint=_REINSTALL
            )
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    if digest.hexdigest() != candidate.sha256:
        raise BundleError(
            f"{candidate.file} has SHA-256 {digest.hexdigest()}, expected {candidate.sha256}",
            hint=_REINSTALL,
        )
    return path


def _read_listed(directory: Path, manifest: Manifest, name: str) -> bytes:
    record = next((each for each in manifest.files if each.path == name), None)
    if record is None:
        raise BundleError(f"the manifest lists no {name}", hint=_REINSTALL)
    if record.size > MAX_JSON_BYTES:
        raise BundleError(f"{name} has {record.size} bytes; at most {MAX_JSON_BYTES} are read")
    data = _read_limited(_inside(directory, name), record.size)
    if (len(data), sha256_hex(data)) != (record.size, record.sha256):
        raise BundleError(
            f"{name} has {len(data)} bytes and SHA-256 {sha256_hex(data)}, expected "
            f"{record.size} bytes and {record.sha256}",
            hint=_REINSTALL,
        )
    return data


def _read_limited(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > limit:
        raise BundleError(f"{path.name} has more than {limit} bytes", hint=_REINSTALL)
    return data


def _inside(directory: Path, name: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise BundleError(f"the manifest names '{name}', which is outside the release")
    return directory / relative


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(f"{path} cannot be read: {error.strerror or error}", hint=_REINSTALL)
