"""Grows a release's catalogue to any number of items, with random weights.

The graph stays the one that edgepack exported, with its top-k in stages; the item table, what
belongs to it and the vocabulary become larger, and the golden answers are made anew on the CPU.
So a benchmark of a million items needs no training and no TensorFlow, only `numpy`, `onnx` and
ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.formats.golden import GoldenSequence, GoldenSet
from edgepack.formats.manifest import Candidate, FileRecord, Manifest, parse_manifest
from edgepack.formats.variants import Format
from edgepack.formats.vocabulary import Vocabulary

_SEED = 2026
_HISTORIES = 8
#: Two runtimes add up in different orders, and half precision has ten bits.
_TOLERANCE_SHARE = 0.02
_READABLE = 0o644


def grow_release(release: Path, items: int, out: Path, session: Any) -> Path:
    """Writes a release folder with a larger catalogue.

    Args:
        release: A release of a recommender with ONNX candidates.
        items: Items of the new catalogue.
        out: Where it is written; the folder must not exist.
        session: `onnxruntime.InferenceSession`, to make the golden answers with.

    Returns:
        `out`.

    Raises:
        ValueError: The release has a candidate that is not ONNX, or no item table is found.
    """
    manifest = parse_manifest((release / "manifest.json").read_bytes())
    old, width = manifest.model.catalogue_size, manifest.model.sequence_length
    if old is None or width is None or manifest.model.top_k is None:
        raise ValueError(f"{release} is no recommender's")
    vocabulary = Vocabulary(tuple(f"i{number}" for number in range(1, items + 1)))
    files = {"vocabulary.json": vocabulary.to_bytes()}
    candidates = []
    for candidate in manifest.candidates:
        if candidate.format is not Format.ONNX:
            raise ValueError(f"{candidate.variant} is not an ONNX file")
        model = staged(grow_onnx((release / candidate.file).read_bytes(), old, items))
        golden = _golden(session(model), width, manifest.model.top_k, vocabulary)
        files[candidate.file], files[candidate.golden] = model, golden.to_bytes()
        candidates.append(_described(candidate, model))
    grown = replace(
        manifest,
        model=replace(manifest.model, catalogue_size=items, vocabulary_sha256=vocabulary.sha256),
        candidates=tuple(candidates),
        popular=vocabulary.items[: len(manifest.popular)],
        reference={},
        files=tuple(_record(path, data) for path, data in sorted(files.items())),
    )
    _write(grown, files, out)
    return out


def keep_candidate(release: Path, variant: str, out: Path) -> Path:
    """Writes a release folder with one of a release's candidates; its files are links.

    So the runner's choice is left to it, and is between ways to run the same file.

    Args:
        release: The release.
        variant: Its candidate.
        out: Where it is written; the folder must not exist.

    Returns:
        `out`.
    """
    manifest = parse_manifest((release / "manifest.json").read_bytes())
    kept = manifest.candidate(variant)
    others = [each for each in manifest.candidates if each is not kept]
    dropped = {path for each in others for path in (each.file, each.golden)}
    files = tuple(each for each in manifest.files if each.path not in dropped)
    for each in files:
        (out / each.path).parent.mkdir(parents=True, exist_ok=True)
        os.link(release / each.path, out / each.path)
    alone = replace(manifest, candidates=(kept,), files=files)
    (out / "manifest.json").write_bytes(alone.to_bytes())
    return out


def grow_onnx(model: bytes, old: int, items: int, seed: int = _SEED) -> bytes:
    """Returns a recommender's ONNX file with a larger item table.

    Args:
        model: The file.
        old: Its catalogue's size.
        items: The size it is to have.
        seed: Of the random weights.

    Raises:
        ValueError: No initializer has a row for each item.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(model)
    order = np.random.default_rng(seed)
    tables = 0
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if old + 1 in array.shape:
            tables += 1
            # A scale for each item belongs to a quantised table and stays a scale.
            grown = _grown(array, old + 1, items + 1, order)
        elif array.dtype.kind == "i" and array.size == 1 and int(array.reshape(())) == old + 1:
            grown = np.full_like(array, items + 1)
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(grown, tensor.name))
    if not tables:
        raise ValueError(f"no table of {old + 1} rows in the graph")
    # Extents that were inferred for the small table would contradict the large one.
    del proto.graph.value_info[:]
    grown_model: bytes = proto.SerializeToString()
    return grown_model


def staged(model: bytes) -> bytes:
    """Returns a file whose top-k goes in stages, as `edgepack build` makes it for a card."""
    import onnx

    from edgepack.build.convert.onnx_topk import stage_top_k

    proto = onnx.load_from_string(model)
    stage_top_k(proto)
    made: bytes = proto.SerializeToString()
    return made


def random_histories(count: int, length: int, items: int) -> npt.NDArray[np.int32]:
    """Returns int32[count, length] of item indices, padded with 0 on the left, no two the same."""
    order = np.random.default_rng(_SEED + 1)
    histories = order.integers(1, items + 1, (count, length), dtype=np.int32)
    for row, known in enumerate(order.integers(1, length + 1, count)):
        histories[row, : length - known] = 0
    return histories


def _grown(
    array: npt.NDArray[Any], old: int, new: int, order: np.random.Generator
) -> npt.NDArray[Any]:
    """Draws new rows or columns from the values that are there, to be spread as those are."""
    shape = [new if extent == old else extent for extent in array.shape]
    picked = array.reshape(-1)[order.integers(0, array.size, shape)]
    if array.shape[0] == old:
        # Padding has a row of its own.
        picked[0] = array[0]
    return picked


def _golden(session: Any, width: int, top_k: int, vocabulary: Vocabulary) -> GoldenSet:
    histories = random_histories(_HISTORIES, width, len(vocabulary))
    answers = [_ranked(session, row[None]) for row in histories]
    sequences = tuple(
        GoldenSequence(
            history=tuple(vocabulary.item_at(int(i)) for i in row if i > 0),
            items=tuple(vocabulary.item_at(int(i)) for i in items[:top_k]),
            scores=tuple(float(score) for score in scores[:top_k]),
        )
        for row, (scores, items) in zip(histories, answers, strict=True)
    )
    spread = max(max(scores) - min(scores) for scores, _ in answers)
    return GoldenSet(float(f"{_TOLERANCE_SHARE * float(spread):.3g}"), sequences=sequences)


def _ranked(session: Any, history: npt.NDArray[np.int32]) -> tuple[Sequence[Any], Sequence[Any]]:
    first, second = session.run(None, {session.get_inputs()[0].name: history})
    scores, items = (second, first) if first.dtype.kind == "i" else (first, second)
    return scores[0].tolist(), items[0].tolist()


def _described(candidate: Candidate, model: bytes) -> Candidate:
    digest = hashlib.sha256(model).hexdigest()
    return replace(
        candidate, sha256=digest, size=len(model), quality={}, preflight={}, verification={}
    )


def _record(path: str, data: bytes) -> FileRecord:
    return FileRecord(path, hashlib.sha256(data).hexdigest(), len(data), _READABLE)


def _write(manifest: Manifest, files: dict[str, bytes], out: Path) -> None:
    out.mkdir(parents=True)
    for path, data in {**files, "manifest.json": manifest.to_bytes()}.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(data)
