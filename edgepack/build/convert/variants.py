"""Makes every variant of a model, several at a time, each from the cache where it is there.

A failure is a row with a reason and stops nothing. It is not aware of TensorFlow or ONNX: the
work is done by processes. Used by the pipeline.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from edgepack.build.artifacts import (
    NO_NEEDS,
    ConvertedVariant,
    Needs,
    Progress,
    SilentProgress,
    TrainedModel,
)
from edgepack.build.cache import Cache
from edgepack.build.convert.job import Job, JobKind, Outcome
from edgepack.build.convert.process import (
    Limits,
    NotKeptError,
    Runner,
    run_job,
    start_worker,
    tool_versions,
)
from edgepack.build.convert.recipes import (
    RECIPE_VERSION,
    Form,
    ladder,
    rounds_by_batch,
    variant_key,
)
from edgepack.formats.errors import ConversionError, MissingExtraError
from edgepack.formats.variants import Format, VariantSpec

_NO_WAY_TO_TFLITE = (
    "an ONNX file cannot become TFLite; give the Keras model or SavedModel it was exported from"
)
_ROUNDS_BY_BATCH = "batch 1: it rounds by the whole call, so rows would change each other"
_TASK = "Converting"


def convert_variants(
    model: TrainedModel,
    specs: Sequence[VariantSpec],
    cache: Cache,
    *,
    jobs: int = 2,
    limits: Limits | None = None,
    progress: Progress | None = None,
    runner: Runner = start_worker,
    needing: Sequence[tuple[VariantSpec, Needs]] = (),
) -> list[ConvertedVariant]:
    """Converts a model to variants.

    Args:
        model: The model.
        specs: Which variants.
        cache: Keeps finished variants, and failures other than those of a limit.
        jobs: Processes at a time.
        limits: What one process may take.
        progress: Told of each finished variant.
        runner: Starts the processes.
        needing: ONNX variants of which a target needs more. One whose model or precision does
            not allow several rows has a batch of 1, and says why.

    Returns:
        One for each spec in its order, then one for each of `needing`; one that could not be
        made has a `failure`.

    Raises:
        MissingExtraError: TensorFlow or the ONNX tools are not installed.
    """
    wanted = [*((spec, NO_NEEDS) for spec in specs), *needing]
    _check_tools(model, [spec for spec, _ in wanted])
    progress = progress or SilentProgress()
    work = _Conversion(model, cache, limits or Limits(), runner)
    progress.start(_TASK, len(wanted))

    def convert(each: tuple[VariantSpec, Needs]) -> ConvertedVariant:
        spec, needs = each
        variant = work.convert(spec, needs)
        progress.advance(_TASK, note=spec.name)
        return variant

    pool = ThreadPoolExecutor(jobs)
    try:
        # Both start with the slow part, reading the model with TensorFlow.
        first: list[Future[None]] = [pool.submit(work.prepare_graph)] if _is_keras(model) else []
        onnx = [each for each in wanted if each[0].format is Format.ONNX]
        kinds = {needs.rows and not rounds_by_batch(spec) for spec, needs in onnx}
        first += [pool.submit(work.prepare_onnx, in_rows=each) for each in sorted(kinds)]
        for each in first:
            each.result()
        return list(pool.map(convert, wanted))
    except BaseException:
        work.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        progress.finish(_TASK)


def reference_outputs(
    model: TrainedModel,
    cache: Cache,
    *,
    limits: Limits | None = None,
    runner: Runner = start_worker,
) -> Path:
    """Returns the original model's answers to its held-out inputs.

    Args:
        model: The model.
        cache: Keeps the answers.
        limits: What the process may take.
        runner: Starts the process.

    Returns:
        An npz. A recommender's has `out0` float32[n, graph_top_k] scores, descending, and
        `out1` int32[n, graph_top_k] items; a tensor model's one array [n, ...] an output.

    Raises:
        ConversionError: The original could not be run.
    """
    _check_tools(model, ())
    work = _Conversion(model, cache, limits or Limits(), runner)
    try:
        folder, outcome = work.obtain(
            "reference",
            {"samples": model.samples_sha256},
            Job(JobKind.REFERENCE, model.model_path, Path(), model.samples_path),
        )
    except NotKeptError as error:
        raise ConversionError(f"{model.name}: the original's answers: {error.failure}") from error
    if outcome.failure is not None:
        raise ConversionError(f"{model.name}: the original cannot be run: {outcome.failure}")
    return folder / "reference.npz"


def float_twin(
    model: TrainedModel,
    variant: ConvertedVariant,
    cache: Cache,
    *,
    limits: Limits | None = None,
    runner: Runner = start_worker,
) -> Path:
    """Returns the fp32 graph that a variant was made from, with its names.

    Args:
        model: The model.
        variant: One that was converted.
        cache: Keeps the twin.
        limits: What the process may take.
        runner: Starts the process.

    Returns:
        A folder with `twin.tflite` and `twin.names.json`, or with `base.onnx` and
        `base.names.json`.

    Raises:
        ConversionError: The original could not be converted in that form.
    """
    work = _Conversion(model, cache, limits or Limits(), runner)
    try:
        folder, outcome = work.twin(variant.spec, Form(variant.form), variant.needs)
    except NotKeptError as error:
        raise ConversionError(f"{model.name} in fp32: {error.failure}") from error
    if outcome.failure is not None:
        raise ConversionError(f"{model.name} in fp32: {outcome.failure}")
    return folder


class _Conversion:
    """One model's conversions: what they share, and the way down each ladder."""

    def __init__(self, model: TrainedModel, cache: Cache, limits: Limits, runner: Runner) -> None:
        self._model = model
        self._cache = cache
        self._limits = limits
        self._runner = runner
        self._tools = tool_versions()
        self._stopped = threading.Event()

    def convert(self, spec: VariantSpec, needs: Needs) -> ConvertedVariant:
        """Climbs down a variant's ladder until a rung works."""
        if needs.rows and rounds_by_batch(spec):
            fixed = self.convert(spec, replace(needs, rows=False))
            return replace(fixed, needs=needs, fixed_because=_ROUNDS_BY_BATCH)
        started = monotonic()
        if spec.format is Format.TFLITE and not _is_keras(self._model):
            return ConvertedVariant(spec, None, failure=_NO_WAY_TO_TFLITE)
        try:
            graph = self.graph()[1] if _is_keras(self._model) else Outcome()
        except ConversionError as error:
            return ConvertedVariant(spec, None, failure=error.message, needs=needs)
        failures: dict[Form, str] = {}
        fresh = False
        weights = (graph.repeated_weights, graph.rest_weights)
        for form in ladder(spec, graph.recurrent_steps, *weights):
            key = self._variant_key(spec, form, needs)
            fresh = fresh or self._cache.find("variant", key) is None
            found = self._try_rung(spec, form, key, needs)
            if isinstance(found, ConvertedVariant):
                elapsed_s = monotonic() - started if fresh else 0.0
                notes = _notes(form, found.notes, failures)
                return replace(found, notes=notes, elapsed_s=elapsed_s, needs=needs)
            failures[form] = found
        return ConvertedVariant(
            *(spec, None),
            failure=_join(failures),
            elapsed_s=monotonic() - started,
            needs=needs,
        )

    def graph(self) -> tuple[Path, Outcome]:
        """Returns the finished SavedModels, one folder for each form.

        Raises:
            ConversionError: The model could not be read or finished.
        """
        try:
            folder, outcome = self.obtain(
                "graph",
                {"samples": self._model.samples_sha256 if self._model.kind == "tensor" else None},
                Job(JobKind.GRAPH, self._model.model_path, Path(), self._model.samples_path),
            )
        except NotKeptError as error:
            raise ConversionError(error.failure) from error
        if outcome.failure is not None:
            raise ConversionError(outcome.failure)
        return folder, outcome

    def prepare_graph(self) -> None:
        """Makes what the TFLite variants share; a failure shows again when it is used."""
        with contextlib.suppress(ConversionError):
            self.graph()

    def prepare_onnx(self, *, in_rows: bool) -> None:
        """Makes the base of the ONNX variants; a failure shows again when it is used."""
        with contextlib.suppress(NotKeptError):
            self._onnx_base(Form.NATIVE, in_rows=in_rows)

    def obtain(self, kind: str, key: Mapping[str, Any], job: Job) -> tuple[Path, Outcome]:
        """Does a job through the cache.

        Args:
            kind: The cache's folder.
            key: What the result depends on beside the model, its graph and the tools.
            job: What to do; its `out` is filled in here.

        Raises:
            NotKeptError: It failed in a way that another try may not repeat.
        """
        whole = {
            "recipe": RECIPE_VERSION,
            "model": self._model.sha256,
            "graph_top_k": self._model.graph_top_k,
            "tools": self._tools,
            **key,
        }
        return self._through_cache(kind, whole, job)

    def twin(self, spec: VariantSpec, form: Form, needs: Needs) -> tuple[Path, Outcome]:
        """Returns the fp32 graph of a form, with its names.

        Raises:
            ConversionError: The model could not be read or finished.
            NotKeptError: It failed in a way that another try may not repeat.
        """
        if spec.format is Format.ONNX:
            return self._onnx_base(form, in_rows=needs.rows)
        return self.obtain(
            "float-twin",
            {
                "form": str(form),
                "samples": self._model.samples_sha256 if self._model.kind == "tensor" else None,
            },
            Job(
                *(JobKind.FLOAT_TWIN, self.graph()[0] / form, Path(), self._model.samples_path),
                form=form,
            ),
        )

    def stop(self) -> None:
        """Ends the processes that run and lets no other start."""
        self._stopped.set()
        import psutil

        # They lead process groups of their own, so Ctrl-C does not reach them.
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if "edgepack.build.convert.worker" in child.cmdline():
                    child.kill()

    def _try_rung(
        self, spec: VariantSpec, form: Form, key: Mapping[str, Any], needs: Needs
    ) -> ConvertedVariant | str:
        """Returns the variant, or why this form does not work."""
        try:
            source = self._source(spec, form, in_rows=needs.rows)
            if isinstance(source, str):
                return source
            folder, outcome = self._through_cache(
                "variant",
                key,
                Job(
                    *(JobKind(str(spec.format)), source, Path(), self._model.samples_path),
                    form=form,
                    spec=spec,
                    needs=needs,
                ),
            )
        except NotKeptError as error:
            return error.failure
        if outcome.failure is not None:
            return outcome.failure
        path = folder / spec.file_name
        data = path.read_bytes()
        return ConvertedVariant(
            spec=spec,
            path=path,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            inputs=outcome.inputs,
            outputs=outcome.outputs,
            notes=outcome.notes,
            fixed_because=self._fixed_because(form, in_rows=needs.rows),
            form=str(form),
        )

    def _fixed_because(self, form: Form, *, in_rows: bool) -> str:
        """Says why a graph that was to take several rows does not."""
        return self._onnx_base(form, in_rows=True)[1].notes if in_rows else ""

    def _source(self, spec: VariantSpec, form: Form, *, in_rows: bool) -> Path | str:
        if spec.format is Format.TFLITE:
            source = self.graph()[0] / form
            return source if source.is_dir() else f"this model has no {form} form"
        folder, outcome = self._onnx_base(form, in_rows=in_rows)
        return outcome.failure or folder / "base.onnx"

    def _onnx_base(self, form: Form, *, in_rows: bool) -> tuple[Path, Outcome]:
        # Only rows are the base's matter; what a card needs is done to each variant.
        needs = Needs(rows=in_rows)
        return self.obtain(
            "onnx-base",
            {
                **needs.key(),
                "form": str(form),
                # Read for a tensor model's shapes, and to run several rows together.
                "samples": self._model.samples_sha256
                if in_rows or self._model.kind == "tensor"
                else None,
            },
            Job(
                *(JobKind.ONNX_BASE, self._model.model_path, Path(), self._model.samples_path),
                form=form,
                needs=needs,
            ),
        )

    def _variant_key(self, spec: VariantSpec, form: Form, needs: Needs) -> dict[str, Any]:
        return variant_key(
            spec=spec,
            form=form,
            model_sha256=self._model.sha256,
            graph_top_k=self._model.graph_top_k,
            samples_sha256=self._model.samples_sha256,
            tools=self._tools,
            needs=needs,
        )

    def _through_cache(self, kind: str, key: Mapping[str, Any], job: Job) -> tuple[Path, Outcome]:
        def make(draft: Path) -> None:
            if self._stopped.is_set():
                raise NotKeptError("stopped")
            whole = replace(job, out=draft, graph_top_k=self._model.graph_top_k)
            run_job(whole, self._limits, self._runner)

        folder = self._cache.get_or_make(kind, key, make)
        outcome = Outcome.read(folder)
        if outcome is None:
            raise AssertionError(f"{folder} was kept without an outcome")
        return folder, outcome


def _is_keras(model: TrainedModel) -> bool:
    return model.model_path.suffix != Format.ONNX.suffix


def _check_tools(model: TrainedModel, specs: Sequence[VariantSpec]) -> None:
    wanted: Callable[[str], object] = importlib.util.find_spec
    if _is_keras(model) and wanted("tensorflow") is None:
        raise MissingExtraError("tensorflow", "build", f"converting {model.name}")
    if any(spec.format is Format.ONNX for spec in specs) or not _is_keras(model):
        for package in ("onnx", "onnxruntime"):
            if wanted(package) is None:
                raise MissingExtraError(package, "build", f"converting {model.name} to ONNX")


def _notes(form: Form, notes: str, failures: Mapping[Form, str]) -> str:
    parts = [] if form is Form.PLAIN else [str(form)]
    parts += [notes] if notes else []
    parts += [f"{failed} failed: {reason}" for failed, reason in failures.items()]
    return "; ".join(parts)


def _join(failures: Mapping[Form, str]) -> str:
    if len(set(failures.values())) == 1:
        return next(iter(failures.values()))
    return "; ".join(f"{form}: {reason}" for form, reason in failures.items())
