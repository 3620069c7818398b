"""The media types and annotations of images, and what a descriptor is.

It is not aware of files or registries. Used by the other modules of `image`.

Source: OCI Image Format Specification 1.1.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
CYCLONEDX: Final = "application/vnd.cyclonedx+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS: Final = (MANIFEST, DOCKER_MANIFEST)
INDEXES: Final = (INDEX, DOCKER_LIST)

_ANNOTATION: Final = "org.opencontainers.image."
TITLE: Final = f"{_ANNOTATION}title"
DESCRIPTION: Final = f"{_ANNOTATION}description"
VERSION: Final = f"{_ANNOTATION}version"
REVISION: Final = f"{_ANNOTATION}revision"
BASE_NAME: Final = f"{_ANNOTATION}base.name"
BASE_DIGEST: Final = f"{_ANNOTATION}base.digest"
REF_NAME: Final = f"{_ANNOTATION}ref.name"

Descriptor = dict[str, Any]


def digest_of(data: bytes) -> str:
    """Returns the digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def describe(data: bytes, media_type: str, **more: Any) -> Descriptor:
    """Returns the descriptor of some bytes.

    Args:
        data: The blob.
        media_type: What it is.
        more: Further fields, such as `platform`.
    """
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}
