"""The container tools: which are here, and the very commands each is given.

All do the same one thing: build one platform into a folder in the OCI layout. What is done with
it afterwards is the same for all. It is not aware of how a command is run. Used by `make`.

Source: docker-buildx-build(1); buildah-build(1) and podman-build(1) as in Debian 12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from edgepack.build.image.platforms import Platform
from edgepack.formats.errors import MissingToolError

ToolName = Literal["docker", "podman", "buildah"]
#: In the order in which they are looked for.
TOOL_NAMES: Final[tuple[ToolName, ...]] = ("docker", "podman", "buildah")
#: The name of an image in a layout made here.
LAYOUT_NAME: Final = "image"

Command = list[str]


@dataclass(frozen=True, slots=True)
class BuildJob:
    """One image to build.

    Attributes:
        context: The folder with the Dockerfile and the bundle.
        platform: For which.
        layout: The folder to write to; it does not exist.
        draft: A name that the tool may use for it meanwhile.
        epoch: The time every file and record gets, in seconds since 1970.
        build_args: The Dockerfile's arguments.
        labels: Labels of the image.
        plain_http: No registry that is asked speaks TLS.
        plain_pulls: Images whose registry speaks none though another's does, and for which
            platform.
    """

    context: Path
    platform: Platform
    layout: Path
    draft: str
    epoch: int
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    plain_http: bool = False
    plain_pulls: tuple[tuple[str, Platform], ...] = ()


class Tool(Protocol):
    """A container tool."""

    name: ToolName

    def build(self, job: BuildJob) -> list[Command]:
        """Returns the commands that build an image into its layout."""
        ...

    def clean(self, job: BuildJob) -> list[Command]:
        """Returns the commands that remove what a build, failed or not, left in the tool."""
        ...

    def load(self, archive: Path) -> Command:
        """Returns the command that puts a finished image into the tool's own storage.

        Args:
            archive: The image of one platform, a tar of an OCI layout that holds its name.
        """
        ...


class Docker:
    """Docker with buildx."""

    name: ToolName = "docker"

    def build(self, job: BuildJob) -> list[Command]:
        """Returns one command: buildx writes the layout itself."""
        output = f"type=oci,dest={job.layout},tar=false,rewrite-timestamp=true"
        # Neither kind of record is reproducible; the bundle's own bill of materials is attached.
        command = ["docker", "buildx", "build", "--provenance=false", "--sbom=false"]
        command += ["--build-arg", f"SOURCE_DATE_EPOCH={job.epoch}", "--output", output]
        return [[*command, *_common(job)]]

    def clean(self, job: BuildJob) -> list[Command]:
        """Returns nothing: no name was given."""
        return []

    def load(self, archive: Path) -> Command:
        """Returns the command; docker reads archives in the OCI layout since version 25."""
        return ["docker", "load", "--input", str(archive)]


class Buildah:
    """Buildah."""

    name: ToolName = "buildah"

    def build(self, job: BuildJob) -> list[Command]:
        """Returns a build under a draft's name and its way into the layout.

        Before them what TLS must be off for, image by image: a build has one switch for all.
        """
        # Without --layers buildah makes one layer, and a new model would move the runtime too.
        # Without --force-rm a failed build leaves its working container there.
        command = [self.name, self._verb(), "--layers", "--force-rm", "--format", "oci"]
        command += ["--timestamp", str(job.epoch), "--tag", job.draft]
        if job.plain_http:
            command.append("--tls-verify=false")
        off = [self.name, "pull", "--quiet", "--tls-verify=false", "--platform"]
        return [
            *([*off, str(platform), image] for image, platform in job.plain_pulls),
            [*command, *_common(job)],
            [self.name, "push", job.draft, f"oci:{job.layout}:{LAYOUT_NAME}"],
        ]

    def clean(self, job: BuildJob) -> list[Command]:
        """Returns the draft's removal."""
        return [[self.name, "rmi", "--force", job.draft]]

    def load(self, archive: Path) -> Command:
        """Returns the command."""
        return [self.name, "pull", "--quiet", f"oci-archive:{archive}"]

    def _verb(self) -> str:
        return "bud"


class Podman(Buildah):
    """Podman, which builds with buildah's code."""

    name: ToolName = "podman"

    def load(self, archive: Path) -> Command:
        """Returns the command."""
        return [self.name, "load", "--input", str(archive)]

    def _verb(self) -> str:
        return "build"


_TOOLS: Final[Mapping[ToolName, type[Tool]]] = {
    "docker": Docker,
    "podman": Podman,
    "buildah": Buildah,
}


def find_tool(
    wanted: ToolName | None,
    which: Callable[[str], str | None],
    has_buildx: Callable[[], bool],
) -> Tool:
    """Returns the tool to be used.

    Args:
        wanted: The one that was asked for, or None for the first that is there.
        which: Finds a program.
        has_buildx: Whether docker has buildx.

    Raises:
        MissingToolError: It is not installed, or none is.
    """
    for name in (wanted,) if wanted else TOOL_NAMES:
        if which(name) is None:
            continue
        if name != "docker" or has_buildx():
            return _TOOLS[name]()
        if wanted:
            raise MissingToolError(
                "docker is here without buildx, which builds for other platforms",
                hint="apt install docker-buildx-plugin, or use --tool podman or buildah",
            )
    what = wanted or "no container tool (docker with buildx, podman or buildah)"
    raise MissingToolError(
        f"{what} is {'not ' if wanted else ''}installed here",
        hint="apt install --no-install-recommends buildah",
    )


def _common(job: BuildJob) -> list[str]:
    words = ["--platform", str(job.platform), "--file", str(job.context / "Dockerfile")]
    for name, value in job.build_args.items():
        words += ["--build-arg", f"{name}={value}"]
    for name, value in job.labels.items():
        words += ["--label", f"{name}={value}"]
    return [*words, str(job.context)]
