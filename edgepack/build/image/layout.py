"""A folder in the OCI image layout: what the tools write, and what `--output oci:DIR` gives.

    DIR/oci-layout   DIR/index.json   DIR/blobs/sha256/<hex>

It is not aware of tools, registries or bundles. Used by the other modules of `image`.

Source: OCI Image Layout Specification 1.1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgepack.build.image.media import INDEX, INDEXES, MANIFESTS, Descriptor, describe
from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.errors import ImageError

_VERSION: Final = b'{"imageLayoutVersion":"1.0.0"}'
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_JSON_BYTES: Final = 4 * 2**20


class Layout:
    """One layout."""

    def __init__(self, path: Path) -> None:
        """Names a layout's folder; nothing is read yet."""
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Layout:
        """Makes an empty one; `finish` completes it."""
        (path / "blobs" / "sha256").mkdir(parents=True)
        return cls(path)

    def blob(self, digest: str) -> Path:
        """Returns where a blob lies.

        Raises:
            ImageError: The digest is none, such as one that leads out of the folder.
        """
        if not _DIGEST.fullmatch(digest):
            raise ImageError(f"'{digest[:80]}' is no digest: sha256 and 64 hex digits are expected")
        return self.path / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def read(self, descriptor: Mapping[str, Any]) -> dict[str, Any]:
        """Reads a JSON blob and checks that it is the one its descriptor means.

        Raises:
            ImageError: It is missing, too long, or has other bytes.
        """
        data = self._bytes(self.blob(str(descriptor["digest"])))
        if f"sha256:{sha256_hex(data)}" != descriptor["digest"]:
            raise ImageError(f"{self.path}: the blob {descriptor['digest']} has other bytes")
        document: dict[str, Any] = json.loads(data)
        return document

    def images(self) -> list[Descriptor]:
        """Returns the descriptors of all image manifests, those inside indexes too.

        Raises:
            ImageError: There is no `index.json`, or it is none.
        """
        try:
            index = json.loads(self._bytes(self.path / "index.json"))
            return list(self._manifests(index["manifests"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f"{self.path} is not an OCI layout: {error}") from error

    def write(self, data: bytes, media_type: str, **more: Any) -> Descriptor:
        """Adds a blob and returns its descriptor."""
        descriptor = describe(data, media_type, **more)
        self.blob(descriptor["digest"]).write_bytes(data)
        return descriptor

    def write_json(self, document: Mapping[str, Any], media_type: str, **more: Any) -> Descriptor:
        """Adds a JSON blob and returns its descriptor."""
        return self.write(canonical_json(document), media_type, **more)

    def take(self, other: Layout, descriptor: Mapping[str, Any]) -> None:
        """Takes a blob over from another layout on the same disk, or a copy of it."""
        target = self.blob(str(descriptor["digest"]))
        if target.exists():
            return
        source = other.blob(str(descriptor["digest"]))
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
        target.chmod(0o644)

    def finish(self, manifests: Sequence[Descriptor]) -> None:
        """Writes what makes the folder a layout."""
        (self.path / "oci-layout").write_bytes(_VERSION)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}
        (self.path / "index.json").write_bytes(canonical_json(index))

    def _manifests(self, descriptors: Sequence[Descriptor]) -> Iterator[Descriptor]:
        for each in descriptors:
            if each.get("mediaType") in INDEXES:
                yield from self._manifests(self.read(each)["manifests"])
            elif each.get("mediaType") in MANIFESTS:
                yield each

    def _bytes(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_JSON_BYTES + 1)
        except OSError as error:
            raise ImageError(f"{path} cannot be read: {error.strerror}") from error
        if len(data) > _MAX_JSON_BYTES:
            raise ImageError(f"{path} has more than {_MAX_JSON_BYTES} bytes")
        return data
