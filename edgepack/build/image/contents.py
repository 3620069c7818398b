"""Looks into a finished image: what a build added to its base, and what it must not hold.

It is not aware of tools. Used by `make`.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgepack.build.image.layout import Layout
from edgepack.build.image.media import Descriptor
from edgepack.build.image.platforms import Platform
from edgepack.formats.errors import ImageError

#: The layers that Dockerfile.arm64 adds: runtime, release, state.
ADDED_LAYERS: Final = 3
_OURS: Final = ("opt", "opt/edgepack", "var", "var/lib", "var/lib/edgepack")
_PYTHON: Final = re.compile(r"(?:usr/|usr/local/)?bin/python(3\.\d+)")
_PIP: Final = re.compile(r"(?:.*/)?(?:bin/pip3?(?:\.\d+)*|(?:site|dist)-packages/pip/__init__\.py)")
_COMPILER: Final = re.compile(
    r"(?:.*/)?bin/(?:[a-z0-9_]+-linux-gnu-)?(?:gcc|g\+\+|cc|c\+\+|clang)(?:-\d+)?"
)
_SHELL: Final = re.compile(r"(?:usr/)?bin/(?:sh|bash|dash|busybox)")


@dataclass(frozen=True, slots=True)
class Contents:
    """What was seen in an image.

    Attributes:
        added_bytes: Bytes of the files in the added layers.
        added_compressed_bytes: Bytes of those layers as they travel.
        layers: Digests of the added layers.
        warnings: What a careful person would want otherwise in the base.
    """

    added_bytes: int
    added_compressed_bytes: int
    layers: tuple[str, ...]
    warnings: tuple[str, ...]


def look_into(
    layout: Layout,
    manifest: Mapping[str, Any],
    *,
    platform: Platform,
    python: str,
    base_layers: int | None,
) -> Contents:
    """Checks an image.

    Args:
        layout: Where its blobs are.
        manifest: Its manifest.
        platform: For which it was to be made.
        python: The minor version that the bundle's wheels are for.
        base_layers: Layers of the base; by default all but those the Dockerfile adds.

    Returns:
        What was seen.

    Raises:
        ImageError: Another platform, a root user, a base without that Python, or something in
            the added layers that is not the bundle's.
    """
    config = layout.read(manifest["config"])
    if not platform.fits(config):
        found = f"{config.get('os')}/{config.get('architecture')}"
        raise ImageError(
            f"the image was built for {found}, not for {platform}",
            hint=f"the base is of another architecture: name one for {platform} with --base",
        )
    user = str(config.get("config", {}).get("User", "")).split(":")[0]
    if user in ("", "0", "root"):
        raise ImageError(f"the image runs as {user or 'root'}; it must not")
    layers: Sequence[Descriptor] = manifest["layers"]
    count = len(layers) - ADDED_LAYERS if base_layers is None else base_layers
    added = layers[count:]
    added_bytes = sum(_check_added(layout, each) for each in added)
    return Contents(
        added_bytes,
        sum(int(each["size"]) for each in added),
        tuple(str(each["digest"]) for each in added),
        tuple(_look_at_base(layout, layers[:count], python)),
    )


def _check_added(layout: Layout, layer: Descriptor) -> int:
    total = 0
    for member in _members(layout, layer):
        name = member.name.removeprefix("./").strip("/")
        inside = name.startswith(("opt/edgepack/", "var/lib/edgepack/")) or name in _OURS
        if (
            not inside
            or ".." in name.split("/")
            or _PIP.fullmatch(name)
            or _COMPILER.fullmatch(name)
        ):
            raise ImageError(f"the image got /{name}, which is not the bundle's")
        total += member.size
    return total


def _look_at_base(layout: Layout, layers: Sequence[Descriptor], python: str) -> Iterator[str]:
    pythons, tools = set(), set()
    for layer in layers:
        try:
            names = [member.name.removeprefix("./") for member in _members(layout, layer)]
        except _UnreadableLayerError:
            yield f"the base's layer {layer['digest'][:19]} is packed so that it is not read here"
            return
        for name in names:
            if match := _PYTHON.fullmatch(name):
                pythons.add(match[1])
            kinds = {"pip": _PIP, "a compiler": _COMPILER, "a shell": _SHELL}
            tools |= {kind for kind, pattern in kinds.items() if pattern.fullmatch(name)}
    if python not in pythons:
        there = f"it has Python {', '.join(sorted(pythons))}" if pythons else "it has no Python"
        raise ImageError(
            f"the bundle is for Python {python}, and the base does not have it: {there}",
            hint=f"name a base with Python {python} with --base",
        )
    if tools:
        yield f"the base has {', '.join(sorted(tools))}, which the image does not need"


class _UnreadableLayerError(ImageError):
    """A layer in a compression that Python's tarfile does not read."""


def _members(layout: Layout, layer: Descriptor) -> Iterator[tarfile.TarInfo]:
    path: Path = layout.blob(str(layer["digest"]))
    try:
        with tarfile.open(path, "r|*") as archive:
            yield from archive
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _UnreadableLayerError(f"the layer {layer['digest']} cannot be read: {error}") from (
            error
        )
