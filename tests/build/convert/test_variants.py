"""The way down a variant's ladder, with a simulator of the conversion processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgepack.build.artifacts import ConvertedVariant, Gate, SilentProgress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.convert import convert_variants, reference_outputs
from edgepack.build.convert.job import Job, JobKind, Outcome
from edgepack.build.convert.process import Limits
from edgepack.build.convert.recipes import Form
from edgepack.build.process import ChildResult
from edgepack.formats.errors import ConversionError
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import VariantSpec, parse_variant_name

HISTORY = TensorSpec("history", "int32", (1, 20))
TIMED_OUT = -1
#: What a simulated job does: None for success, words for a refusal, a number for a signal.
Behaviour = Callable[[Job], str | int | None]


@dataclass
class SimulatedConverter:
    """Writes what the real worker writes, and fails where it is told to."""

    recurrent_steps: int = 0
    behaviour: Behaviour = lambda job: None
    jobs: list[tuple[JobKind, str, Form]] = field(default_factory=list)
    batched: list[bool] = field(default_factory=list)
    base_notes: str = ""

    def __call__(self, job: Job, limits: Limits) -> ChildResult:
        self.jobs.append((job.kind, job.spec.name if job.spec else "", job.form))
        self.batched.append(job.batched)
        result = self.behaviour(job)
        if isinstance(result, str):
            Outcome(failure=result).write(job.out)
            return _ended(5)
        if result == TIMED_OUT:
            return _ended(-9, timed_out=True, elapsed_s=limits.timeout_s)
        if isinstance(result, int):
            return _ended(-result)
        self._write(job)
        return _ended(0)

    def _write(self, job: Job) -> None:
        if job.kind is JobKind.GRAPH:
            forms = [Form.ROLLED, Form.UNROLLED] if self.recurrent_steps else [Form.PLAIN]
            for form in forms:
                (job.out / form).mkdir()
        elif job.kind is JobKind.ONNX_BASE:
            (job.out / "base.onnx").write_bytes(b"base")
        elif job.kind is JobKind.REFERENCE:
            (job.out / "reference.npz").write_bytes(b"npz")
        elif job.spec is not None:
            (job.out / job.spec.file_name).write_bytes(f"{job.spec.name} {job.form}".encode())
        notes = self.base_notes if job.kind is JobKind.ONNX_BASE else ""
        steps = self.recurrent_steps
        Outcome(inputs=(HISTORY,), recurrent_steps=steps, notes=notes).write(job.out)

    def count(self, kind: JobKind) -> int:
        return sum(each[0] is kind for each in self.jobs)


def _ended(returncode: int, *, timed_out: bool = False, elapsed_s: float = 1.0) -> ChildResult:
    return ChildResult(returncode, timed_out, False, "", "", 0, elapsed_s)


@pytest.fixture(autouse=True)
def _tools_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def _model(tmp_path: Path, file: str = "model.keras") -> TrainedModel:
    return TrainedModel(
        name="shop",
        version="1.0.0",
        kind="recommender",
        architecture="sasrec",
        directory=tmp_path,
        model_path=tmp_path / file,
        sha256="m",
        samples_path=tmp_path / "samples.npz",
        samples_sha256="s",
        gate=Gate(),
        sequence_length=20,
        top_k=20,
        graph_top_k=40,
    )


def _convert(
    model: TrainedModel, cache: Cache, converter: SimulatedConverter, *names: str
) -> list[ConvertedVariant]:
    specs: Sequence[VariantSpec] = [parse_variant_name(name) for name in names]
    return convert_variants(model, specs, cache, runner=converter)


def test_variants_come_in_the_order_they_were_asked_for(tmp_path: Path, cache: Cache) -> None:
    names = ("onnx-fp32", "tflite-fp16", "tflite-fp32")
    converter = SimulatedConverter()
    variants = _convert(_model(tmp_path), cache, converter, *names)
    assert [each.spec.name for each in variants] == list(names)
    assert all(each.failure is None and each.size_bytes and each.sha256 for each in variants)
    assert converter.count(JobKind.GRAPH) == converter.count(JobKind.ONNX_BASE) == 1


def test_a_crash_on_one_rung_is_followed_by_the_next(tmp_path: Path, cache: Cache) -> None:
    converter = SimulatedConverter(
        recurrent_steps=20, behaviour=lambda job: 11 if job.form is Form.UNROLLED else None
    )
    (variant,) = _convert(_model(tmp_path), cache, converter, "tflite-static-int8")
    assert variant.failure is None
    assert variant.notes == "rolled; unrolled failed: converter crashed with SIGSEGV"
    assert variant.path is not None
    assert variant.path.read_bytes() == b"tflite-static-int8 rolled"


def test_the_first_rung_that_works_ends_the_climb(tmp_path: Path, cache: Cache) -> None:
    converter = SimulatedConverter(recurrent_steps=20)
    (variant,) = _convert(_model(tmp_path), cache, converter, "tflite-static-int8")
    assert variant.notes == "unrolled"
    assert converter.count(JobKind.TFLITE) == 1


def test_when_every_rung_fails_each_reason_is_given(tmp_path: Path, cache: Cache) -> None:
    converter = SimulatedConverter(
        recurrent_steps=20,
        behaviour=lambda job: (
            None
            if job.spec is None
            else ("TFLite has no operator for Erfinv" if job.form is Form.UNROLLED else 11)
        ),
    )
    (variant,) = _convert(_model(tmp_path), cache, converter, "tflite-static-int8")
    assert variant.path is None
    assert variant.failure == (
        "unrolled: TFLite has no operator for Erfinv; rolled: converter crashed with SIGSEGV"
    )


def test_one_variants_crash_leaves_the_others_alone(tmp_path: Path, cache: Cache) -> None:
    converter = SimulatedConverter(
        behaviour=lambda job: 11 if job.spec and job.spec.precision == "static-int8" else None
    )
    variants = _convert(
        _model(tmp_path), cache, converter, "tflite-fp32", "tflite-static-int8", "onnx-fp32"
    )
    assert [each.failure is None for each in variants] == [True, False, True]


def test_a_model_that_cannot_be_read_fails_every_variant_with_the_reason(
    tmp_path: Path, cache: Cache
) -> None:
    converter = SimulatedConverter(behaviour=lambda job: "Keras cannot read model.keras")
    variants = _convert(_model(tmp_path), cache, converter, "tflite-fp32", "onnx-fp32")
    assert {each.failure for each in variants} == {"Keras cannot read model.keras"}
    assert converter.count(JobKind.TFLITE) == 0


def test_a_failure_is_kept(tmp_path: Path, cache: Cache) -> None:
    converter = SimulatedConverter(behaviour=lambda job: 11 if job.spec else None)
    first = _convert(_model(tmp_path), cache, converter, "tflite-fp32")
    jobs = len(converter.jobs)
    again = _convert(_model(tmp_path), cache, converter, "tflite-fp32")
    assert again[0].failure == first[0].failure == "converter crashed with SIGSEGV"
    assert len(converter.jobs) == jobs


def test_a_time_out_is_tried_again(tmp_path: Path, cache: Cache) -> None:
    slow = SimulatedConverter(behaviour=lambda job: TIMED_OUT if job.spec else None)
    (variant,) = _convert(_model(tmp_path), cache, slow, "tflite-fp32")
    assert variant.failure is not None
    assert "time limit" in variant.failure
    (variant,) = _convert(_model(tmp_path), cache, SimulatedConverter(), "tflite-fp32")
    assert variant.failure is None


def test_a_finished_variant_starts_no_process_and_takes_no_time(
    tmp_path: Path, cache: Cache
) -> None:
    _convert(_model(tmp_path), cache, SimulatedConverter(), "tflite-fp32", "onnx-fp32")
    idle = SimulatedConverter()
    variants = _convert(_model(tmp_path), cache, idle, "tflite-fp32", "onnx-fp32")
    assert idle.jobs == []
    assert [each.elapsed_s for each in variants] == [0.0, 0.0]


def test_an_onnx_file_has_no_way_to_tflite(tmp_path: Path, cache: Cache) -> None:
    converter = SimulatedConverter()
    model = _model(tmp_path, "model.onnx")
    tflite, onnx = _convert(model, cache, converter, "tflite-fp32", "onnx-fp32")
    assert tflite.failure is not None
    assert "cannot become TFLite" in tflite.failure
    assert onnx.failure is None
    assert converter.count(JobKind.GRAPH) == 0


def test_progress_moves_once_for_each_variant(tmp_path: Path, cache: Cache) -> None:
    class Counting(SilentProgress):
        total: float | None = 0
        moved = 0
        finished = 0

        def start(self, task: str, total: float | None = None) -> None:
            self.total = total

        def advance(self, task: str, amount: float = 1, note: str = "") -> None:
            self.moved += 1

        def finish(self, task: str) -> None:
            self.finished += 1

    progress = Counting()
    specs = [parse_variant_name(name) for name in ("tflite-fp32", "tflite-fp16")]
    convert_variants(_model(tmp_path), specs, cache, progress=progress, runner=SimulatedConverter())
    assert (progress.total, progress.moved, progress.finished) == (2, 2, 1)


def test_an_interrupt_lets_nothing_more_start(tmp_path: Path, cache: Cache) -> None:
    started: list[str] = []
    lock = threading.Lock()

    def interrupted(job: Job, _: Limits) -> ChildResult:
        with lock:
            started.append(job.kind)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_variants(
            _model(tmp_path),
            [parse_variant_name("tflite-fp32"), parse_variant_name("tflite-fp16")],
            cache,
            jobs=1,
            runner=interrupted,
        )
    assert started == [JobKind.GRAPH]
    assert not list((cache.root / "tmp").iterdir())


def test_reference_answers_that_cannot_be_had_say_why(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(ConversionError, match="Keras cannot read"):
        reference_outputs(
            _model(tmp_path),
            cache,
            runner=SimulatedConverter(behaviour=lambda job: "Keras cannot read model.keras"),
        )


def test_reference_answers_are_made_once(tmp_path: Path, cache: Cache) -> None:
    converter = SimulatedConverter()
    paths = {reference_outputs(_model(tmp_path), cache, runner=converter) for _ in range(2)}
    assert len(paths) == 1
    assert converter.count(JobKind.REFERENCE) == 1


def test_files_with_and_without_a_batch_are_made_once_each(tmp_path: Path, cache: Cache) -> None:
    converter = SimulatedConverter()
    specs = [parse_variant_name(name) for name in ("onnx-fp32", "onnx-fp16")]
    model = _model(tmp_path)
    for _ in range(2):
        found = convert_variants(model, specs, cache, runner=converter, batched=specs[:1])
        asked = [(each.spec.name, each.batched) for each in found]
        assert asked == [("onnx-fp32", False), ("onnx-fp16", False), ("onnx-fp32", True)]
    assert converter.count(JobKind.ONNX_BASE) == 2
    assert converter.count(JobKind.ONNX) == 3


def test_a_variant_that_rounds_by_the_call_is_made_with_a_batch_of_one(
    tmp_path: Path, cache: Cache
) -> None:
    converter = SimulatedConverter()
    spec = parse_variant_name("onnx-dynamic-int8")
    (found,) = convert_variants(_model(tmp_path), [], cache, runner=converter, batched=[spec])
    assert (found.batched, found.takes_rows) == (True, False)
    assert "rounds by the whole call" in found.fixed_because
    assert not any(converter.batched)


def test_why_a_model_has_no_batch_is_said_with_each_of_its_variants(
    tmp_path: Path, cache: Cache
) -> None:
    converter = SimulatedConverter(base_notes="batch 1: the first extent of x is fixed")
    spec = parse_variant_name("onnx-fp32")
    fixed, found = convert_variants(
        _model(tmp_path), [spec], cache, runner=converter, batched=[spec]
    )
    assert found.fixed_because == "batch 1: the first extent of x is fixed"
    assert found.explained("it runs") == f"it runs; {found.fixed_because}"
    assert fixed.explained("it runs") == "it runs"
