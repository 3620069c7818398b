"""Child processes under limits: every way to end becomes a value with a name."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from edgepack.build.process import run_limited
from edgepack.formats.errors import MissingToolError


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_and_status_come_back() -> None:
    code = "import sys; print(sys.stdin.read()); print('e', file=sys.stderr); sys.exit(5)"
    result = run_limited(_python(code), timeout_s=30, stdin=b"hello")
    assert (result.returncode, result.stdout, result.stderr) == (5, "hello\n", "e\n")
    assert not result.ok
    assert result.signal is None
    assert result.describe() == "ended with status 5"


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGABRT"])
def test_a_crash_is_named_by_its_signal(name: str) -> None:
    code = f"import os, signal; os.kill(os.getpid(), signal.{name})"
    result = run_limited(_python(code), timeout_s=30)
    assert result.signal == name
    assert result.describe() == f"crashed with {name}"


def test_a_crash_behind_a_shell_is_named_too() -> None:
    result = run_limited(["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"], timeout_s=30)
    assert result.describe() == "crashed with SIGSEGV"


def test_a_hanging_child_is_stopped_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {pid_file}; wait"
    result = run_limited(["sh", "-c", script], timeout_s=1.0)
    assert result.timed_out
    assert "time limit" in result.describe()
    grandchild = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _is_alive(grandchild):
        time.sleep(0.02)
    assert not _is_alive(grandchild)


def test_a_child_that_eats_memory_is_stopped() -> None:
    code = "import time; held = bytearray(400 * 2**20); time.sleep(600)"
    result = run_limited(_python(code), timeout_s=60, memory_bytes=150 * 2**20)
    assert result.memory_exceeded
    assert result.peak_rss_bytes > 150 * 2**20
    assert "memory limit" in result.describe()


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingToolError, match="no-such-program") as caught:
        run_limited(["no-such-program"], timeout_s=1)
    assert "edgepack doctor" in str(caught.value.hint)


def test_only_the_end_of_a_flood_is_kept() -> None:
    code = "import sys; sys.stdout.write('x' * 5_000_000 + 'end')"
    result = run_limited(_python(code), timeout_s=60)
    assert result.stdout.endswith("xend")
    assert len(result.stdout) == 2**20


# Where the interrupt falls while the child's size is read, psutil's open file is the collector's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_stops_the_child(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def interrupt() -> None:
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_limited(["sh", "-c", f"echo $$ > {pid_file}; exec sleep 600"], timeout_s=60)
    assert not _is_alive(int(pid_file.read_text()))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
