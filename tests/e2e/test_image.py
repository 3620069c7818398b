"""A container image, built for real with buildah on a base made on the spot, pushed, run."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from benchmarks.images import build_plain_image
from edgepack.build.image.finish import HEALTHCHECK
from edgepack.build.image.layout import Layout
from edgepack.build.image.media import CYCLONEDX
from edgepack.build.image.reference import parse_reference
from edgepack.formats.golden import GoldenSequence, GoldenSet, check_ranking
from edgepack.formats.report import check_report
from edgepack.runner.boot.archive import open_bundle
from tests.cyclonedx_schema import schema_problems
from tests.e2e.builds import Cli, CliResult, FullBuild
from tests.e2e.images import (
    STATE,
    USER,
    ImageOnDisk,
    Storage,
    open_registry,
    serving,
    unpack,
)

_MB = 1_000_000


class Made:
    """The image of both targets, pushed and written to a folder."""

    def __init__(self, value: Any, output: Path, tag: str) -> None:
        self.value = value
        self.layout = Layout(output)
        self.tag = tag

    def image(self, target: str) -> Any:
        """What was said of one target's image."""
        return next(each for each in self.value["images"] if each["target"] == target)


@pytest.fixture(scope="module")
def made(
    run_cli: Cli,
    full_build: FullBuild,
    image_base: str,
    image_registry: str,
    image_storage: Storage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    """`edgepack image` for arm64 and x86-64 in one call."""
    output = tmp_path_factory.mktemp("image") / "layout"
    tag = f"{image_registry}/shop/session:1.0.0"
    bundles = [part for t in ("arm64", "cpu") for part in ("--bundle", str(full_build.bundle(t)))]
    result = run_cli(
        *("image", "--target", "arm64", "--target", "cpu", *bundles, "--tool", "buildah"),
        *("--base", image_base, "--tag", tag, "--push", "--output", f"oci:{output}", "--json"),
        env=image_storage.environment,
    )
    assert result.status == 0, result.stderr
    return Made(result.value, output, tag)


@pytest.fixture(scope="module")
def arm_image(made: Made, tmp_path_factory: pytest.TempPathFactory) -> ImageOnDisk:
    """The arm64 image as a container engine unpacks it."""
    return unpack(made.layout, "linux/arm64", tmp_path_factory.mktemp("unpacked") / "root")


def test_one_index_holds_both_platforms_and_says_what_they_are_made_of(
    made: Made, image_base: str, full_build: FullBuild
) -> None:
    assert made.value["tool"] == "buildah"
    assert made.value["commands"][0].startswith("buildah bud ")
    bases = open_registry(parse_reference(image_base, "base")).manifest("bookworm")
    assert made.value["base"] == {"name": image_base, "digest": bases.digest}
    by_platform = {each["platform"]["architecture"]: each for each in bases.document["manifests"]}
    found = {}
    for descriptor in made.layout.images():
        if descriptor.get("artifactType") is None:
            found[descriptor["platform"]["architecture"]] = made.layout.read(descriptor)
    assert set(found) == {"arm64", "amd64"}
    for architecture, target in (("arm64", "arm64"), ("amd64", "cpu")):
        manifest = found[architecture]
        config = made.layout.read(manifest["config"])
        assert (config["os"], config["architecture"]) == ("linux", architecture)
        bundle = open_bundle(full_build.bundle(target))
        for words in (config["config"]["Labels"], manifest["annotations"]):
            assert words["org.opencontainers.image.title"] == "session"
            assert words["org.opencontainers.image.version"] == "1.0.0"
            assert words["org.opencontainers.image.revision"] == bundle.release_id
            assert words["org.opencontainers.image.base.name"] == image_base
            digest = by_platform[architecture]["digest"]
            assert words["org.opencontainers.image.base.digest"] == digest
        assert config["config"]["User"] == f"{USER}:{USER}"
        assert config["config"]["Volumes"] == {STATE: {}}
        assert config["config"]["Healthcheck"] == HEALTHCHECK
        assert config["config"]["Cmd"] == ["serve", "--host", "0.0.0.0"]
        # The base's own layer is taken over as it is.
        (shared,) = (
            open_registry(parse_reference(image_base, "base")).manifest(digest).document["layers"]
        )
        assert manifest["layers"][0]["digest"] == shared["digest"]


def test_the_image_serves_without_emulated_building_as_its_user_and_read_only(
    arm_image: ImageOnDisk, tmp_path: Path
) -> None:
    (golden_file,) = (arm_image.root / "opt/edgepack/current/golden").iterdir()
    golden = GoldenSet.from_bytes(golden_file.read_bytes())
    check = arm_image.config["config"]["Healthcheck"]["Test"][1:]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert arm_image.run(tmp_path / "one", *check).returncode == 8
    with serving(arm_image, tmp_path / "one") as address:
        for sequence in golden.sequences[:4]:
            body = {"history": list(sequence.history), "k": 10, "exclude_seen": False}
            request = urllib.request.Request(f"{address}/recommend", json.dumps(body).encode())
            request.add_header("Content-Type", "application/json")
            with urllib.request.urlopen(request, timeout=60) as answer:
                items = json.load(answer)["items"]
            wanted = GoldenSequence(sequence.history, sequence.items[:10], sequence.scores[:10])
            ids, scores = [each["id"] for each in items], [each["score"] for each in items]
            assert check_ranking(wanted, ids, scores, golden.tolerance) == []
        healthy = arm_image.run(tmp_path / "one", *check)
        assert healthy.returncode == 0, healthy.stderr
        writes = "import os; print(os.getuid()); open('/opt/edgepack/x', 'w')"
        refused = arm_image.run(tmp_path / "one", "python3", "-c", writes)
        assert refused.stdout.strip() == USER
        assert "Read-only file system" in refused.stderr
    unhealthy = arm_image.run(tmp_path / "one", *check)
    assert unhealthy.returncode == 8
    assert "does not answer" in unhealthy.stderr
    assert {"device_id", "pycache"} <= {path.name for path in (tmp_path / "one").iterdir()}


def test_two_containers_have_two_device_ids_and_the_benchmark_reports(
    arm_image: ImageOnDisk, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for state in (one, two):
        state.mkdir()
    argv = (*arm_image.entrypoint, "bench", "--duration", "quick")
    done = arm_image.run(one, *argv, "--out", f"{STATE}/report.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((one / "report.json").read_text())
    assert check_report(report) == []
    assert "emulated" in report["trust"]["reasons"]
    with serving(arm_image, two):
        pass
    ids = [(state / "device_id").read_text() for state in (one, two)]
    assert ids[0] != ids[1]
    assert report["device_id"] == ids[0].strip()


def test_another_build_from_scratch_gives_the_same_image(
    made: Made,
    run_cli: Cli,
    full_build: FullBuild,
    image_base: str,
    tmp_path: Path,
) -> None:
    with Storage(tmp_path / "storage") as storage:
        result = run_cli(
            *("image", "--bundle", full_build.bundle("arm64"), "--tool", "buildah"),
            *("--base", image_base, "--output", f"oci:{tmp_path / 'layout'}", "--json"),
            env=storage.environment,
        )
    assert result.status == 0, result.stderr
    (again,) = result.value["images"]
    assert again["layers"] == made.image("arm64")["layers"]
    assert again["digest"] == made.image("arm64")["digest"]


def test_the_image_adds_no_more_than_the_bundle_and_half_of_a_plain_one(
    made: Made,
    run_cli: Cli,
    full_build: FullBuild,
    image_base: str,
    image_storage: Storage,
    tmp_path: Path,
) -> None:
    bundle = full_build.bundle("arm64")
    unpacked = open_bundle(bundle).unpacked_bytes
    added = made.image("arm64")["added_bytes"]
    assert unpacked <= added <= unpacked + 2 * _MB
    variant = ("--variant", "onnx-fp32")
    converted = run_cli("convert", *full_build.arguments[1:9], *variant, "--out", tmp_path)
    assert converted.status == 0, converted.stderr
    (model,) = tmp_path.rglob("*.onnx")
    plain = build_plain_image(
        bundle, model, image_base, tmp_path / "plain", image_storage.environment
    )
    assert added <= 0.5 * plain.added_bytes


def test_what_was_pushed_can_be_pulled_with_its_bill_of_materials(
    made: Made, full_build: FullBuild, image_storage: Storage
) -> None:
    registry = open_registry(parse_reference(made.tag, "tag"))
    assert registry.manifest("1.0.0").digest == made.value["digest"]
    for target in ("arm64", "cpu"):
        image = made.image(target)
        # This registry keeps no list of referrers, so they are under a tag.
        referrers = registry.manifest(image["digest"].replace(":", "-")).document["manifests"]
        (referrer,) = referrers
        assert referrer["artifactType"] == CYCLONEDX
        assert referrer["digest"] == image["sbom"]
        artifact = registry.manifest(referrer["digest"]).document
        assert artifact["subject"]["digest"] == image["digest"]
        sbom = registry.small_blob(artifact["layers"][0]["digest"])
        assert sbom == open_bundle(full_build.bundle(target)).sbom
        assert schema_problems(sbom) == []
    pulled = image_storage.buildah("pull", "--quiet", "--tls-verify=false", made.tag)
    assert pulled.returncode == 0, pulled.stderr
    config = made.layout.read(
        next(
            made.layout.read(each)["config"]
            for each in made.layout.images()
            if each.get("platform", {}).get("architecture") == "amd64"
        )
    )
    inspected = json.loads(image_storage.buildah("inspect", "--type", "image", made.tag).stdout)
    assert inspected["OCIv1"]["config"]["Labels"] == config["config"]["Labels"]


def test_without_push_and_output_it_is_in_the_tools_own_storage(
    run_cli: Cli, full_build: FullBuild, image_base: str, image_storage: Storage, made: Made
) -> None:
    result: CliResult = run_cli(
        *("image", "--bundle", full_build.bundle("cpu"), "--tool", "buildah", "--base", image_base),
        env=image_storage.environment,
    )
    assert result.status == 0, result.stderr
    assert "in the storage of buildah as session:1.0.0" in result.stdout
    names = image_storage.names()
    assert "localhost/session:1.0.0" in names
    assert not [name for name in names if "edgepack-draft" in name]


def test_the_dockerfile_works_as_it_is_typed(
    full_build: FullBuild, image_base: str, image_storage: Storage, repository: Path, tmp_path: Path
) -> None:
    """As a person has it: the checkout's files, a bundle in dist/, one command."""
    for name in ("Dockerfile.arm64", ".dockerignore"):
        shutil.copy(repository / name, tmp_path)
    (tmp_path / "dist").mkdir()
    bundle = shutil.copy(full_build.bundle("cpu"), tmp_path / "dist")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "large").write_bytes(b"not to be sent")
    command = ["bud", "--layers", "--tls-verify=false", "--platform", "linux/amd64"]
    command += ["--build-arg", f"BASE={image_base}", "-f", "Dockerfile.arm64", "-t", "typed"]
    argument = f"BUNDLE=dist/{Path(bundle).name}"
    done = image_storage.buildah(*command, "--build-arg", argument, ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    forgotten = image_storage.buildah(*command, ".", cwd=tmp_path)
    assert forgotten.returncode != 0
    assert "bundles/amd64.pyz" in forgotten.stderr


def test_the_folder_is_read_by_other_tools_under_its_name(
    made: Made, image_storage: Storage
) -> None:
    pulled: subprocess.CompletedProcess[str] = image_storage.buildah(
        "pull", "--quiet", f"oci:{made.layout.path}:{made.tag}"
    )
    assert pulled.returncode == 0, pulled.stderr
