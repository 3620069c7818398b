from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgepack.build.image.layout import Layout
from edgepack.build.image.media import CONFIG, MANIFEST, Descriptor
from edgepack.build.image.reference import parse_reference
from edgepack.build.image.sharing import share_base_layers
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import ImageError
from tests.build.image.simulators import LAYER, SimulatedRegistry

_PLAIN = b"the base's files, as a tar"
_PLAIN_ID = f"sha256:{sha256_hex(_PLAIN)}"
_OWN_ID = f"sha256:{sha256_hex(b'own')}"


def layout_with(folder: Path, diff_ids: Sequence[str]) -> Layout:
    """An image whose layers a tool has compressed anew."""
    layout = Layout.create(folder / "image")
    layers = [layout.write(f"anew {each}".encode(), LAYER) for each in diff_ids]
    config = layout.write_json({"rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}, CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    layout.finish([layout.write_json(manifest, MANIFEST)])
    return layout


def layers_of(layout: Layout) -> list[Descriptor]:
    """The layers that its manifest names."""
    (descriptor,) = layout.images()
    return list(layout.read(descriptor)["layers"])


def share(layout: Layout, layers: Sequence[Descriptor], diff_ids: Sequence[str]) -> None:
    """Shares with a registry that has one uncompressed layer."""
    registry = SimulatedRegistry()
    registry.blobs[_PLAIN_ID] = _PLAIN
    reference = parse_reference("reg.example/python:3", "--base")
    share_base_layers(layout, layers, diff_ids, registry.open(reference))


def docker_layer(media_type: str) -> Descriptor:
    """The base's layer as a registry with docker's own types describes it."""
    return {"mediaType": media_type, "digest": _PLAIN_ID, "size": len(_PLAIN)}


@pytest.mark.parametrize(
    ("dockers", "ours"),
    [
        (
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.oci.image.layer.v1.tar",
        ),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", LAYER),
    ],
)
def test_a_layer_of_dockers_type_gets_the_name_it_has_in_an_oci_image(
    tmp_path: Path, dockers: str, ours: str
) -> None:
    layout = layout_with(tmp_path, [_PLAIN_ID, _OWN_ID])
    own = layers_of(layout)[1]
    share(layout, [docker_layer(dockers)], [_PLAIN_ID])
    assert layers_of(layout) == [
        {"mediaType": ours, "digest": _PLAIN_ID, "size": len(_PLAIN)},
        own,
    ]
    assert layout.blob(_PLAIN_ID).read_bytes() == _PLAIN


@pytest.mark.parametrize("diff_ids", [[_OWN_ID], [_OWN_ID, _PLAIN_ID], []])
def test_an_image_on_another_base_is_refused(tmp_path: Path, diff_ids: list[str]) -> None:
    layout = layout_with(tmp_path, diff_ids)
    with pytest.raises(ImageError, match="are not the base's") as caught:
        share(layout, [docker_layer(LAYER)], [_PLAIN_ID])
    assert "--tool" in str(caught.value.hint)


def test_a_base_with_more_layers_than_its_configuration_or_the_image_is_refused(
    tmp_path: Path,
) -> None:
    layout = layout_with(tmp_path, [_PLAIN_ID])
    before = layers_of(layout)
    with pytest.raises(ImageError, match=r"has 2 layers, its configuration 1, and the image 1"):
        share(layout, [docker_layer(LAYER)] * 2, [_PLAIN_ID])
    with pytest.raises(ImageError, match="are not the base's"):
        share(layout, [docker_layer(LAYER)] * 2, [_PLAIN_ID] * 2)
    assert layers_of(layout) == before
