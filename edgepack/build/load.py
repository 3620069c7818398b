"""A user's own model file in place of a project: `.keras`, `.h5`, SavedModel or `.onnx`.

What a file is, its content says; its name only helps to explain a mistake. TensorFlow runs in
a process of its own (`edgepack.build.load_worker`). It is not aware of variants. Used by the
pipeline.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.build.artifacts import Gate, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.load_onnx import read_onnx
from edgepack.build.process import run_limited
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import ConfigError, ConversionError, Problem
from edgepack.formats.tensors import TensorSpec

_SUFFIXES = (".keras", ".h5", ".hdf5", ".onnx", ".tflite", ".pb", ".npz")
_LOAD_VERSION = 1
_TIMEOUT_S = 600.0
_MEMORY_BYTES = 8 * 2**30
_KINDS = "a .keras, .h5 or .onnx file or a SavedModel folder"


class ModelFile(StrEnum):
    """What a model file is, and the name it has in a model's directory."""

    KERAS = "model.keras"
    H5 = "model.h5"
    SAVED_MODEL = "saved_model"
    ONNX = "model.onnx"


def looks_like_model(path: Path) -> bool:
    """Whether `--model` names a file of the user's and not a model project."""
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    return path.is_file() or path.suffix.lower() in _SUFFIXES


def user_model_name(path: Path) -> str:
    """Returns the name that a user's model file gets, such as `my_model` for `My model.keras`."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", path.stem).strip("_").lower() or "model"


def load_user_model(
    path: Path, samples: Path | None, cache: Cache, gate: Gate | None = None
) -> TrainedModel:
    """Takes a user's model into the cache, ready to be converted.

    Args:
        path: The file, or the SavedModel's folder.
        samples: An npz with one array [n, ...] for each input, named as the input; with one
            input the name does not matter.
        cache: Keeps a copy, so that nothing changes under a build.
        gate: What its variants must keep; the default gate for tensors if None.

    Returns:
        A model of kind `tensor`.

    Raises:
        ConfigError: No such file, or samples that are missing or do not fit, all named.
        ConversionError: The file is not a model, or cannot be loaded.
    """
    found = detect(path)
    if samples is None:
        raise ConfigError(
            f"{path.name} has no data of its own to be judged by",
            hint="--samples FILE.npz with one array of real inputs for each model input, [n, ...]",
        )
    arrays = _read_samples(samples)
    key = {
        "load": _LOAD_VERSION,
        "model": _content_hash(path),
        "samples": sha256_hex(samples.read_bytes()),
    }
    folder = cache.get_or_make(
        "user-model", key, lambda draft: _take(path, found, samples, arrays, draft)
    )
    facts = json.loads((folder / "model.json").read_text())
    samples_path = folder / "samples.npz"
    return TrainedModel(
        name=user_model_name(path),
        version=facts["sha256"][:8],
        kind="tensor",
        architecture="unknown",
        directory=folder,
        model_path=folder / found.value,
        sha256=facts["sha256"],
        samples_path=samples_path,
        samples_sha256=sha256_hex(samples_path.read_bytes()),
        gate=gate or Gate(),
    )


def detect(path: Path) -> ModelFile:
    """Tells what a file is from its content.

    Raises:
        ConfigError: There is nothing there.
        ConversionError: It is not a model edgepack reads; says what it seems to be.
    """
    if path.is_dir():
        return ModelFile.SAVED_MODEL
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ConfigError(
            f"the model file {path} cannot be read: {error.strerror}", hint="check --model"
        ) from error
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return ModelFile.H5
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = set(archive.namelist())
        except zipfile.BadZipFile as error:
            raise _not_a_model(path, f"a damaged or cut-off zip archive ({error})") from error
        if {"config.json", "model.weights.h5"} <= names:
            return ModelFile.KERAS
        raise _not_a_model(path, "a zip archive without config.json and model.weights.h5")
    if head[4:8] == b"TFL3":
        raise _not_a_model(path, "already a TFLite file, which cannot be converted again")
    if not head:
        raise _not_a_model(path, "empty")
    if path.suffix.lower() == ".onnx" or head[:1] == b"\x08":
        # A protobuf has no signature; reading it as ONNX tells.
        return ModelFile.ONNX
    raise _not_a_model(path, f"unknown, its first bytes are {head[:8]!r}")


def check_samples(
    arrays: Mapping[str, npt.NDArray[Any]], inputs: Sequence[TensorSpec]
) -> list[Problem]:
    """Holds sample inputs against the model's inputs; returns every problem.

    Args:
        arrays: The samples by name; [n, ...] each.
        inputs: The model's inputs, batch first.
    """
    names = [spec.name for spec in inputs]
    problems = [
        Problem(name, "the model has no such input", f"it has {', '.join(names)}")
        for name in arrays
        if name not in names
    ]
    rows = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(rows) != 1 or 0 in rows:
        problems.append(Problem("", f"all arrays need the same rows, at least one; got {rows}"))
    for spec in inputs:
        if spec.name not in arrays:
            problems.append(Problem(spec.name, "no samples for this input"))
            continue
        array = arrays[spec.name]
        wanted, got = spec.shape[1:], array.shape[1:]
        fits = len(wanted) == len(got) and all(
            w in (-1, g) for w, g in zip(wanted, got, strict=True)
        )
        if not fits:
            problems.append(
                Problem(spec.name, f"got shape {list(got)} a row, expected {list(wanted)}")
            )
        if not np.can_cast(array.dtype, np.dtype(spec.dtype), casting="same_kind"):
            problems.append(Problem(spec.name, f"got {array.dtype}, expected {spec.dtype}"))
    return problems


def _take(
    path: Path,
    found: ModelFile,
    samples: Path,
    arrays: Mapping[str, npt.NDArray[Any]],
    draft: Path,
) -> None:
    copy = draft / found.value
    if found is ModelFile.ONNX:
        inputs = read_onnx(path, copy)
    elif found is ModelFile.SAVED_MODEL:
        shutil.copytree(path, copy)
        inputs = _inspect(path, copy)
    else:
        shutil.copyfile(path, copy)
        inputs = _inspect(path, copy)
    named = dict(arrays)
    if len(inputs) == len(named) == 1:
        named = {inputs[0].name: next(iter(named.values()))}
    if problems := check_samples(named, inputs):
        raise ConfigError.from_problems(str(samples), problems, hint="mend the --samples file")
    ordered = {spec.name: named[spec.name].astype(spec.dtype) for spec in inputs}
    np.savez(draft / "samples.npz", **ordered)  # type: ignore[arg-type]
    facts = {"sha256": _content_hash(copy), "inputs": [spec.to_json() for spec in inputs]}
    (draft / "model.json").write_text(json.dumps(facts))


def _inspect(path: Path, copy: Path) -> list[TensorSpec]:
    """Lets TensorFlow say what a model's inputs are, in a process of its own."""
    result = run_limited(
        [sys.executable, "-m", "edgepack.build.load_worker", copy],
        timeout_s=_TIMEOUT_S,
        memory_bytes=_MEMORY_BYTES,
    )
    if not result.ok:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise ConversionError(
            f"{path} cannot be loaded: TensorFlow {result.describe()}"
            f"{': ' + lines[-1].strip() if lines else ''}",
            hint="layers of your own must be exported as a SavedModel or as ONNX",
        )
    described = json.loads(result.stdout.splitlines()[-1])
    return [TensorSpec.from_json(each, where="input") for each in described]


def _read_samples(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("one array, not an archive of named arrays")  # noqa: TRY004
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"the samples {path} cannot be read: {error}",
            hint="write them with numpy.savez(FILE, input_name=array)",
        ) from error


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _not_a_model(path: Path, what: str) -> ConversionError:
    return ConversionError(f"{path} is not a model edgepack reads: {what}", hint=f"give {_KINDS}")
