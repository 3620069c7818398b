"""The whole road with a simulated engine and registry: what comes out, and what stays when not."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence

import pytest

from edgepack.build.image.finish import HEALTHCHECK
from edgepack.build.image.layout import Layout
from edgepack.build.process import ChildResult
from edgepack.formats.errors import ImageError
from tests.build.image.shops import BASE, TAG, Shop, left
from tests.build.image.simulators import AMD, ARM, SimulatedRegistry


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


def test_the_newest_bundle_of_a_target_is_taken(shop: Shop) -> None:
    newer = shop.pack("kiosk", filename="newer.pyz", files=None)
    os.utime(shop.dist / "kiosk.pyz", (1, 1))
    (shop.dist / "foreign.pyz").write_bytes(b"somebody else's")
    context = shop.folder / "kept"
    shop.make("kiosk", context=context)
    assert (context / "context-arm64" / "bundle.pyz").read_bytes() == newer.read_bytes()


def test_a_base_with_pip_a_compiler_and_a_shell_is_a_warning(shop: Shop) -> None:
    names = ("usr/bin/python3.11", "usr/bin/x86_64-linux-gnu-gcc-12", "bin/sh", "usr/bin/pip3")
    shop.registry.publish_base("3", [ARM, AMD], dict.fromkeys(names, b""))
    (image,) = shop.make("kiosk").images
    assert image.contents.warnings == (
        "the base has a compiler, a shell, pip, which the image does not need",
    )


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
