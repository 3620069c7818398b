"""Finds out what a variant loses in which layer, and where its time goes.

The work is done by processes, each answer about damage is kept in the cache, and a layer that
crashes the runtime is a row with its reason. It is not aware of TensorFlow, LiteRT or ONNX.
Used by the command line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

from edgepack.build.artifacts import ConvertedVariant, Progress, SilentProgress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.convert import Limits, float_twin
from edgepack.build.convert.process import last_words, tool_versions, worker_environment
from edgepack.build.explain.explanation import Explanation
from edgepack.build.explain.gather import Answers, gather
from edgepack.build.explain.job import ANSWER, LAYERS, ExplainJob, Question
from edgepack.build.process import ChildResult, run_limited
from edgepack.formats.errors import ConversionError
from edgepack.formats.variants import Format

#: Runs a job and says how its process ended; replaced by a simulator in tests.
Runner = Callable[[ExplainJob, Limits], ChildResult]

#: Gives the folder of a variant's fp32 twin.
Twin = Callable[[TrainedModel, ConvertedVariant, Cache], Path]

#: Raised when an answer's meaning changes, so that caches do not serve the older one.
_ANSWERS_VERSION: Final = 1
_TASK: Final = "Quantising one layer at a time"
#: What opening files and the answer in hand may take beyond the time for layers.
_GRACE_S: Final = 300.0
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is found out.

    Attributes:
        rows: The most held-out inputs to use.
        seconds: The most time for the layers' damage; the most suspicious come first.
        timing_s: Time for measuring latency; 0 leaves it out.
        by_operator: Take every operator as a layer of its own.
    """

    rows: int = 1000
    seconds: float = 120.0
    timing_s: float = 5.0
    by_operator: bool = False


def explain(
    model: TrainedModel,
    variant: ConvertedVariant,
    cache: Cache,
    settings: Settings | None = None,
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
    runner: Runner | None = None,
    twin: Twin = float_twin,
) -> Explanation:
    """Looks into one variant.

    Args:
        model: The model.
        variant: One that was converted.
        cache: Keeps everything but the timing.
        settings: How much is found out.
        limits: What one process may take; its time is that of the settings and some more.
        progress: Told of each layer.
        runner: Starts the processes.
        twin: Gives the fp32 graph the variant was made from.

    Raises:
        ConversionError: The variant could not be made, its fp32 twin neither, or the two have
            nothing in common.
    """
    if variant.path is None:
        raise ConversionError(f"{variant.spec.name} could not be made: {variant.failure}")
    progress = progress or SilentProgress()
    job, key = _job(model, variant, twin(model, variant, cache), settings or Settings())
    asking = _Asking(job, key, cache, limits or Limits(), progress, runner or start_worker)
    progress.start("Looking at every tensor")
    look = asking.look()
    progress.finish("Looking at every tensor")
    timing, reason = asking.time()
    damages = asking.damages(look)
    answers = Answers(look, damages, timing, reason)
    return gather(model, variant, answers)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked, and how long the timing of it may take."""

    job: ExplainJob
    timing_s: float


def start_worker(job: ExplainJob, limits: Limits) -> ChildResult:
    """The runner of a real call: `python -m edgepack.build.explain.worker`."""
    path = job.out / "job.json"
    job.write(path)
    return run_limited(
        [sys.executable, "-m", "edgepack.build.explain.worker", path],
        timeout_s=job.seconds + _GRACE_S,
        memory_bytes=limits.memory_bytes,
        env=worker_environment(),
    )


def _job(
    model: TrainedModel, variant: ConvertedVariant, folder: Path, settings: Settings
) -> tuple[_Job, dict[str, Any]]:
    """Returns the question about a variant, and what its answers depend on."""
    if variant.path is None:
        raise AssertionError("a variant that was made has a file")
    stem = "twin" if variant.spec.format is Format.TFLITE else "base"
    job = ExplainJob(
        question=Question.LOOK,
        format=variant.spec.format,
        twin=folder / f"{stem}{variant.spec.format.suffix}",
        names=folder / f"{stem}.names.json",
        variant=variant.path,
        samples=model.samples_path,
        ranks=model.kind == "recommender",
        rows=settings.rows,
        by_operator=settings.by_operator,
        seconds=settings.seconds,
    )
    key = {
        "answers": _ANSWERS_VERSION,
        "twin": folder.name,
        "variant": variant.sha256,
        "samples": model.samples_sha256,
        "rows": settings.rows,
        "by_operator": settings.by_operator,
        "tools": tool_versions(),
    }
    return _Job(job, settings.timing_s), key


class _Asking:
    """One variant's questions."""

    def __init__(
        self,
        asked: _Job,
        key: dict[str, Any],
        cache: Cache,
        limits: Limits,
        progress: Progress,
        runner: Runner,
    ) -> None:
        self._job = asked.job
        self._timing_s = asked.timing_s
        self._key = key
        self._cache = cache
        self._limits = limits
        self._progress = progress
        self._runner = runner

    def look(self) -> dict[str, Any]:
        """Returns the layers, the tensors' errors and what the whole variant loses."""

        def make(draft: Path) -> None:
            answer, ended = self._ask(replace(self._job, out=draft))
            if answer is None or "failure" in answer:
                said = (answer or {}).get("failure") or ended
                raise ConversionError(f"{self._job.variant.stem} cannot be looked into: {said}")

        folder = self._cache.get_or_make("explain-look", self._key, make)
        found: dict[str, Any] = json.loads((folder / ANSWER).read_text())
        return found

    def time(self) -> tuple[dict[str, Any] | None, str]:
        """Returns the layers' times, or why there are none. A time is never kept."""
        if not self._timing_s:
            return None, "not asked for"
        self._progress.start("Timing the layers")
        with self._cache.temporary_directory("explain-") as out:
            seconds = self._timing_s
            job = replace(self._job, question=Question.TIME, seconds=seconds, out=out)
            answer, ended = self._ask(job)
        self._progress.finish("Timing the layers")
        if answer is None or "failure" in answer:
            return None, str((answer or {}).get("failure") or ended)
        return answer, ""

    def damages(self, look: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Returns what each quantised layer costs; one that time did not allow is left out."""
        found: dict[str, dict[str, Any]] = {}
        waiting = []
        for name in suspects(look):
            kept = self._cache.find("explain-layer", {**self._key, "layer": name})
            if kept is None:
                waiting.append(name)
            else:
                found[name] = json.loads((kept / ANSWER).read_text())
        self._progress.start(_TASK, len(found) + len(waiting))
        if found:
            self._progress.advance(_TASK, len(found))
        deadline = monotonic() + self._job.seconds
        while waiting and (left := deadline - monotonic()) > 0:
            said, crashed = self._some(waiting, left)
            found |= said
            waiting = [name for name in waiting if name not in said]
            if crashed is None:
                break
        self._progress.finish(_TASK)
        return found

    def _some(
        self, layers: Sequence[str], seconds: float
    ) -> tuple[dict[str, dict[str, Any]], str | None]:
        """Asks about layers until the time or a process is over.

        Returns:
            The answers, and the layer that the process died of, if it did.
        """
        found: dict[str, dict[str, Any]] = {}
        with self._cache.temporary_directory("explain-") as out, ThreadPoolExecutor(1) as pool:
            job = replace(
                *(self._job,),
                question=Question.DAMAGE,
                layers=tuple(layers),
                seconds=seconds,
                out=out,
            )
            asked = pool.submit(self._ask, job)
            began = None
            done = False
            while not done:
                try:
                    asked.result(timeout=_POLL_S)
                    done = True
                except TimeoutError:
                    done = asked.done()
                lines = _lines(out / LAYERS)
                began = next((line["began"] for line in lines[::-1] if "began" in line), None)
                for line in lines:
                    if (name := line.get("layer")) is not None and name not in found:
                        found[name] = line
                        self._keep(name, line)
            answer, ended = asked.result()
        if answer is not None or began is None or began in found:
            return found, None
        found[began] = {"layer": began, "failure": ended}
        self._progress.advance(_TASK)
        return found, began

    def _keep(self, name: str, line: dict[str, Any]) -> None:
        def make(draft: Path) -> None:
            (draft / ANSWER).write_text(json.dumps(line))

        self._cache.get_or_make("explain-layer", {**self._key, "layer": name}, make)
        self._progress.advance(_TASK)

    def _ask(self, job: ExplainJob) -> tuple[dict[str, Any] | None, str]:
        """Returns a worker's answer, None where it died before it gave one, and its end."""
        result = self._runner(job, self._limits)
        path = job.out / ANSWER
        words = last_words(result.stderr)
        ended = f"the runtime {result.describe()}{': ' if words else ''}{words}"
        return (json.loads(path.read_text()) if path.is_file() else None), ended


def suspects(look: dict[str, Any]) -> list[str]:
    """Returns the quantised layers, those whose tensors lose most by themselves first."""
    worst: dict[str, float] = {}
    for tensor in look["tensors"]:
        figures = tensor["figures"]
        loss = figures["own_sqnr_db"]
        loss = figures["sqnr_db"] if loss is None else loss
        if loss is not None:
            worst[tensor["layer"]] = min(worst.get(tensor["layer"], loss), loss)
    names = [layer["name"] for layer in look["layers"] if layer["quantised"]]
    return sorted(names, key=lambda name: worst.get(name, 0.0))


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    # The last line may be half written.
    whole = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole]
