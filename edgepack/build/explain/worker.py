"""The program that looks into a variant: `python -m edgepack.build.explain.worker JOB.json`.

It writes its answer into the job's folder, about layers one by one, so that what a crash or the
end of its time leaves is kept. The modules it picks import LiteRT or ONNX Runtime, never
TensorFlow.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from edgepack.build.convert.process import last_words
from edgepack.build.explain.damage import damage
from edgepack.build.explain.job import ANSWER, LAYERS, ExplainJob, Question
from edgepack.build.explain.onnx_subject import OnnxSubject
from edgepack.build.explain.subject import Rows, rows_of
from edgepack.build.explain.tflite_subject import TfliteSubject
from edgepack.formats.errors import ConversionError
from edgepack.formats.variants import Format

#: Errors of tensors settle long before those of rankings.
_ERROR_ROWS = 200


def main(argv: list[str] | None = None) -> int:
    """Answers the question of a file.

    Args:
        argv: The job file's path; the process's own argument by default.

    Returns:
        0 when it worked, else the exit code of ConversionError; the reason is in the answer.
    """
    job = ExplainJob.read(Path((argv or sys.argv[1:])[0]))
    # A crash is expected now and then; its core would fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = _answer(job)
    except ConversionError as error:
        answer = {"failure": error.message}
    except Exception as error:  # noqa: BLE001 - runtimes raise anything; all of it is an answer
        traceback.print_exc()
        answer = {"failure": last_words(str(error)) or type(error).__name__}
    (job.out / ANSWER).write_text(json.dumps(answer))
    sys.stdout.flush()
    sys.stderr.flush()
    # Skips the libraries' own shutting down, which can take seconds or crash.
    os._exit(0 if "failure" not in answer else ConversionError.exit_code)


def _answer(job: ExplainJob) -> dict[str, Any]:
    kind = TfliteSubject if job.format is Format.TFLITE else OnnxSubject
    subject = kind(job.twin, job.names, job.variant, by_operator=job.by_operator)
    with np.load(job.samples, allow_pickle=False) as archive:
        samples = {name: archive[name] for name in archive.files}
    rows = rows_of(samples, subject.inputs, job.rows)
    if job.question is Question.LOOK:
        return _look(job, subject, rows)
    if job.question is Question.TIME:
        return _time(job, subject, rows[:_ERROR_ROWS])
    return _damage(job, subject, rows)


def _look(job: ExplainJob, subject: TfliteSubject | OnnxSubject, rows: Rows) -> dict[str, Any]:
    layers = subject.layers()
    expected = subject.run(subject.mixed(()), rows)
    found = subject.run(job.variant.read_bytes(), rows)
    every = {layer.name for layer in layers}
    again = subject.run(subject.mixed(every), rows)
    return {
        "layers": [asdict(layer) for layer in layers],
        "tensors": [asdict(each) for each in subject.tensors(_spread(rows))],
        "whole": damage(expected, found, ranks=job.ranks).to_json(),
        # What the parts put together again lose of the variant itself: 0 where all were found.
        "apart": damage(found, again, ranks=job.ranks).to_json(),
        "rows": len(rows),
    }


def _time(job: ExplainJob, subject: TfliteSubject | OnnxSubject, rows: Rows) -> dict[str, Any]:
    if isinstance(subject, TfliteSubject):
        from edgepack.build.explain.tflite_timing import time_layers

        timing = time_layers(subject.variant, subject.variant_layers(), rows, seconds=job.seconds)
    else:
        from edgepack.build.explain.onnx_timing import time_layers as time_nodes

        timing = time_nodes(subject, job.variant, rows, job.out, seconds=job.seconds)
    return {"timing": timing.to_json(), "machine": machine()}


def _damage(job: ExplainJob, subject: TfliteSubject | OnnxSubject, rows: Rows) -> dict[str, Any]:
    deadline = monotonic() + job.seconds
    every = {layer.name for layer in subject.layers() if layer.quantised}
    expected = subject.run(subject.mixed(()), rows)
    size = len(subject.mixed(every))
    with (job.out / LAYERS).open("a", encoding="utf-8") as stream:

        def say(value: dict[str, Any]) -> None:
            stream.write(json.dumps(value) + "\n")
            stream.flush()

        for name in job.layers:
            if monotonic() > deadline:
                break
            # Where the runtime dies of it, the host sees which layer it was.
            say({"began": name})
            try:
                alone = subject.run(subject.mixed({name}), rows)
                kept = subject.mixed(every - {name})
                without = subject.run(kept, rows)
            except (ConversionError, ValueError, RuntimeError) as error:
                say({"layer": name, "failure": last_words(str(error)) or type(error).__name__})
                continue
            say(
                {
                    "layer": name,
                    "alone": damage(expected, alone, ranks=job.ranks).to_json(),
                    "without": damage(expected, without, ranks=job.ranks).to_json(),
                    "growth_bytes": len(kept) - size,
                }
            )
    return {"rows": len(rows)}


def _spread(rows: Rows) -> Rows:
    places = np.unique(np.linspace(0, len(rows) - 1, min(_ERROR_ROWS, len(rows))).astype(int))
    return [rows[i] for i in places]


def machine() -> str:
    """Returns this machine in words: its processor and architecture."""
    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() in ("model name", "hardware", "model"):
                model = value.strip() if not value.strip().isdigit() else model
                if name.strip().lower() == "model name":
                    break
    except OSError:
        model = ""
    return f"{model or 'unknown processor'}, {platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
