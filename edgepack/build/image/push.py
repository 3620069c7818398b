"""Pushes a finished layout: blobs, manifests, bills of materials, and the tag last of all.

So a push that fails has moved no tag. It is not aware of HTTP. Used by `make`.

Source: OCI Distribution Specification 1.1, "Pushing Manifests with Subject" and "Unavailable
Referrers API".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edgepack.build.image.finish import FinishedImage
from edgepack.build.image.media import CYCLONEDX, INDEX, Descriptor
from edgepack.build.image.reference import Reference
from edgepack.build.image.registry import NotThereError, Registry
from edgepack.formats.canonical import canonical_json
from edgepack.formats.errors import ImageError

#: A registry that keeps referrers itself names the subject in its answer.
_SUBJECT_HEADER: Final = "oci-subject"


@dataclass(slots=True)
class Pushed:
    """What a push has done so far.

    Attributes:
        uploaded: Digests of the blobs that the registry did not have.
        present: Digests of those it had.
        manifests: Digests of the manifests that are there now.
        referrers: How the bills of materials are found: `api` or `tag`; empty before that.
    """

    uploaded: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    referrers: str = ""


def push_image(image: FinishedImage, reference: Reference, registry: Registry) -> Pushed:
    """Pushes an image with its bills of materials.

    Args:
        image: The image.
        reference: Where to; with a tag.
        registry: That repository.

    Returns:
        What was done.

    Raises:
        ImageError: The registry is unreachable or refuses; the text says what is there.
    """
    done = Pushed()
    try:
        _push(image, str(reference.tag), registry, done)
    except ImageError as error:
        count = len(done.uploaded)
        raise ImageError(
            f"{reference} was not pushed: {error.message}\n"
            f"  in the registry are {count} new blobs and {len(done.manifests)} manifests, "
            f"which a garbage collection there may remove; the tag {reference.tag} is as it was",
            hint=error.hint,
        ) from error
    return done


def _push(image: FinishedImage, tag: str, registry: Registry, done: Pushed) -> None:
    layout = image.layout
    for digest in dict.fromkeys(_blobs(image)):
        fresh = registry.push_blob(layout.blob(digest), digest)
        (done.uploaded if fresh else done.present).append(digest)
    single = image.top["digest"] == image.manifests[0]["digest"]
    for manifest in image.manifests:
        _put(layout.blob(manifest["digest"]).read_bytes(), manifest, registry, done)
    for sbom, subject in zip(image.sboms, image.manifests, strict=True):
        headers = _put(layout.blob(sbom["digest"]).read_bytes(), sbom, registry, done)
        if _SUBJECT_HEADER in headers:
            done.referrers = "api"
        else:
            _tag_referrer(sbom, str(subject["digest"]), registry)
            done.referrers = "tag"
    data = layout.blob(image.top["digest"]).read_bytes()
    registry.put_manifest(tag, data, image.top["mediaType"])
    if not single:
        done.manifests.append(str(image.top["digest"]))


def _put(
    data: bytes, descriptor: Descriptor, registry: Registry, done: Pushed
) -> Mapping[str, str]:
    headers = registry.put_manifest(descriptor["digest"], data, descriptor["mediaType"])
    done.manifests.append(str(descriptor["digest"]))
    return headers


def _blobs(image: FinishedImage) -> Iterator[str]:
    for descriptor in (*image.manifests, *image.sboms):
        manifest = image.layout.read(descriptor)
        for each in (*manifest["layers"], manifest["config"]):
            yield str(each["digest"])


def _tag_referrer(sbom: Descriptor, subject: str, registry: Registry) -> None:
    """Adds a referrer to the index under the tag that stands in for the API."""
    tag = subject.replace(":", "-")
    entry: dict[str, Any] = {**sbom, "artifactType": CYCLONEDX}
    others: list[Descriptor] = []
    try:
        index = registry.manifest(tag).document
        others = [each for each in index["manifests"] if each["digest"] != sbom["digest"]]
    except NotThereError:
        pass
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, entry]}
    registry.put_manifest(tag, canonical_json(document), INDEX)
