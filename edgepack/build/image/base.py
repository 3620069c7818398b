"""Which very image a base is: its digest, for each platform, before anything is built.

It is not aware of tools or bundles. Used by `make`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edgepack.build.image.media import INDEXES, Descriptor
from edgepack.build.image.platforms import Platform
from edgepack.build.image.reference import Reference
from edgepack.build.image.registry import FetchedManifest, Registry
from edgepack.formats.errors import ImageError

#: Debian 12's Python 3.11 with no package manager, no compiler and no shell. The same as in
#: Dockerfile.arm64; a test holds the two together.
DEFAULT_BASE: Final = "gcr.io/distroless/python3-debian12:nonroot"


@dataclass(frozen=True, slots=True)
class PlatformBase:
    """A base for one platform.

    Attributes:
        pinned: Its name with the digest of that platform's manifest.
        digest: That digest.
        layers: The descriptors of its layers.
        diff_ids: Digests of their content, unpacked.
    """

    pinned: str
    digest: str
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Base:
    """A base image as it is now.

    Attributes:
        name: As typed, with registry and tag.
        digest: Of what the name stands for, an index where there is one; None for an image
            that is only in a tool's own storage.
        platforms: For each platform; empty likewise.
    """

    name: str
    digest: str | None = None
    platforms: Mapping[Platform, PlatformBase] = field(default_factory=dict)

    def pinned(self, platform: Platform) -> str:
        """Returns what stands behind FROM."""
        found = self.platforms.get(platform)
        return self.name if found is None else found.pinned


def resolve_base(
    reference: Reference,
    wanted: Iterable[Platform],
    open_registry: Callable[[Reference], Registry],
    option: str = "--base",
) -> Base:
    """Asks the base's registry which image it is for each platform.

    Args:
        reference: The base.
        wanted: The platforms.
        open_registry: Gives access to a registry.
        option: The option that named it, for the error's text.

    Returns:
        The base; for one of a tool's own storage, its name alone.

    Raises:
        ImageError: It is not there, the registry is unreachable or refuses, or there is none
            for a platform.
    """
    if reference.is_local:
        return Base(str(reference))
    registry = open_registry(reference)
    top = registry.manifest(reference.digest or reference.tag or "latest")
    found = {}
    for platform in wanted:
        manifest, config = _find(top, platform, registry, reference, option)
        try:
            layers, diff_ids = manifest.document["layers"], config["rootfs"]["diff_ids"]
        except (KeyError, TypeError) as error:
            raise _no_manifest(reference, error) from error
        found[platform] = PlatformBase(
            reference.at(manifest.digest), manifest.digest, tuple(layers), tuple(diff_ids)
        )
    return Base(str(reference), top.digest, found)


def _find(
    top: FetchedManifest,
    platform: Platform,
    registry: Registry,
    reference: Reference,
    option: str,
) -> tuple[FetchedManifest, Mapping[str, Any]]:
    manifest, there = top, []
    try:
        if top.media_type in INDEXES:
            there = [each.get("platform", {}) for each in top.document["manifests"]]
            fitting = [
                each["digest"]
                for each in top.document["manifests"]
                if platform.fits(each.get("platform", {}))
            ]
            if not fitting:
                raise _no_platform(reference, platform, there, option)
            manifest = registry.manifest(fitting[0])
        digest = manifest.document["config"]["digest"]
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_manifest(reference, error) from error
    config = registry.small_blob(digest)
    if not platform.fits(config):
        raise _no_platform(reference, platform, [config], option)
    return manifest, config


def _no_manifest(reference: Reference, error: Exception) -> ImageError:
    return ImageError(
        f"the registry's answer for {reference} is no manifest of an image: {error!r} is missing",
        hint="images of docker's first schema are not read; push the base again with a newer tool",
    )


def _no_platform(
    reference: Reference, platform: Platform, there: Iterable[Mapping[str, Any]], option: str
) -> ImageError:
    words = sorted({f"{each.get('os')}/{each.get('architecture')}" for each in there})
    known = ", ".join(word for word in words if "unknown" not in word) or "nothing that runs"
    if option == "--build-base":
        hint = f"the bundle is unpacked on {platform}: name an image with Python with --build-base"
    else:
        hint = f"name a base for {platform} with --base"
    return ImageError(f"the image {reference} is not for {platform}; it is for {known}", hint=hint)
