"""What makes no image, and says so before anything is built or left behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgepack.build.image import Around, ImageRequest, make_image
from edgepack.build.image.tools import Buildah
from edgepack.cli.image import Bundles
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import BundleError, ConfigError, ImageError, MissingToolError, Problem
from edgepack.formats.manifest import ExternalWheel
from tests.build.image.shops import BASE, TAG, Shop, left
from tests.build.image.simulators import AMD, ARM
from tests.bundles import TINY_PROGRAM


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tag": "Reg/Bad"}, "--tag: 'Reg/Bad' is no image name"),
        ({"tag": f"{TAG}@sha256:{'a' * 64}"}, "has a digest"),
        ({"base": "a b"}, "--base: 'a b' is no image name"),
        ({"build_base": "a:"}, "--build-base"),
        ({"push": True}, "--push needs to know where to"),
        ({"push": True, "tag": "session:1"}, "--push needs to know where to"),
        ({"push": True, "tag": "localhost/session:1"}, "--push needs to know where to"),
    ],
)
def test_what_is_typed_wrong_is_said_before_anything_is_started(
    shop: Shop, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        shop.make("kiosk", **changes)
    assert words in caught.value.message
    assert shop.engine.commands == []


def test_two_platforms_have_no_place_in_a_tools_own_storage(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="several platforms"):
        shop.make("kiosk", "till")
    assert shop.engine.commands == []


def test_bundles_that_make_no_image_are_refused(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="no bundle for scale") as caught:
        shop.make("scale")
    assert "edgepack build --target scale" in str(caught.value.hint)
    other = shop.pack("kiosk", filename="other.pyz", name="other")
    with pytest.raises(ConfigError, match="different models: other"):
        shop.make(bundles=(other, shop.dist / "till.pyz"))
    with pytest.raises(ConfigError, match="is for the target kiosk, not for till"):
        shop.make("till", bundles=(other,))
    with pytest.raises(ConfigError, match="both linux/arm64"):
        shop.make(bundles=(other, shop.dist / "kiosk.pyz"))
    with pytest.raises(BundleError, match="did not know images"):
        shop.make(bundles=(shop.pack("kiosk", filename="old.pyz", program=TINY_PROGRAM),))
    damaged = shop.folder / "damaged.pyz"
    data = bytearray((shop.dist / "kiosk.pyz").read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(BundleError, match="damaged"):
        shop.make(bundles=(damaged,))
    with pytest.raises(BundleError, match="cannot be opened"):
        shop.make(bundles=(shop.folder / "missing.pyz",))
    assert shop.engine.commands == []


def test_a_base_that_does_not_fit_is_refused_before_anything_is_built(shop: Shop) -> None:
    shop.registry.publish_base("arm", [ARM])
    shop.registry.publish_base("amd", [AMD])
    for changes, words, hint in (
        (
            {"base": "reg.example/python:amd"},
            "not for linux/arm64; it is for linux/amd64",
            "--base",
        ),
        ({"base": "reg.example/python:arm"}, "is not for linux/amd64", "--build-base"),
        ({"base": "reg.example/python:none"}, "no manifests/none", ""),
    ):
        with pytest.raises(ImageError) as caught:
            shop.make("kiosk", **changes)
        assert words in caught.value.message
        assert hint in str(caught.value.hint)
    assert shop.engine.commands == []
    build_base = {"base": "reg.example/python:arm", "build_base": "reg.example/python:amd"}
    assert shop.make("kiosk", **build_base).images[0].platform == ARM


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"etc/os-release": b""}, "it has no Python"),
        ({"usr/local/bin/python3.13": b""}, "it has Python 3.13"),
    ],
)
def test_a_base_without_the_bundles_python_is_refused(
    shop: Shop, files: dict[str, bytes], words: str
) -> None:
    shop.registry.publish_base("3", [ARM, AMD], files)
    with pytest.raises(ImageError, match=r"the bundle is for Python 3\.11") as caught:
        shop.make("kiosk", output=shop.folder / "image")
    assert words in caught.value.message
    assert not (shop.folder / "image").exists()
    assert left(shop) == []


@pytest.mark.parametrize(
    ("changes", "more", "words"),
    [
        ({"architecture": "amd64"}, {}, "was built for linux/amd64, not for linux/arm64"),
        ({"config": {"User": "root"}}, {}, "runs as root"),
        ({"config": {}}, {}, "runs as root"),
        ({}, {"usr/bin/gcc": b""}, "/usr/bin/gcc, which is not the bundle's"),
        ({}, {"opt/edgepack/../../etc/passwd": b""}, "/etc/passwd, which is not the bundle's"),
        ({}, {"opt/edgepack/runtime/x/site/pip/__init__.py": b""}, ""),
        ({}, {"opt/edgepack/x/site-packages/pip/__init__.py": b""}, "pip/__init__.py"),
    ],
)
def test_an_image_that_is_not_as_it_must_be_is_refused(
    shop: Shop, changes: dict[str, Any], more: dict[str, bytes], words: str
) -> None:
    shop.engine.changes, shop.engine.more = changes, more
    if not words:
        shop.make("kiosk")
        return
    with pytest.raises(ImageError) as caught:
        shop.make("kiosk", output=shop.folder / "image")
    assert words in caught.value.message
    assert not (shop.folder / "image").exists()


def test_a_stage_that_would_need_an_emulator_is_refused_where_there_is_none(shop: Shop) -> None:
    missing = Problem("/proc/sys/fs/binfmt_misc", "the kernel does not start aarch64 programs", "x")
    around = Around(
        Buildah(), Bundles(), shop.registry.open, {}, shop.engine, AMD, lambda arch: missing
    )
    request = ImageRequest(targets=("kiosk",), dist=shop.dist, base="localhost/own:1")
    with pytest.raises(MissingToolError, match="does not start aarch64") as caught:
        make_image(request, around)
    assert "--build-base" in str(caught.value.hint)
    assert shop.engine.commands == []
    # With a registry's base nothing is emulated, so nothing is missed.
    assert make_image(replace(request, base=BASE), around).loaded


def test_a_folder_that_is_somebody_elses_is_left_alone(shop: Shop) -> None:
    (shop.folder / "notes").mkdir()
    (shop.folder / "notes" / "mine").write_text("keep")
    with pytest.raises(ConfigError, match="is not an image's folder"):
        shop.make("kiosk", output=shop.folder / "notes")
    assert (shop.folder / "notes" / "mine").read_text() == "keep"
    assert shop.engine.commands == []


def test_a_thin_bundle_takes_its_wheels_along_or_says_what_is_missing(shop: Shop) -> None:
    wheels = shop.folder / "wheels"
    wheels.mkdir()
    name = "brought-1.0-py3-none-any.whl"
    (wheels / name).write_bytes(b"a wheel")
    wheel = ExternalWheel("brought", "1.0", name, sha256_hex(b"a wheel"))
    thin = shop.pack("kiosk", filename="thin.pyz", external=(wheel,))
    for changes in ({"base": None}, {"wheels": shop.folder}):
        with pytest.raises(ConfigError, match=f"leaves out {name}") as caught:
            shop.make(bundles=(thin,), **changes)
        assert "--wheels DIR" in str(caught.value.hint)
    assert shop.engine.commands == []
    with pytest.raises(ImageError, match="cannot be unpacked: this bundle needs brought") as error:
        shop.make(bundles=(thin,), context=shop.folder / "kept", wheels=wheels)
    assert "--build-arg WHEELS=" in str(error.value.hint)
    folder = shop.folder / "kept" / "context-arm64"
    assert (folder / "wheels" / name).read_bytes() == b"a wheel"
    assert "WHEELS=wheels/*.whl" in shop.engine.commands[0]
