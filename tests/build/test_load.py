"""A user's own file: what it is, and whether the samples fit, before TensorFlow is asked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgepack.build.cache import Cache
from edgepack.build.load import (
    ModelFile,
    check_samples,
    detect,
    load_user_model,
    looks_like_model,
    user_model_name,
)
from edgepack.build.pipeline.model import model_name
from edgepack.build.pipeline.request import ModelRequest
from edgepack.formats.errors import ConfigError, ConversionError
from edgepack.formats.tensors import TensorSpec


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    return path


def test_content_says_what_a_file_is_not_its_name(tmp_path: Path) -> None:
    assert detect(_zip(tmp_path / "a.bin", "config.json", "model.weights.h5")) is ModelFile.KERAS
    assert detect(_write(tmp_path / "b.keras", b"\x89HDF\r\n\x1a\n" + b"0" * 20)) is ModelFile.H5
    assert detect(_write(tmp_path / "c", b"\x08\x09rest of a protobuf")) is ModelFile.ONNX
    assert detect(tmp_path) is ModelFile.SAVED_MODEL


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"import os\nprint()", "unknown, its first bytes are b'import o'"),
        (b"\x1c\x00\x00\x00TFL3" + b"0" * 20, "already a TFLite file"),
    ],
)
def test_a_file_that_is_no_model_says_what_it_seems_to_be(
    tmp_path: Path, data: bytes, words: str
) -> None:
    with pytest.raises(ConversionError, match="is not a model edgepack reads") as caught:
        detect(_write(tmp_path / "model.keras", data))
    assert words in caught.value.message
    assert ".onnx" in str(caught.value.hint)


def test_some_other_zip_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"without config\.json"):
        detect(_zip(tmp_path / "shop.keras", "orders.csv"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.keras cannot be read"):
        detect(tmp_path / "absent.keras")


def test_projects_and_files_are_told_apart(tmp_path: Path) -> None:
    project = tmp_path / "session"
    project.mkdir()
    (project / "model.toml").touch()
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").touch()
    assert not looks_like_model(project)
    assert not looks_like_model(Path("session"))
    assert looks_like_model(saved)
    assert looks_like_model(Path("typo.keras"))


def test_a_model_without_samples_says_how_to_give_them(tmp_path: Path) -> None:
    model = _write(tmp_path / "m.onnx", b"\x08\x09")
    with pytest.raises(ConfigError, match="no data of its own") as caught:
        load_user_model(model, None, Cache(tmp_path / "cache"))
    assert "--samples" in str(caught.value.hint)


@pytest.mark.parametrize("content", [b"not an archive", b""])
def test_samples_that_are_no_npz_are_named(tmp_path: Path, content: bytes) -> None:
    model = _write(tmp_path / "m.onnx", b"\x08\x09")
    samples = _write(tmp_path / "s.npz", content)
    with pytest.raises(ConfigError, match=r"s\.npz cannot be read"):
        load_user_model(model, samples, Cache(tmp_path / "cache"))


IDS = TensorSpec("ids", "int32", (-1, 5))
PRICE = TensorSpec("price", "float32", (-1, 1))


def test_fitting_samples_have_no_problems() -> None:
    arrays = {"ids": np.zeros((4, 5), np.int64), "price": np.zeros((4, 1), np.float64)}
    assert check_samples(arrays, [IDS, PRICE]) == []


def test_every_problem_of_the_samples_is_named_at_once() -> None:
    arrays = {"ids": np.zeros((4, 6), np.float32), "colour": np.zeros((3, 1), np.float32)}
    problems = [str(each) for each in check_samples(arrays, [IDS, PRICE])]
    assert problems == [
        "colour: the model has no such input (it has ids, price)",
        "all arrays need the same rows, at least one; got {3, 4}",
        "ids: got shape [6] a row, expected [5]",
        "ids: got float32, expected int32",
        "price: no samples for this input",
    ]


def test_no_rows_are_a_problem() -> None:
    assert check_samples({"ids": np.zeros((0, 5), np.int32)}, [IDS])


@pytest.mark.parametrize(
    ("path", "name"),
    [("My model (2).keras", "my_model_2"), ("shop/Tills.onnx", "tills"), ("--.h5", "model")],
)
def test_a_model_files_name_is_made_of_letters_digits_and_underscores(path: str, name: str) -> None:
    assert user_model_name(Path(path)) == name


def test_the_name_of_a_builds_model_is_known_before_it_is_loaded_or_trained(
    repository: Path,
) -> None:
    assert model_name(ModelRequest("typo.keras")) == "typo"
    assert model_name(ModelRequest("session", search=(repository / "models",))) == "session"
    with pytest.raises(ConfigError, match="there is no model project 'sesion'"):
        model_name(ModelRequest("sesion", search=(repository / "models",)))
