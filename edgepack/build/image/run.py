"""Runs a container tool and says in words why it failed.

It is not aware of which tool it is beyond its name. Used by `make`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from edgepack.build.process import ChildResult, run_limited
from edgepack.formats.errors import ImageError

#: Pulling a base over a slow link and pushing it on.
_TIMEOUT_S: Final = 3600.0
#: A tool that is told to end removes its half-made containers first.
_GENTLY_S: Final = 15.0
_SHOWN_LINES: Final = 12
_SHOWN_CHARACTERS: Final = 1500

_EMULATOR: Final = (
    "only a build stage of another architecture needs an emulator, and running the image: name "
    "an image of this machine's architecture with --build-base, or install qemu-user-static"
)
#: What a tool says, what that means, and what to do about it; the first that fits counts.
_CAUSES: Final[Sequence[tuple[str, str, str]]] = (
    (
        r"no space left on device|disk quota exceeded",
        "the disk is full",
        "free some space where {tool} keeps its images, and in $TMPDIR",
    ),
    (r"exec format error", "the kernel cannot start a program of the base image", _EMULATOR),
    (
        r"(exec|stat)[^\n]*python3[^\n]*(not found|no such file)",
        "the image that the bundle is unpacked in has no python3",
        "name one that has with --build-base, or a base with Python with --base",
    ),
    (
        r"OCI exporter is not supported|oci exporter.*docker driver",
        "docker's default builder writes no image files",
        "turn on docker's containerd image store, or make a builder that writes them with "
        "docker buildx create --use, or use --tool buildah",
    ),
    (
        r"cannot connect to the docker daemon|error during connect",
        "docker's daemon does not answer",
        "start docker, or use --tool podman or buildah",
    ),
    (
        r"unauthorized|authentication required|denied: |no basic auth",
        "a registry refuses",
        "{tool} login REGISTRY",
    ),
    (
        r"manifest unknown|name unknown|repository name not known",
        "an image is not there",
        "check --base and --build-base",
    ),
    (
        r"no such host|connection refused|i/o timeout|network is unreachable|deadline exceeded",
        "a registry cannot be reached",
        "check the network and the base image's name",
    ),
    (
        r"operation not permitted|newuidmap|user namespace|error running container",
        "{tool} may not do this here",
        "run it where containers may be built; inside a container set BUILDAH_ISOLATION=chroot",
    ),
)

#: Runs a command to its end.
RunCommand = Callable[[Sequence[str], Mapping[str, str]], ChildResult]


def run_command(command: Sequence[str], environment: Mapping[str, str]) -> ChildResult:
    """Runs a container tool; on Ctrl-C it is told to end before it is ended.

    Raises:
        MissingToolError: It is not there.
    """
    return run_limited(command, timeout_s=_TIMEOUT_S, env=environment, end_gently_s=_GENTLY_S)


def check_result(command: Sequence[str], result: ChildResult) -> None:
    """Turns a failure of a tool into an error.

    Raises:
        ImageError: What it means, and the tool's last words.
    """
    if result.ok:
        return
    tool = command[0]
    said = result.stderr.strip() or result.stdout.strip()
    everything = f"{result.stdout}\n{result.stderr}"
    shown = "\n  ".join(said.splitlines()[-_SHOWN_LINES:])[-_SHOWN_CHARACTERS:]
    ours = re.search(r"^.*?error: (.+)\n(?:.*?hint: (.+))?", everything, re.MULTILINE)
    for pattern, meaning, advice in _CAUSES:
        if re.search(pattern, everything, re.IGNORECASE):
            raise ImageError(
                f"{meaning.format(tool=tool)}: {tool} {result.describe()}\n  {shown}",
                hint=advice.format(tool=tool),
            )
    if ours is not None and "/bundle.pyz" in everything:
        # The bundle's own program, inside the build stage.
        raise ImageError(f"the bundle cannot be unpacked: {ours[1]}", hint=ours[2])
    raise ImageError(
        f"{tool} {result.describe()}\n  {shown}",
        hint=f"the command was: {shlex.join(command)}",
    )
