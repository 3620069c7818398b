"""Simulators with the real interfaces: an engine, a clock, a transport, an installed release."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from edgepack.formats.errors import DeviceError
from edgepack.formats.golden import GoldenSequence, GoldenSet, GoldenTensors, TensorValue
from edgepack.formats.manifest import (
    Candidate,
    FileRecord,
    Manifest,
    ModelInfo,
    RuntimeInfo,
    TargetInfo,
)
from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Format, Precision, RuntimeName
from edgepack.formats.vocabulary import Vocabulary
from edgepack.runner.clock import Clock
from edgepack.runner.engines.contract import Array, check_inputs
from edgepack.runner.recommender import Recommender
from edgepack.runner.release import Release, load_release
from edgepack.runner.reports.delivery import Delivery, Verdict

SEQUENCE_LENGTH = 5
TOP_K = 10
CATALOGUE = 40
GRAPH_TOP_K = TOP_K + SEQUENCE_LENGTH
ITEMS = tuple(f"sku-{i}" for i in range(1, CATALOGUE + 1))
POPULAR = tuple(f"sku-{i}" for i in range(CATALOGUE, CATALOGUE - 20, -1))
HISTORIES = (("sku-3", "sku-7"), ("sku-20",), tuple(f"sku-{i}" for i in range(1, 9)))


class HandClock:
    """A clock that moves only when it is told to, or by `step_ns` with every look."""

    def __init__(self, step_ns: int = 0) -> None:
        self.now_ns = 1_000_000
        self.step_ns = step_ns
        self.wall = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
        self.slept: list[float] = []

    def monotonic_ns(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns

    def utc_now(self) -> datetime:
        return self.wall + timedelta(microseconds=self.now_ns / 1000)

    def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        self.now_ns += int(duration_s * 1e9)


class SimulatedEngine:
    """An engine whose "model" prefers items whose index is near the most recent one's."""

    def __init__(
        self,
        *,
        clock: HandClock | None = None,
        call_ns: int | Sequence[int] = 0,
        length: int = SEQUENCE_LENGTH,
        catalogue: int = CATALOGUE,
        graph_top_k: int = GRAPH_TOP_K,
        batched: bool = False,
        row_ns: int = 0,
    ) -> None:
        rows = -1 if batched else 1
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("history", "int32", (rows, length)),)
        self.outputs: tuple[TensorSpec, ...] = (
            TensorSpec("Identity", "int32", (rows, graph_top_k)),
            TensorSpec("Identity_1", "float32", (rows, graph_top_k)),
        )
        #: The rows of each call.
        self.called: list[int] = []
        #: A call with this item in any of its rows fails.
        self.deadly: int | None = None
        #: A row whose last item is this one is answered with numbers that are none.
        self.senseless: int | None = None
        #: Whether a row's scores depend on the other rows of the call.
        self.mixes = False
        self.batch_sizes: tuple[int, ...] | None = None
        self._row_ns = row_ns
        self.name = "litert"
        self.version = "0.0-simulated"
        self.provider = "simulator"
        self.threads = 1
        self.fallback: str | None = None
        self.options = EngineOptions()
        self.calls = 0
        self.failing: str | None = None
        self.poison: float | None = None
        self.closed = False
        self._clock = clock
        self._call_ns = [call_ns] if isinstance(call_ns, int) else list(call_ns)
        self._catalogue = catalogue
        self._graph_top_k = graph_top_k

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        check_inputs(self.inputs, inputs)
        if self.failing is not None:
            raise DeviceError(self.failing)
        rows = len(inputs[0])
        if self._clock is not None:
            self._clock.now_ns += self._call_ns[self.calls % len(self._call_ns)]
            self._clock.now_ns += rows * self._row_ns
        self.calls += 1
        self.called.append(rows)
        if self.deadly is not None and (inputs[0] == self.deadly).any():
            raise DeviceError(f"item {self.deadly} is too much for it")
        pairs = [self._rank(int(row[-1]), rows) for row in inputs[0]]
        return [np.stack(each) for each in zip(*pairs, strict=True)]

    def fall_back(self, call_ns: int, row_ns: int = 0) -> None:
        """Computes elsewhere from now on, as a card's engine does that failed."""
        self.provider, self.fallback = "simulated CPU", "the simulated card failed"
        self.batch_sizes = None
        self._call_ns, self._row_ns = [call_ns], row_ns

    def _rank(self, last: int, rows: int) -> tuple[Array, Array]:
        indices = np.arange(1, self._catalogue + 1)
        scores = (10 - np.abs(indices - last) - indices * 1e-3).astype(np.float32)
        if last == self.senseless:
            scores[:] = np.nan
        if self.mixes:
            scores += np.float32(rows)
        if self.poison is not None:
            scores[0] = self.poison
        order = np.argsort(-scores, kind="stable")[: self._graph_top_k]
        return indices[order].astype(np.int32), scores[order]

    def close(self) -> None:
        self.closed = True


class SimulatedTensorEngine:
    """An engine that doubles one float vector."""

    def __init__(self, batched: bool = False) -> None:
        rows = -1 if batched else 1
        self.inputs = (TensorSpec("x", "float32", (rows, 3)),)
        self.outputs = (TensorSpec("y", "float32", (rows, 3)),)
        self.name = "litert"
        self.version = "0.0-simulated"
        self.provider = "simulator"
        self.threads = 1
        self.fallback: str | None = None
        self.options = EngineOptions()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        check_inputs(self.inputs, inputs)
        return [np.multiply(inputs[0], 2, dtype=np.float32)]

    def close(self) -> None:
        pass


class SimulatedHub:
    """A report receiver (a `Transport`) that can be down, refuse, or forget to answer.

    Attributes:
        reports: What was taken, once each.
        posts: The id of every report that came, in order, second copies as well.
        verdicts: The next answers; after them it accepts.
        down: Whether nothing comes through at all.
        retry_after_s: What an answer that is no acceptance says when to come again.
    """

    def __init__(self) -> None:
        self.reports: dict[str, bytes] = {}
        self.posts: list[str] = []
        self.verdicts: list[Verdict] = []
        self.down = False
        self.retry_after_s: float | None = None
        self.cancelled = False

    def send(self, report_id: str, data: bytes) -> Delivery:
        if self.down:
            return Delivery(Verdict.UNREACHABLE, "simulated: no route to host")
        self.posts.append(report_id)
        verdict = self.verdicts.pop(0) if self.verdicts else Verdict.ACCEPTED
        if verdict is Verdict.ACCEPTED:
            self.reports[report_id] = data
            return Delivery(verdict, "simulated: accepted")
        return Delivery(verdict, f"simulated: {verdict}", self.retry_after_s)

    def cancel(self) -> None:
        self.cancelled = True


def golden_of(engine: SimulatedEngine, length: int = SEQUENCE_LENGTH) -> GoldenSet:
    """The golden set this engine itself gives."""
    vocabulary = Vocabulary(ITEMS)
    sequences = []
    for history in HISTORIES:
        indices, _ = vocabulary.encode(history, length)
        found, scores = engine.run([np.array([indices], dtype=np.int32)])
        items = tuple(vocabulary.item_at(int(i)) for i in found[0, :TOP_K])
        sequences.append(
            GoldenSequence(tuple(history), items, tuple(float(s) for s in scores[0, :TOP_K]))
        )
    return GoldenSet(tolerance=1e-3, sequences=tuple(sequences))


def golden_tensors() -> GoldenSet:
    """The golden set of the simulated tensor engine."""
    value = TensorValue("x", "float32", (1, 3), (1.0, 2.0, 3.0))
    answer = TensorValue("y", "float32", (1, 3), (2.0, 4.0, 6.0))
    return GoldenSet(tolerance=1e-3, tensors=(GoldenTensors((value,), (answer,)),))


def write_release(
    directory: Path,
    *,
    golden: GoldenSet | None = None,
    model: bytes = b"simulated model",
    runtime: RuntimeName = RuntimeName.LITERT,
    kind_tensor: bool = False,
    max_batch: int = 1,
) -> Manifest:
    """Lays out a release as an install does, and returns its manifest."""
    batched = max_batch > 1
    reference = SimulatedTensorEngine(batched) if kind_tensor else SimulatedEngine(batched=batched)
    if golden is None:
        golden = golden_tensors() if kind_tensor else golden_of(SimulatedEngine())
    onnx = runtime in (RuntimeName.ONNXRUNTIME, RuntimeName.ONNXRUNTIME_GPU)
    kind = Format.ONNX if onnx else Format.TFLITE
    name = f"{kind}-dynamic-int8"
    vocabulary = Vocabulary(ITEMS)
    contents = {
        f"golden/{name}.json": golden.to_bytes(),
        f"models/{name}{kind.suffix}": model,
    }
    if not kind_tensor:
        contents["vocabulary.json"] = vocabulary.to_bytes()
    records = []
    for path, data in sorted(contents.items()):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
        records.append(FileRecord(path, hashlib.sha256(data).hexdigest(), len(data), 0o644))
    candidate = Candidate(
        variant=name,
        format=kind,
        precision=Precision.DYNAMIC_INT8,
        file=f"models/{name}{kind.suffix}",
        sha256=hashlib.sha256(model).hexdigest(),
        size=len(model),
        inputs=reference.inputs,
        outputs=reference.outputs,
        golden=f"golden/{name}.json",
        max_batch=max_batch,
    )
    info = ModelInfo("session", "1.2.0", "recommender", "sasrec", "a" * 64)
    if kind_tensor:
        info = replace(info, name="doubler", kind="tensor", architecture="unknown")
    else:
        info = replace(
            info,
            sequence_length=SEQUENCE_LENGTH,
            top_k=TOP_K,
            graph_top_k=GRAPH_TOP_K,
            catalogue_size=CATALOGUE,
            vocabulary_sha256=vocabulary.sha256,
        )
    manifest = Manifest(
        model=info,
        target=TargetInfo("arm64", "b" * 64, "aarch64", "linux", "2.36", "3.11", 1024, "max"),
        runtime=RuntimeInfo(runtime, "2.3.0"),
        candidates=(candidate,),
        reason="the smallest that passed",
        files=tuple(records),
        popular=() if kind_tensor else POPULAR,
    )
    (directory / "manifest.json").write_bytes(manifest.to_bytes())
    return manifest


def simulated_release(directory: Path, *, kind_tensor: bool = False, max_batch: int = 1) -> Release:
    """A release on disk, loaded."""
    write_release(directory, kind_tensor=kind_tensor, max_batch=max_batch)
    return load_release(directory)


def simulated_recommender(
    directory: Path, engine: SimulatedEngine | None, clock: Clock | None = None
) -> Recommender:
    """A recommender over the simulated engine."""
    release = simulated_release(directory)
    assert release.vocabulary is not None
    return Recommender(release.manifest, release.vocabulary, engine, clock or HandClock())
