"""How a conversion's failure is named, and which failures are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgepack.build.convert.job import Job, JobKind, Outcome
from edgepack.build.convert.process import (
    Limits,
    NotKeptError,
    describe_failure,
    last_words,
    run_job,
    worker_environment,
)
from edgepack.build.convert.recipes import Form
from edgepack.build.process import ChildResult
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Format, Precision, VariantSpec


def ended(**changes: Any) -> ChildResult:
    values: dict[str, Any] = {
        "returncode": 0,
        "timed_out": False,
        "memory_exceeded": False,
        "stdout": "",
        "stderr": "",
        "peak_rss_bytes": 2**20,
        "elapsed_s": 1.0,
    }
    return ChildResult(**{**values, **changes})


def _job(out: Path) -> Job:
    return Job(JobKind.GRAPH, out / "model.keras", out, out / "samples.npz")


def test_a_signal_is_named_and_the_log_before_it_is_not_blamed() -> None:
    result = ended(returncode=-11, stderr="Converting the model\n")
    assert describe_failure(result) == "converter crashed with SIGSEGV"


def test_the_converters_last_meaningful_line_is_shown() -> None:
    log = (
        "Traceback (most recent call last):\n"
        '  File "/x/y.py", line 3, in f\n'
        "RuntimeError: Max and min for dynamic tensors should be recorded\n"
        "I0000 00:00:1 port.cc:153] oneDNN custom operations are on\n"
        "\n"
    )
    assert describe_failure(ended(returncode=1, stderr=log)) == (
        "converter ended with status 1: RuntimeError: Max and min for dynamic tensors should be "
        "recorded"
    )


def test_a_silent_end_still_has_a_reason() -> None:
    assert describe_failure(ended(returncode=3)) == "converter ended with status 3"


def test_a_very_long_line_is_shortened() -> None:
    words = last_words("x" * 5000)
    assert len(words) == 300
    assert words.endswith("…")


def test_a_crash_leaves_an_outcome_that_can_be_kept(tmp_path: Path) -> None:
    outcome = run_job(_job(tmp_path), Limits(), lambda *_: ended(returncode=-6))
    assert outcome.failure == "converter crashed with SIGABRT"
    assert Outcome.read(tmp_path) == outcome


def test_a_crash_after_the_work_makes_the_result_worthless(tmp_path: Path) -> None:
    def crash(job: Job, _: Limits) -> ChildResult:
        Outcome().write(job.out)
        return ended(returncode=-11)

    assert run_job(_job(tmp_path), Limits(), crash).failure == "converter crashed with SIGSEGV"


def test_the_workers_own_words_win(tmp_path: Path) -> None:
    def refuse(job: Job, _: Limits) -> ChildResult:
        Outcome(failure="TFLite has no operator for Erfinv").write(job.out)
        return ended(returncode=5, stderr="noise")

    outcome = run_job(_job(tmp_path), Limits(), refuse)
    assert outcome.failure == "TFLite has no operator for Erfinv"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (ended(returncode=-9, timed_out=True, elapsed_s=900.0), "900 s, its time limit"),
        (ended(returncode=-9, memory_exceeded=True), "memory limit"),
        (ended(returncode=-9), "SIGKILL"),
        (ended(returncode=-15), "SIGTERM"),
    ],
)
def test_what_depends_on_the_machine_is_not_kept(
    tmp_path: Path, result: ChildResult, words: str
) -> None:
    with pytest.raises(NotKeptError) as caught:
        run_job(_job(tmp_path), Limits(), lambda *_: result)
    assert words in caught.value.failure


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    job = Job(
        kind=JobKind.TFLITE,
        source=tmp_path / "graph" / "unrolled",
        out=tmp_path,
        samples=tmp_path / "samples.npz",
        graph_top_k=40,
        form=Form.UNROLLED,
        spec=VariantSpec(Format.TFLITE, Precision.STATIC_INT8),
    )
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job


def test_an_outcome_survives_its_file(tmp_path: Path) -> None:
    outcome = Outcome(
        inputs=(TensorSpec("history", "int32", (1, 20)),),
        outputs=(TensorSpec("scores", "float32", (1, 40)),),
        notes="integer products",
        recurrent_steps=20,
        repeated_weights=12_288,
        rest_weights=640_064,
    )
    outcome.write(tmp_path)
    assert Outcome.read(tmp_path) == outcome


def test_a_worker_sees_no_gpu_and_repeats_itself() -> None:
    environment = worker_environment()
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment["PYTHONHASHSEED"] == "0"
    package = Path(environment["PYTHONPATH"].split(":")[0])
    assert (package / "edgepack" / "build" / "convert" / "worker.py").is_file()
