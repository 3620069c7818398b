"""Makes one image, or one index, out of what a tool built for each platform.

Adds what a Dockerfile cannot say or a tool leaves out: annotations, the health check, the bill
of materials as a referrer. It is not aware of tools or registries. Used by `make`.

Source: OCI Image Format Specification 1.1, "Guidelines for Artifact Usage"; docker's image
configuration for `Healthcheck`, which the OCI's does not have and all readers skip or follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgepack.build.image.layout import Layout
from edgepack.build.image.media import (
    BASE_DIGEST,
    BASE_NAME,
    CONFIG,
    CYCLONEDX,
    EMPTY,
    INDEX,
    MANIFEST,
    REF_NAME,
    TITLE,
    Descriptor,
)
from edgepack.build.image.platforms import Platform
from edgepack.formats.bundle import SBOM_MEMBER
from edgepack.formats.canonical import canonical_json

_S: Final = 1_000_000_000
#: The same as in Dockerfile.arm64; a test holds the two together.
HEALTHCHECK: Final[Mapping[str, Any]] = {
    "Test": ["CMD", "python3", "-IS", "/opt/edgepack/bin/edgepack-runner", "status", "--live"],
    "Interval": 30 * _S,
    "Timeout": 10 * _S,
    "StartPeriod": 60 * _S,
    "Retries": 3,
}


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """What a tool built for one platform.

    Attributes:
        layout: Where.
        platform: For which.
        annotations: Of its manifest, such as the base's digest.
        sbom: The CycloneDX document of its bundle.
    """

    layout: Layout
    platform: Platform
    annotations: Mapping[str, str]
    sbom: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """A layout that is complete.

    Attributes:
        layout: Where.
        top: The descriptor of what a tag stands for: a manifest, or an index.
        manifests: The image's manifests, one for each platform.
        sboms: The manifests of the bills of materials, in the same order.
    """

    layout: Layout
    top: Descriptor
    manifests: tuple[Descriptor, ...]
    sboms: tuple[Descriptor, ...]


def finish_image(
    images: Sequence[BuiltImage], layout: Layout, name: str, annotations: Mapping[str, str]
) -> FinishedImage:
    """Puts everything into one layout.

    Args:
        images: At least one; their blobs are taken over.
        layout: An empty one.
        name: The image's name in the layout.
        annotations: Of the index, where there are several images.

    Returns:
        The finished image.
    """
    manifests = [_finish_one(each, layout) for each in images]
    sboms = [
        _attach(each.sbom, subject, layout) for each, subject in zip(images, manifests, strict=True)
    ]
    if len(manifests) == 1:
        top = dict(manifests[0])
    else:
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": manifests,
            "annotations": dict(annotations),
        }
        top = layout.write_json(index, INDEX)
    layout.finish([{**top, "annotations": {REF_NAME: name}}, *sboms])
    return FinishedImage(layout, top, tuple(manifests), tuple(sboms))


def _finish_one(image: BuiltImage, layout: Layout) -> Descriptor:
    (descriptor,) = image.layout.images()
    manifest = image.layout.read(descriptor)
    config = image.layout.read(manifest["config"])
    config.setdefault("config", {})["Healthcheck"] = dict(HEALTHCHECK)
    for layer in manifest["layers"]:
        layout.take(image.layout, layer)
    manifest["mediaType"] = MANIFEST
    manifest["config"] = layout.write_json(config, CONFIG)
    # Some tools write the base's name there by themselves, pinned to a digest.
    own = {key: value for key, value in manifest.get("annotations", {}).items() if value}
    known = {key: value for key, value in image.annotations.items() if value}
    if known.get(BASE_NAME) and not known.get(BASE_DIGEST) and BASE_DIGEST in own:
        known[BASE_DIGEST] = own[BASE_DIGEST]
    manifest["annotations"] = {**own, **known}
    return layout.write_json(manifest, MANIFEST, platform=image.platform.to_json())


def _attach(sbom: Mapping[str, Any], subject: Descriptor, layout: Layout) -> Descriptor:
    """Writes a bill of materials that says which image it is of."""
    document = layout.write(canonical_json(sbom), CYCLONEDX, annotations={TITLE: SBOM_MEMBER})
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": CYCLONEDX,
        "config": layout.write(b"{}", EMPTY),
        "layers": [document],
        "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
    }
    return layout.write_json(manifest, MANIFEST, artifactType=CYCLONEDX)
