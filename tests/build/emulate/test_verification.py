"""How a run on the target ended, in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.build.emulate.root import RootUnavailableError
from edgepack.build.emulate.verification import (
    Verification,
    VerifyStatus,
    hash_release,
    host_python,
    judge,
    not_run,
    parse_report,
    verify_on_target,
)
from edgepack.build.process import ChildResult
from edgepack.build.targets.find import load_target
from edgepack.formats.errors import Problem

FINE = json.dumps({"ok": True, "variant": "v", "problems": [], "sequences": 8})


def ended(
    code: int = 0,
    stdout: str = "",
    stderr: str = "",
    *,
    timed_out: bool = False,
    memory_exceeded: bool = False,
) -> ChildResult:
    return ChildResult(code, timed_out, memory_exceeded, stdout, stderr, 900 * 2**20, 12.0)


def judged(result: ChildResult, *, emulated: bool = True) -> Verification:
    target = load_target("arm64")
    return judge(result, target, target.runtime("onnxruntime"), emulated=emulated)


def test_golden_answers_are_the_only_success() -> None:
    verdict = judged(ended(stdout=f"noise\n{FINE}\n"))
    assert verdict.ok
    assert verdict.reason == "onnxruntime 1.32.0 runs it on cortex-a72 (emulated)"
    assert (verdict.emulated, verdict.cpu, verdict.elapsed_s) == (True, "cortex-a72", 12.0)
    assert judged(ended(stdout=FINE), emulated=False).cpu == "host"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (ended(132), ["illegal instruction on cortex-a72", "onnxruntime 1.32.0", "SIGILL"]),
        (ended(-4), ["illegal instruction on cortex-a72"]),
        (ended(139), ["crashed with SIGSEGV", "cortex-a72"]),
        (ended(-9, timed_out=True), ["stopped after 12 s, its time limit"]),
        (ended(-9, memory_exceeded=True), ["stopped at 900 MiB, its memory limit"]),
        (
            ended(1, stderr="Traceback\nImportError: libgomp.so.1: cannot open shared object file"),
            ["cannot be loaded on", "libgomp.so.1"],
        ),
        (
            ended(1, stderr="ImportError: /lib/libc.so.6: version `GLIBC_2.38' not found\nlast"),
            ["cannot be loaded on", "GLIBC_2.38"],
        ),
        (
            ended(6, stdout=json.dumps({"ok": False, "problems": ["item b, not a", "more"]})),
            ["item b, not a and 1 more"],
        ),
        (
            ended(8, stdout=json.dumps({"ok": False, "problems": ["cannot load the model"]})),
            ["onnxruntime 1.32.0 on cortex-a72 (emulated): cannot load the model"],
        ),
        (ended(3, stderr="something else"), ["ended with status 3: something else"]),
        (ended(0), ["ended without a report"]),
        (ended(0, stdout="[1]"), ["ended without a report"]),
        (ended(5, stdout=FINE), ["ended with status 5"]),
    ],
)
def test_every_other_end_is_a_failure_with_its_name(result: ChildResult, words: list[str]) -> None:
    verdict = judged(result)
    assert verdict.status is VerifyStatus.FAILED
    for each in words:
        assert each in verdict.reason


def test_a_report_is_the_last_line_or_nothing() -> None:
    assert parse_report(f"{{}}\n{FINE}") == json.loads(FINE)
    assert parse_report("") is None
    assert parse_report("not json") is None
    assert parse_report("5") is None


def test_the_manifests_record_holds_no_times() -> None:
    verdict = judged(ended(stdout=FINE))
    assert set(verdict.to_json()) == {"status", "reason", "emulated", "cpu"}
    assert verdict.to_json()["status"] == "runs"


def test_without_an_environment_it_is_not_run_and_says_what_to_install(tmp_path: Path) -> None:
    problem = Problem("mmdebstrap", "is not installed", "apt install mmdebstrap")
    verdict = not_run(RootUnavailableError("aarch64", [problem]))
    assert verdict.status is VerifyStatus.NOT_RUN
    assert "apt install mmdebstrap" in verdict.reason
    target = load_target("arm64")
    foreign = "aarch64" if host_python(target) else "arm64"
    if foreign == "arm64":
        again = verify_on_target(
            target, target.runtimes[0], tmp_path, "v", root=None, cache=Cache(tmp_path / "cache")
        )
        assert again.status is VerifyStatus.NOT_RUN
        assert "no aarch64 environment with Python 3.11" in again.reason


def test_a_release_is_told_apart_by_its_files_and_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.py").write_text("a = 1")
    plain = hash_release(tmp_path)
    (tmp_path / "site" / "a.py").write_text("a = 2")
    assert hash_release(tmp_path) != plain
    (tmp_path / "manifest.json").write_text("{}")
    first = hash_release(tmp_path)
    (tmp_path / "manifest.json").write_text("{ }")
    second = hash_release(tmp_path)
    (tmp_path / "site" / "b.py").write_text("")
    assert len({plain, first, second, hash_release(tmp_path)}) == 4
