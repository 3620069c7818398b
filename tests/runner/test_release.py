from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepack.formats.errors import BundleError
from edgepack.runner.release import load_release
from tests.runner.simulators import ITEMS, write_release

_MODEL = "models/tflite-dynamic-int8.tflite"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", [_MODEL, "vocabulary.json", "golden/tflite-dynamic-int8.json"])
def test_one_flipped_bit_is_found_before_the_file_is_used(tmp_path: Path, name: str) -> None:
    write_release(tmp_path)
    _flip(tmp_path / name)
    with pytest.raises(BundleError, match="SHA-256"):
        load_release(tmp_path)


@pytest.mark.parametrize("name", [_MODEL, "vocabulary.json", "golden/tflite-dynamic-int8.json"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    write_release(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="expected"):
        load_release(tmp_path)


@pytest.mark.parametrize("name", [_MODEL, "vocabulary.json", "golden/tflite-dynamic-int8.json"])
def test_a_longer_file_is_refused_without_reading_it_all(tmp_path: Path, name: str) -> None:
    write_release(tmp_path)
    with (tmp_path / name).open("ab") as file:
        file.write(b" " * 100)
    with pytest.raises(BundleError):
        load_release(tmp_path)


@pytest.mark.parametrize("name", [_MODEL, "vocabulary.json", "manifest.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_release(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BundleError, match=Path(name).name):
        load_release(tmp_path)


def _edit(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def test_a_vocabulary_of_another_model_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path)

    def other(document: dict[str, object]) -> None:
        model = document["model"]
        assert isinstance(model, dict)
        model["vocabulary_sha256"] = "c" * 64

    _edit(tmp_path / "manifest.json", other)
    with pytest.raises(BundleError, match="the model was made with"):
        load_release(tmp_path)


def test_a_path_out_of_the_release_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace(_MODEL, "../../etc/passwd"))
    with pytest.raises(BundleError, match="outside the release"):
        load_release(tmp_path)


def test_an_unknown_candidate_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    write_release(tmp_path)
    with pytest.raises(BundleError, match="it has tflite-dynamic-int8"):
        load_release(tmp_path, "onnx-fp32")


def test_a_whole_release_loads(tmp_path: Path) -> None:
    manifest = write_release(tmp_path)
    release = load_release(tmp_path)
    assert release.id == manifest.id
    assert release.vocabulary is not None
    assert release.vocabulary.items == ITEMS
    assert release.model_path.read_bytes() == b"simulated model"


def test_a_tensor_release_needs_no_vocabulary(tmp_path: Path) -> None:
    write_release(tmp_path, kind_tensor=True)
    assert load_release(tmp_path).vocabulary is None
