"""The manifest survives its trip, and refuses what does not hold together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgepack.formats.canonical import canonical_json
from edgepack.formats.errors import BundleError
from edgepack.formats.manifest import (
    Candidate,
    ExternalWheel,
    FileRecord,
    Manifest,
    ModelInfo,
    RuntimeInfo,
    TargetInfo,
    parse_manifest,
)
from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Format, Precision, RuntimeName


def make_manifest() -> Manifest:
    """A small manifest with something in every field."""
    model_file = FileRecord("models/tflite-fp32.tflite", "1" * 64, 3, 0o644)
    golden_file = FileRecord("golden/tflite-fp32.json", "2" * 64, 5, 0o644)
    return Manifest(
        model=ModelInfo(
            "session", "1.0.0", "recommender", "sasrec", "3" * 64, 20, 10, 30, 217, "4" * 64
        ),
        target=TargetInfo(
            "arm64", "5" * 64, "aarch64", "linux", "2.36", "3.11", 1024, "cortex-a72", ("fp",), 50.0
        ),
        runtime=RuntimeInfo(
            RuntimeName.LITERT, "2.3.0", (), (ExternalWheel("w", "1", "w.whl", "6" * 64),)
        ),
        candidates=(
            Candidate(
                "tflite-fp32",
                Format.TFLITE,
                Precision.FP32,
                model_file.path,
                model_file.sha256,
                model_file.size,
                (TensorSpec("history", "int32", (1, 20)),),
                (TensorSpec("scores", "float32", (1, 30)),),
                golden_file.path,
                {"ndcg": 0.25},
            ),
        ),
        reason="the smallest",
        files=(golden_file, model_file),
        popular=("sku-1",),
        reference={"history_length": {"1": 4}},
        provenance={"tensorflow": "2.21.0"},
    )


def test_a_manifest_is_read_back_the_same() -> None:
    manifest = make_manifest()
    again = parse_manifest(manifest.to_bytes())
    assert again == manifest
    assert again.id == manifest.id


def test_what_was_not_tuned_says_nothing_of_options_and_what_was_is_read_back() -> None:
    plain = make_manifest()
    assert b'"options"' not in plain.to_bytes()
    options = EngineOptions(2, spinning=True)
    tuned = replace(plain, candidates=(replace(plain.candidates[0], options=options),))
    assert parse_manifest(tuned.to_bytes()) == tuned


def test_fields_of_a_later_writer_are_ignored() -> None:
    value = json.loads(make_manifest().to_bytes())
    value["model"]["colour"] = "red"
    value["later"] = {"x": 1}
    assert parse_manifest(canonical_json(value)) == make_manifest()


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("format", to=2), "has format 2; this edgepack reads up to 1"),
        (_set("format", to="1"), r"manifest\.format: got str, expected an integer"),
        (_set("candidates", to=[]), "the list is empty"),
        (_set("candidates", 0, "sha256", to="9" * 64), "does not list with that hash"),
        (_set("candidates", 0, "golden", to="golden/other.json"), "does not list"),
        (_set("candidates", 0, "precision", to="int3"), "expected one of fp32"),
        (_set("candidates", 0, "options", to={"threads": 0}), r"options\.threads: 0 is below 1"),
        (_set("candidates", 0, "options", to=[1]), r"options: got a list"),
        (_set("candidates", 0, "inputs", 0, "shape", to=[1, "x"]), r"shape\[1\]: got str"),
        (_set("files", 0, "size", to=-1), "at least 0"),
        (_set("files", 0, "size", to=True), "got bool"),
        (_set("files", 0, "sha256", to="zz"), "expected a SHA-256"),
        (_set("files", 1, "path", to="golden/tflite-fp32.json"), "listed twice"),
        (_set("model", "kind", to="poem"), "expected recommender or tensor"),
        (_set("model", "top_k", to=None), "a recommender needs"),
        (_set("runtime", "name", to="tensorrt"), "expected one of litert"),
        (_set("target", to=[]), "manifest.target: got list"),
    ],
)
def test_a_wrong_field_is_named(change: Callable[[dict[str, Any]], None], words: str) -> None:
    value = json.loads(make_manifest().to_bytes())
    change(value)
    with pytest.raises(BundleError, match=words):
        parse_manifest(canonical_json(value))


def test_a_missing_field_is_named() -> None:
    value = json.loads(make_manifest().to_bytes())
    del value["target"]["glibc"]
    with pytest.raises(BundleError, match=r"manifest\.target\.glibc: missing"):
        parse_manifest(canonical_json(value))


def test_a_candidate_is_found_by_name_and_the_first_is_the_chosen_one() -> None:
    manifest = make_manifest()
    second = replace(manifest.candidates[0], variant="tflite-fp16")
    both = replace(manifest, candidates=(*manifest.candidates, second))
    assert both.candidate().variant == "tflite-fp32"
    assert both.candidate("tflite-fp16") is second
    with pytest.raises(BundleError, match="no candidate 'onnx-fp32'; it has tflite-fp32"):
        both.candidate("onnx-fp32")


def _batched(manifest: Manifest, rows: int, first: int = -1) -> Manifest:
    (candidate,) = manifest.candidates
    inputs, outputs = (
        tuple(replace(each, shape=(first, *each.shape[1:])) for each in specs)
        for specs in (candidate.inputs, candidate.outputs)
    )
    batched = replace(candidate, max_batch=rows, inputs=inputs, outputs=outputs)
    return replace(manifest, candidates=(batched,))


def test_a_candidate_says_how_many_rows_a_call_takes() -> None:
    manifest = _batched(make_manifest(), 64)
    assert parse_manifest(manifest.to_bytes()) == manifest
    assert manifest.to_json()["candidates"][0]["max_batch"] == 64


def test_a_batch_of_one_is_not_written_down() -> None:
    assert "max_batch" not in make_manifest().to_json()["candidates"][0]
    assert parse_manifest(make_manifest().to_bytes()).candidates[0].max_batch == 1


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (_batched(make_manifest(), 8, first=1), "the first extent of history, scores is not -1"),
        (_batched(make_manifest(), 0), "max_batch: got 0, expected at least 1"),
    ],
)
def test_a_batch_that_does_not_hold_together_is_refused(manifest: Manifest, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        parse_manifest(manifest.to_bytes())
