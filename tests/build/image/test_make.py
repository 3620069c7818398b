"""The whole road with a simulated engine and registry: what comes out, and what stays when not."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.image import Around, ImageRequest, ImageResult, make_image
from edgepack.build.image.finish import HEALTHCHECK
from edgepack.build.image.layout import Layout
from edgepack.build.image.tools import Buildah
from edgepack.build.process import ChildResult
from edgepack.cli.image import Bundles
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import BundleError, ConfigError, ImageError, MissingToolError, Problem
from edgepack.formats.manifest import ExternalWheel
from tests.build.image.simulators import AMD, ARM, SimulatedEngine, SimulatedRegistry
from tests.bundles import TINY_PROGRAM, pack, this_machine

BASE = "reg.example/python:3"
TAG = "reg.example/shop/session:1.2.0"
TARGETS = {"kiosk": "aarch64", "till": "x86_64"}


class Shop:
    """A folder with bundles for both platforms, an engine and a registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dist = folder / "dist"
        self.dist.mkdir()
        self.registry = SimulatedRegistry()
        self.registry.publish_base("3", [ARM, AMD])
        self.engine = SimulatedEngine(self.registry)
        for target in TARGETS:
            self.pack(target)

    def pack(self, target: str, **changes: Any) -> Path:
        """Packs a bundle for one of the targets."""
        machine = replace(this_machine(), arch=TARGETS[target], python="3.11.2")
        words = {"filename": f"{target}.pyz", "program": None, **changes}
        return pack(self.dist, machine=machine, target=target, **words).path

    def make(self, *targets: str, **changes: Any) -> ImageResult:
        """Runs `edgepack image` with the base of this shop."""
        run = changes.pop("run", self.engine)
        around = Around(Buildah(), Bundles(), self.registry.open, {}, run, AMD)
        request = ImageRequest(targets=targets, dist=self.dist, base=BASE)
        return make_image(replace(request, **changes), around)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    (tmp_path / "temporary").mkdir()
    # So that a test can see that nothing is left there.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return Shop(tmp_path)


def left(shop: Shop) -> list[str]:
    """What lies in the temporary folder and beside the outputs, and drafts in the engine."""
    found = [path.name for path in (shop.folder / "temporary").iterdir()]
    found += [path.name for path in shop.folder.iterdir() if path.name.startswith(".")]
    return found + list(shop.engine.drafts)


def test_two_targets_make_one_index_in_a_folder(shop: Shop) -> None:
    output = shop.folder / "image"
    result = shop.make("kiosk", "till", output=output)
    layout = Layout(output)
    index = json.loads((output / "index.json").read_text())
    top = layout.read(index["manifests"][0])
    assert index["manifests"][0]["digest"] == result.digest
    assert [each["platform"] for each in top["manifests"]] == [ARM.to_json(), AMD.to_json()]
    assert top["annotations"]["org.opencontainers.image.base.digest"] == result.base.digest
    for image, descriptor in zip(result.images, top["manifests"], strict=True):
        manifest = layout.read(descriptor)
        assert manifest["annotations"]["org.opencontainers.image.revision"] == image.release_id
        assert manifest["annotations"]["org.opencontainers.image.base.digest"] == image.base_digest
        assert layout.read(manifest["config"])["config"]["Healthcheck"] == HEALTHCHECK
    for referrer, subject in zip(index["manifests"][1:], top["manifests"], strict=True):
        assert referrer["artifactType"] == "application/vnd.cyclonedx+json"
        artifact = layout.read(referrer)
        assert artifact["subject"]["digest"] == subject["digest"]
        assert layout.read(artifact["layers"][0])["bomFormat"] == "CycloneDX"
    assert left(shop) == []


def test_the_same_bundles_give_the_same_image_in_place_of_the_older_one(shop: Shop) -> None:
    first = shop.make("kiosk", output=shop.folder / "image")
    again = shop.make("kiosk", output=shop.folder / "image")
    assert first.digest == again.digest
    assert left(shop) == []


def test_the_base_is_pinned_for_each_platform_before_anything_is_built(shop: Shop) -> None:
    shop.make("kiosk", output=shop.folder / "image")
    (command,) = [each for each in shop.engine.commands if each[1] == "bud"]
    words = {word.partition("=")[0]: word.partition("=")[2] for word in command}
    assert words["BASE"].startswith("reg.example/python@sha256:")
    assert words["BUILD_BASE"].startswith("reg.example/python@sha256:")
    assert words["BASE"] != words["BUILD_BASE"]


def test_the_bases_own_layer_is_in_the_image_however_the_tool_packs_it(shop: Shop) -> None:
    output = shop.folder / "image"
    shop.make("kiosk", output=output)
    layout = Layout(output)
    manifest = layout.read(layout.images()[0])
    base = shop.registry.manifest(shop.registry.manifest("3").document["manifests"][0]["digest"])
    assert manifest["layers"][0]["digest"] == base.document["layers"][0]["digest"]
    assert layout.blob(manifest["layers"][0]["digest"]).is_file()


def test_a_push_ends_with_the_tag_and_lists_the_bill_of_materials(shop: Shop) -> None:
    result = shop.make("kiosk", "till", tag=TAG, push=True)
    assert result.pushed is not None
    assert list(shop.registry.manifests)[-1] == "1.2.0"
    assert shop.registry.manifest("1.2.0").digest == result.digest
    assert result.pushed.referrers == "api"
    assert {each.sbom_digest for each in result.images} <= set(result.pushed.manifests)
    again = shop.make("kiosk", "till", tag=TAG, push=True)
    assert again.pushed is not None
    assert again.pushed.uploaded == []


def test_without_the_referrers_api_a_tag_stands_in_and_keeps_what_it_lists(shop: Shop) -> None:
    shop.registry.lists_referrers = False
    result = shop.make("kiosk", tag=TAG, push=True)
    assert result.pushed is not None
    assert result.pushed.referrers == "tag"
    tag = result.digest.replace(":", "-")
    index = dict(shop.registry.manifest(tag).document)
    signature = {"mediaType": "x", "digest": "sha256:1", "size": 1}
    index["manifests"] = [*index["manifests"], signature]
    shop.registry.put_manifest(tag, json.dumps(index).encode(), "x")
    shop.make("kiosk", tag=TAG, push=True)
    listed = shop.registry.manifest(tag).document["manifests"]
    assert [each["digest"] for each in listed] == ["sha256:1", result.images[0].sbom_digest]


@pytest.mark.parametrize("word", ["1.2.0", "sha256"])
def test_a_refused_push_moves_no_tag_and_says_what_is_there(shop: Shop, word: str) -> None:
    class Refusing(SimulatedRegistry):
        """Takes no writes whose name holds a word."""

        def put_manifest(self, name: str, data: bytes, media_type: str) -> Mapping[str, str]:
            if word in name:
                raise ImageError(f"refuses {name}", hint="log in")
            return super().put_manifest(name, data, media_type)

    shop.registry.__class__ = Refusing
    with pytest.raises(ImageError) as caught:
        shop.make("kiosk", tag=TAG, push=True)
    assert "was not pushed" in caught.value.message
    assert "the tag 1.2.0 is as it was" in caught.value.message
    assert caught.value.hint == "log in"
    assert "1.2.0" not in shop.registry.manifests
    assert left(shop) == []


def test_without_push_and_output_the_image_is_loaded_last(shop: Shop) -> None:
    result = shop.make("kiosk")
    assert result.loaded
    assert result.tag == "session:1.2.0"
    assert [each[1] for each in shop.engine.commands] == ["bud", "push", "rmi", "pull"]
    assert result.commands[0].startswith("buildah bud --layers")


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


def test_the_newest_bundle_of_a_target_is_taken(shop: Shop) -> None:
    newer = shop.pack("kiosk", filename="newer.pyz", files=None)
    os.utime(shop.dist / "kiosk.pyz", (1, 1))
    (shop.dist / "foreign.pyz").write_bytes(b"somebody else's")
    context = shop.folder / "kept"
    shop.make("kiosk", context=context)
    assert (context / "context-arm64" / "bundle.pyz").read_bytes() == newer.read_bytes()


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


def test_a_base_with_pip_a_compiler_and_a_shell_is_a_warning(shop: Shop) -> None:
    names = ("usr/bin/python3.11", "usr/bin/x86_64-linux-gnu-gcc-12", "bin/sh", "usr/bin/pip3")
    shop.registry.publish_base("3", [ARM, AMD], dict.fromkeys(names, b""))
    (image,) = shop.make("kiosk").images
    assert image.contents.warnings == (
        "the base has a compiler, a shell, pip, which the image does not need",
    )


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


@pytest.mark.parametrize("verb", ["bud", "push"])
def test_a_failing_tool_leaves_nothing_and_its_words_are_told(shop: Shop, verb: str) -> None:
    shop.make("kiosk", output=shop.folder / "image")
    before = (shop.folder / "image" / "index.json").read_bytes()
    shop.engine.fails = (verb, "write blob: no space left on device")
    with pytest.raises(ImageError, match="the disk is full"):
        shop.make("kiosk", output=shop.folder / "image")
    assert (shop.folder / "image" / "index.json").read_bytes() == before
    assert left(shop) == []


def test_ctrl_c_leaves_nothing(shop: Shop) -> None:
    def interrupted(command: Sequence[str], environment: Mapping[str, str]) -> ChildResult:
        if command[1] == "push":
            raise KeyboardInterrupt
        return shop.engine(command, environment)

    with pytest.raises(KeyboardInterrupt):
        shop.make("kiosk", output=shop.folder / "image", run=interrupted)
    assert not (shop.folder / "image").exists()
    assert left(shop) == []


def test_a_full_disk_here_is_told_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(command: Sequence[str], environment: Mapping[str, str]) -> ChildResult:
        if command[1] == "rmi":
            raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")
        return shop.engine(command, environment)

    with pytest.raises(ImageError, match="No space left on device") as caught:
        shop.make("kiosk", run=full)
    assert "TMPDIR" in str(caught.value.hint)


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


def test_tls_is_verified_as_soon_as_one_registry_is_not_on_this_machine(shop: Shop) -> None:
    near = "127.0.0.1:5000/python:3"
    shop.make("kiosk", base=near, build_base=near)
    assert "--tls-verify=false" in shop.engine.commands[0]
    for base, build_base, platform in ((near, BASE, "linux/arm64"), (BASE, near, "linux/amd64")):
        shop.engine.commands.clear()
        shop.make("kiosk", base=base, build_base=build_base)
        pull, build = shop.engine.commands[:2]
        assert pull[1:6] == ["pull", "--quiet", "--tls-verify=false", "--platform", platform]
        assert pull[6].startswith("127.0.0.1:5000/python@sha256:")
        # The very image that the build is told.
        assert pull[6] in " ".join(build)
        assert "--tls-verify=false" not in build
    # What is in the tool's own storage is never pulled.
    shop.engine.commands.clear()
    with pytest.raises(ImageError):
        shop.make("kiosk", base="localhost/own:1", build_base=BASE)
    assert [command[1] for command in shop.engine.commands] == ["bud", "rmi"]
    assert "--tls-verify=false" not in shop.engine.commands[0]


def test_a_folder_is_at_its_place_before_the_tag_moves(shop: Shop) -> None:
    shop.registry.refuses = "1.2.0"
    output = shop.folder / "image"
    with pytest.raises(ImageError, match="was not pushed"):
        shop.make("kiosk", tag=TAG, push=True, output=output)
    assert len(Layout(output).images()) == 2
    assert "1.2.0" not in shop.registry.manifests
    shop.registry.refuses = ""
    assert shop.make("kiosk", tag=TAG, push=True, output=output).pushed is not None
    assert left(shop) == []
