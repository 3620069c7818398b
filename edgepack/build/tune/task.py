"""The task that an executor runs: one lap of a release, in a process of the target's Python.

It travels by value to machines that have no edgepack, so it imports the standard library and
nothing else, and hands over only what JSON has. It is not aware of what is measured. Used by
`measuring`.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

#: Starts the release's own runner: its own folders and the standard library, no site-packages.
START = (
    "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); "
    "from edgepack.runner.tuning.worker import main; sys.exit(main())"
)
#: The most that is kept of what a dying runtime says.
STDERR_BYTES = 4000


def run_lap(
    release: str | bytes, digest: str, needs: dict[str, str], request: str, timeout_s: float
) -> dict[str, Any]:
    """Runs a lap where this function is called.

    Args:
        release: A release's folder on this machine, or a zip archive of one.
        digest: The release's SHA-256; an archive with it is unpacked once.
        needs: What the release runs on: `arch`, such as `x86_64`, and `python`, such as `3.11`.
        request: What the worker reads, JSON; `{release}` in it stands for the folder.
        timeout_s: The most seconds it may take.

    Returns:
        `refused`: why it was not run here, or None. `status`: the process's exit status, negative
        for a signal; None when its time was up. `output` and `errors`: what it wrote.
    """
    if platform.machine() != needs["arch"]:
        return _refused(f"it is {platform.machine()}, the target is {needs['arch']}")
    python = find_python(needs["python"])
    if python is None:
        return _refused(f"it has no python{needs['python']}, which the target's boxes have")
    with _alone():
        folder = release if isinstance(release, str) else _unpacked(release, digest)
        return _run(python, folder, request.replace("{release}", folder), timeout_s)


def find_python(version: str) -> str | None:
    """Returns an interpreter of a minor version such as `3.11`; None without one."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return sys.executable
    return shutil.which(f"python{version}")


def forget_release(digest: str) -> None:
    """Removes what was unpacked of a release."""
    shutil.rmtree(_place(digest), ignore_errors=True)


def _refused(why: str) -> dict[str, Any]:
    return {"refused": why, "status": None, "output": "", "errors": ""}


class _Alone:
    """Keeps every other lap of this machine waiting: two at once would measure each other."""

    def __enter__(self) -> None:
        path = os.path.join(tempfile.gettempdir(), f"edgepack-tune-{os.getuid()}.lock")  # noqa: PTH118
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _alone() -> _Alone:
    return _Alone()


def _place(digest: str) -> Path:
    return Path(tempfile.gettempdir()) / f"edgepack-tune-{os.getuid()}-{digest[:16]}"


def _unpacked(archive: bytes, digest: str) -> str:
    place = _place(digest)
    if not place.is_dir():
        draft = Path(tempfile.mkdtemp(prefix="edgepack-tune-draft-"))
        # zipfile keeps members inside the folder whatever they are called.
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            opened.extractall(draft)
        draft.rename(place)
    if place.stat().st_uid != os.getuid():
        message = f"{place} belongs to another user"
        raise PermissionError(message)
    return str(place)


def _run(python: str, folder: str, request: str, timeout_s: float) -> dict[str, Any]:
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [python, "-I", "-S", "-B", "-c", START, f"{folder}/runner:{folder}/site"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            # Ctrl-C is for whoever started this; a lap that it ends is ended from here.
            start_new_session=True,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/nonexistent"},
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGKILL)

        timer = threading.Timer(timeout_s, end)
        timer.start()
        try:
            output = _talk(child, request)
            status = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            timer.cancel()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    stream.close()
        size = errors.seek(0, os.SEEK_END)
        errors.seek(max(0, size - STDERR_BYTES))
        said = errors.read().decode("utf-8", "replace")
    return {
        "refused": None,
        "status": None if late.is_set() else status,
        "output": output.decode("utf-8", "replace"),
        "errors": said,
    }


def _talk(child: subprocess.Popen[bytes], request: str) -> bytes:
    if child.stdin is None or child.stdout is None:
        return b""
    # One that is dead already takes nothing; its status says why. Its input stays open: when it
    # ends, this process has, and the worker goes as well.
    with contextlib.suppress(OSError):
        child.stdin.write(request.encode() + b"\n")
        child.stdin.flush()
    return child.stdout.read()
