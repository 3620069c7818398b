"""The program that does one conversion job: `python -m edgepack.build.convert.worker JOB.json`.

It writes its result and `outcome.json` into the job's directory. What crashes it is its
parent's to name. TensorFlow and ONNX are imported by the modules it picks.
"""

from __future__ import annotations

import os
import resource
import sys
import traceback
from pathlib import Path

from edgepack.build.convert.job import Job, JobKind, Outcome
from edgepack.build.convert.process import last_words
from edgepack.formats.errors import ConversionError


def main(argv: list[str] | None = None) -> int:
    """Does the job of a file.

    Args:
        argv: The job file's path; the process's own argument by default.

    Returns:
        0 when it worked, else the exit code of ConversionError; the reason is in the outcome.
    """
    job = Job.read(Path((argv or sys.argv[1:])[0]))
    # A crash is expected now and then; its core would fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        outcome = _do(job)
    except ConversionError as error:
        outcome = Outcome(failure=error.message)
    except Exception as error:  # noqa: BLE001 - converters raise anything; all of it is a result
        traceback.print_exc()
        words = last_words(str(error)) or type(error).__name__
        outcome = Outcome(failure=f"converter failed: {words}")
    outcome.write(job.out)
    sys.stdout.flush()
    sys.stderr.flush()
    # Skips the libraries' own shutting down, which can take seconds or crash.
    os._exit(0 if outcome.failure is None else ConversionError.exit_code)


def _do(job: Job) -> Outcome:
    if job.kind is JobKind.GRAPH:
        from edgepack.build.convert.graph import write_graphs

        return write_graphs(job)
    if job.kind is JobKind.TFLITE:
        from edgepack.build.convert.tflite import write_tflite

        return write_tflite(job)
    if job.kind is JobKind.FLOAT_TWIN:
        from edgepack.build.convert.tflite import write_float_twin

        return write_float_twin(job)
    if job.kind is JobKind.ONNX_BASE:
        from edgepack.build.convert.onnx_export import write_onnx_base

        return write_onnx_base(job)
    if job.kind is JobKind.ONNX:
        from edgepack.build.convert.onnx_variant import write_onnx

        return write_onnx(job)
    from edgepack.build.convert.reference import write_reference

    return write_reference(job)


if __name__ == "__main__":
    sys.exit(main())
