"""`edgepack image`: container images made from bundles."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from edgepack.cli.console import format_bytes, make_console, make_table, print_json
from edgepack.cli.options import json_option, target_folders
from edgepack.cli.progress import shown_progress
from edgepack.formats.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from edgepack.build.image import ImageRequest, ImageResult
    from edgepack.build.image.context import ImageBundle
    from edgepack.build.image.reference import Reference
    from edgepack.build.image.registry import Registry
    from edgepack.build.image.tools import ToolName

_PATH = click.Path(path_type=Path)
#: A helper asks a keyring; one that wants a person to type something never ends here.
_HELPER_TIMEOUT_S = 30


@click.command()
@click.option(
    "--target", "targets", multiple=True, metavar="NAME", help="Kind of box; may be repeated."
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=_PATH,
    metavar="FILE",
    help="Bundle to take; may be repeated.  [default: the target's newest in ./dist]",
)
@click.option(
    "--tool",
    type=click.Choice(["docker", "podman", "buildah"]),
    help="What builds the image.  [default: the first of these that is installed]",
)
@click.option("--tag", metavar="REF", help="The image's name.  [default: MODEL:VERSION]")
@click.option(
    "--base", metavar="REF", help="Image with Python.  [default: distroless Python, Debian 12]"
)
@click.option(
    "--build-base",
    metavar="REF",
    help="Image with Python that unpacks the bundle on this machine.  [default: the base]",
)
@click.option("--wheels", type=_PATH, metavar="DIR", help="Wheels that a thin bundle leaves out.")
@click.option("--push", is_flag=True, help="Push it, with its bill of materials.")
@click.option("--output", metavar="oci:DIR", help="Write it to a folder in the OCI image layout.")
@click.option(
    "--context",
    type=_PATH,
    metavar="DIR",
    help="Make the folders that the tool builds from in DIR, and keep them.",
)
@json_option
def image(as_json: bool, tool: ToolName | None, **options: Any) -> None:
    """Make a container image from a bundle.

    The bundle is unpacked on this machine's own architecture, and the image's last stage only
    copies: nothing is emulated. Several targets make one image for several platforms.
    Dockerfile.arm64 can also be used by hand.

    \b
    Examples:
      edgepack image --target arm64
      edgepack image --target arm64 --target cpu --push --tag registry.example/shop/session:1.0.0
      edgepack image --bundle dist/session-1.0.0-arm64.pyz --output oci:dist/session-image
    """
    from edgepack.build.image import Around, make_image
    from edgepack.build.image.tools import find_tool

    request = _request(**options)
    environment = dict(os.environ)
    found = find_tool(tool, shutil.which, _has_buildx)
    with shown_progress() as progress:
        registries = _registries(environment)
        around = Around(found, Bundles(), registries, environment, progress=progress)
        result = make_image(request, around)
    if as_json:
        print_json(result_to_json(result))
    else:
        _show(result)


class Bundles:
    """Reads bundles with the runner's code (a `BundleReader`)."""

    def target(self, path: Path) -> str:
        """Returns the target a bundle says it is for."""
        from edgepack.runner.boot.archive import open_bundle

        return open_bundle(path).manifest.target.name

    def verify(self, path: Path) -> ImageBundle:
        """Checks every byte of a bundle."""
        from edgepack.build.image.context import ImageBundle
        from edgepack.runner.boot.archive import open_bundle

        found = open_bundle(path).verify()
        return ImageBundle(path, found.manifest, found.release_id, found.sbom)


def _request(
    *,
    targets: tuple[str, ...],
    bundles: tuple[Path, ...],
    tag: str | None,
    base: str | None,
    build_base: str | None,
    wheels: Path | None,
    push: bool,
    output: str | None,
    context: Path | None,
) -> ImageRequest:
    from edgepack.build.image import ImageRequest
    from edgepack.build.image.output import parse_output
    from edgepack.build.targets import load_target

    if not targets and not bundles:
        raise click.UsageError("name a --target or a --bundle")
    # A mistyped target gets its suggestion before a bundle is missed.
    names = tuple(load_target(name, target_folders()).name for name in targets)
    return ImageRequest(
        targets=names,
        bundles=bundles,
        tag=tag,
        base=base,
        build_base=build_base,
        wheels=wheels,
        push=push,
        output=None if output is None else parse_output(output),
        context=context,
        epoch=_epoch(os.environ.get("SOURCE_DATE_EPOCH")),
    )


def _epoch(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isdigit():
        raise ConfigError(
            f"SOURCE_DATE_EPOCH: got '{text:.40}', expected whole seconds since 1970",
            hint="unset SOURCE_DATE_EPOCH",
        )
    return int(text)


def _has_buildx() -> bool:
    return _output_of(["docker", "buildx", "version"], "") is not None


def _registries(environment: Mapping[str, str]) -> Callable[[Reference], Registry]:
    from edgepack.build.image.credentials import credential_files, find_credentials
    from edgepack.build.image.registry import Registry

    files = credential_files(environment)

    def ask(command: Sequence[str], text: str) -> str:
        said = _output_of(command, text)
        if said is None:
            raise ImageError(f"{command[0]} gave no login")
        return said

    def open_registry(reference: Reference) -> Registry:
        return Registry(
            reference, lambda host, repository: find_credentials(host, repository, files, ask)
        )

    return open_registry


def _output_of(command: Sequence[str], text: str) -> str | None:
    """Returns what a small program prints; None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def result_to_json(result: ImageResult) -> dict[str, Any]:
    """Returns what `--json` prints.

    Args:
        result: What was made.
    """
    pushed = result.pushed
    return {
        "tool": result.tool,
        "commands": list(result.commands),
        "tag": result.tag,
        "digest": result.digest,
        "base": {"name": result.base.name, "digest": result.base.digest},
        "images": [
            {
                "target": each.target,
                "platform": str(each.platform),
                "release": each.release_id,
                "digest": each.digest,
                "base_digest": each.base_digest,
                "sbom": each.sbom_digest,
                "layers": list(each.contents.layers),
                "added_bytes": each.contents.added_bytes,
                "added_compressed_bytes": each.contents.added_compressed_bytes,
                "warnings": list(each.contents.warnings),
            }
            for each in result.images
        ],
        "output": None if result.output is None else str(result.output),
        "loaded": result.loaded,
        "pushed": None
        if pushed is None
        else {
            "uploaded": pushed.uploaded,
            "present": pushed.present,
            "manifests": pushed.manifests,
            "referrers": pushed.referrers,
        },
    }


def _show(result: ImageResult) -> None:
    console = make_console()
    for command in result.commands:
        console.print(f"$ {command}", style="dim", markup=False, highlight=False, soft_wrap=True)
    table = make_table(
        result.tag, "platform", "target", "release", "adds to its base", "as it travels",
        right=("adds to its base", "as it travels"),
    )  # fmt: skip
    for each in result.images:
        table.add_row(
            str(each.platform),
            each.target,
            each.release_id[:12],
            format_bytes(each.contents.added_bytes),
            format_bytes(each.contents.added_compressed_bytes),
        )
    console.print(table)
    digest = result.base.digest or "in the tool's own storage, without a digest"
    lines = [f"base {result.base.name}", f"     {digest}", f"digest {result.digest}"]
    if result.output is not None:
        lines.append(f"written to {result.output}")
    if result.loaded:
        lines.append(f"in the storage of {result.tool} as {result.tag}")
    if result.pushed is not None:
        lines.append(f"pushed to {result.tag}, {len(result.pushed.uploaded)} new blobs")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for warning in dict.fromkeys(text for each in result.images for text in each.contents.warnings):
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
