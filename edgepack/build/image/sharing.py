"""Gives an image the very layers of its base, as its registry has them.

buildah and podman keep layers unpacked and compress them anew, so the same files come out under
another digest: every box would download its base again. It is not aware of tools. Used by `make`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgepack.build.image.layout import Layout
from edgepack.build.image.media import MANIFEST, Descriptor
from edgepack.build.image.registry import Registry
from edgepack.formats.errors import ImageError

#: Docker's words for what the OCI calls otherwise.
_LAYERS: Final = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": (
        "application/vnd.oci.image.layer.v1.tar+gzip"
    ),
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
}


def share_base_layers(
    layout: Layout, layers: Sequence[Descriptor], diff_ids: Sequence[str], registry: Registry
) -> None:
    """Replaces an image's lower layers by its base's own, which have the same content.

    Args:
        layout: With the one image; its manifest is written anew.
        layers: The base's layers.
        diff_ids: Digests of their content, unpacked.
        registry: Where the base is.

    Raises:
        ImageError: A layer cannot be fetched, or has other bytes, or the image does not stand
            on that base.
    """
    (descriptor,) = layout.images()
    manifest = layout.read(descriptor)
    config = layout.read(manifest["config"])
    if config["rootfs"]["diff_ids"][: len(diff_ids)] != list(diff_ids):
        # Without this, every box would download its base again, and nobody would know why.
        raise ImageError(
            "the image's lower layers are not the base's: the tool built on something else, or "
            "wrote the base's files anew",
            hint="make it again with a newer version of the tool, or with another: --tool",
        )
    own = list(manifest["layers"])
    if not len(layers) == len(diff_ids) <= len(own):
        raise ImageError(
            f"the base has {len(layers)} layers, its configuration {len(diff_ids)}, and the image "
            f"{len(own)}: they do not fit together"
        )
    for number, layer in enumerate(layers):
        if own[number]["digest"] != layer["digest"]:
            registry.fetch_blob(layer, layout.blob(str(layer["digest"])))
        kind = str(layer["mediaType"])
        own[number] = {
            "mediaType": _LAYERS.get(kind, kind),
            "digest": layer["digest"],
            "size": layer["size"],
        }
    layout.finish([layout.write_json({**manifest, "layers": own}, MANIFEST)])
