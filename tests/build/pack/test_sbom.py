from __future__ import annotations

import json
import uuid
from typing import Any

from edgepack.build.pack.sbom import Component, build_sbom
from edgepack.formats.manifest import ExternalWheel
from tests.bundles import draft_manifest, release_files
from tests.cyclonedx_schema import schema_problems

NUMPY = Component("numpy", "2.4.6", "a" * 64, "BSD-3-Clause AND MIT")
PSUTIL = Component("PS_util", "7.2.2", "b" * 64, "Some licence of their own\nand its text")


def document(*components: Component, model: bytes = b"a model", **more: Any) -> dict[str, Any]:
    manifest = draft_manifest(release_files(model), **more)
    found: dict[str, Any] = json.loads(build_sbom(manifest, components))
    return found


NUMPY_PART = {"type": "library", "name": "numpy", "version": "2.4.6"}


def by_name(sbom: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in sbom["components"]}


def test_the_same_bundle_has_the_same_document_whatever_the_order() -> None:
    assert document(NUMPY, PSUTIL) == document(PSUTIL, NUMPY)


def test_another_model_has_another_serial_number() -> None:
    one, two = document(), document(model=b"another")
    assert one["serialNumber"] != two["serialNumber"]
    assert str(uuid.UUID(one["serialNumber"].removeprefix("urn:uuid:"))) in one["serialNumber"]


def test_the_model_every_wheel_and_edgepack_are_listed_with_hashes() -> None:
    parts = by_name(document(NUMPY, PSUTIL))
    assert set(parts) == {"session/tflite-fp32", "edgepack", "numpy", "PS_util"}
    model = parts["session/tflite-fp32"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["alg"] == "SHA-256"
    assert parts["numpy"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert parts["numpy"]["purl"] == "pkg:pypi/numpy@2.4.6"
    assert parts["PS_util"]["purl"] == "pkg:pypi/ps-util@7.2.2"


def test_only_listed_licences_are_given_as_identifiers() -> None:
    parts = by_name(document(NUMPY, PSUTIL, Component("a", "1", "c" * 64, "MIT")))
    assert parts["numpy"]["licenses"] == [{"expression": "BSD-3-Clause AND MIT"}]
    assert parts["PS_util"]["licenses"] == [{"license": {"name": "Some licence of their own"}}]
    assert parts["a"]["licenses"] == [{"license": {"id": "MIT"}}]
    for nothing in (None, "", " \n", "unknown"):
        part = by_name(document(Component("b", "1", "d" * 64, nothing)))["b"]
        assert "licenses" not in part


def test_a_wheel_the_box_brings_is_listed_as_such() -> None:
    wheel = ExternalWheel("onnxruntime-gpu", "1.32.0", "x.whl", "e" * 64)
    part = by_name(document(external=(wheel,)))["onnxruntime-gpu"]
    assert part["properties"][0]["name"] == "edgepack:source"


def test_every_reference_is_unique_and_depended_on() -> None:
    sbom = document(NUMPY, PSUTIL)
    refs = [part["bom-ref"] for part in sbom["components"]]
    assert len(set(refs)) == len(refs)
    assert sbom["dependencies"][0]["dependsOn"] == sorted(refs)


def test_the_document_is_what_the_published_schema_says() -> None:
    brought = ExternalWheel("onnxruntime-gpu", "1.32.0", "x.whl", "e" * 64)
    plain = Component("a", "1", "c" * 64, "MIT")
    assert schema_problems(document(NUMPY, PSUTIL, plain, external=(brought,))) == []


def test_the_schema_would_say_so() -> None:
    sbom = document(NUMPY)
    assert schema_problems({**sbom, "serialNumber": "7"})
    broken = {**NUMPY_PART, "licenses": [{"expression": "BSD-3-Clause AND Mine"}]}
    assert schema_problems({**sbom, "components": [broken]})
    broken = {**NUMPY_PART, "licenses": [{"license": {"id": "Mine"}}]}
    assert schema_problems({**sbom, "components": [broken]})
