"""Runs uv and turns what it says into edgepack's errors.

The only file that knows uv's options and words. It is not aware of targets. Used by
`edgepack.build.targets.lock` and `edgepack.build.targets.site`.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from edgepack.build.process import ChildResult, run_limited
from edgepack.formats.errors import ConfigError, MissingExtraError, MissingToolError

#: Long enough for a 256 MB wheel on a slow line.
_TIMEOUT_S = 1800.0

#: What uv says when it could not reach an index or fetch a file.
_UNREACHABLE = re.compile(
    r"error sending request|dns error|connection refused|connect error|timed out|timeout"
    r"|network connectivity is disabled|network was disabled|not found in the cache"
    r"|failed to fetch|failed to download|could not connect",
    re.IGNORECASE,
)
_WHEEL = re.compile(r"`?([A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+)`?|/simple/([a-z0-9-]+)/")


class WheelsUnavailableError(MissingToolError):
    """Wheels could not be fetched: no network, or the index does not answer."""

    def __init__(self, label: str, wheel: str | None, said: str) -> None:
        what = f"the wheel of {wheel}" if wheel else "its wheels"
        super().__init__(
            f"{label}: {what} could not be fetched: {said}",
            hint="check the network, or point UV_DEFAULT_INDEX or UV_FIND_LINKS at an index or a "
            "folder that has the wheels; what was fetched once stays in uv's cache",
        )


def uv_binary() -> Path:
    """Returns the uv that was installed beside edgepack.

    Raises:
        MissingExtraError: The package uv is not installed.
    """
    try:
        import uv
    except ImportError as error:
        raise MissingExtraError("uv", "build", "resolving a target's wheels") from error
    return Path(uv.find_uv_bin())


def uv_version() -> str:
    """Returns the version of the installed uv, for cache keys and provenance."""
    uv_binary()
    return importlib.metadata.version("uv")


def run_uv(
    arguments: Sequence[str | Path], *, platform: str, python: str, label: str, cwd: Path
) -> ChildResult:
    """Runs `uv pip` for a foreign platform.

    Args:
        arguments: The subcommand and its own arguments.
        platform: Such as `aarch64-manylinux_2_36`.
        python: Such as `3.11`.
        label: What it is for, as an error names it.
        cwd: An empty directory, so that no project's settings apply.

    Returns:
        How it ended; always well.

    Raises:
        WheelsUnavailableError: Something could not be fetched.
        ConfigError: Nothing fits the platform, or the requirements exclude each other.
    """
    argv = [
        uv_binary(),
        "pip",
        *arguments,
        *("--python-platform", platform, "--python-version", python),
        *("--only-binary", ":all:", "--color", "never", "--no-progress", "--quiet"),
    ]
    # Without an interpreter of its own uv searches the machine and may find none.
    env = {**os.environ, "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"}
    env.pop("VIRTUAL_ENV", None)
    result = run_limited(argv, timeout_s=_TIMEOUT_S, env=env, cwd=cwd)
    if result.ok:
        return result
    raise _translate(result, label, platform, python)


def _translate(
    result: ChildResult, label: str, platform: str, python: str
) -> ConfigError | WheelsUnavailableError:
    said = " ".join(result.stderr.split()) or result.describe()
    said = said.removeprefix("error: ")
    if result.timed_out or _UNREACHABLE.search(said):
        found = _WHEEL.search(said)
        wheel = next((part for part in found.groups() if part), None) if found else None
        return WheelsUnavailableError(label, wheel, said)
    return ConfigError(
        f"{label}: no wheels for {platform}, Python {python}: {said}",
        hint="change the version or the requirements in the target's [[runtime]], or its glibc, "
        "arch or python if the box really has others",
    )
