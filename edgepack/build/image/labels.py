"""What an image says of itself, as labels and annotations.

Source: OCI Image Format Specification 1.1, "Pre-Defined Annotation Keys". Used by `make`.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgepack.build.image.context import ImageBundle
from edgepack.build.image.media import (
    BASE_DIGEST,
    BASE_NAME,
    DESCRIPTION,
    REVISION,
    TITLE,
    VERSION,
)


def describe_bundle(bundle: ImageBundle, base: str, digest: str | None) -> dict[str, str]:
    """Returns what the image of one platform says.

    Args:
        bundle: What is in it.
        base: The base's name.
        digest: The base's digest; None where it is not known.
    """
    manifest = bundle.manifest
    model, target = manifest.model, manifest.target
    words = {
        TITLE: model.name,
        DESCRIPTION: f"{model.name} for {target.name}: {manifest.candidates[0].variant} in "
        f"{manifest.runtime.name} {manifest.runtime.version}",
        VERSION: model.version,
        REVISION: bundle.release_id,
        BASE_NAME: base,
    }
    return words | ({BASE_DIGEST: digest} if digest else {})


def describe_index(bundles: Sequence[ImageBundle], base: str, digest: str | None) -> dict[str, str]:
    """Returns what an index says: only what is true of all its platforms."""
    first, *others = (describe_bundle(bundle, base, digest) for bundle in bundles)
    return {name: text for name, text in first.items() if all(o.get(name) == text for o in others)}
