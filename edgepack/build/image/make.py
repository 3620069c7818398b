"""Makes container images out of bundles: the whole road of `edgepack image`.

A tool builds each platform into a folder; everything after that is the same for all tools. What
the user asked for appears at the very end, whole or not at all. It is not aware of command
lines. Used by `edgepack.cli.image`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgepack.build.artifacts import Progress, SilentProgress
from edgepack.build.emulate.binfmt import ensure_interpreter
from edgepack.build.image.base import DEFAULT_BASE, Base, resolve_base
from edgepack.build.image.contents import Contents, look_into
from edgepack.build.image.context import (
    BundleReader,
    ImageBundle,
    check_wheels,
    choose_bundles,
    make_context,
)
from edgepack.build.image.finish import BuiltImage, FinishedImage, finish_image
from edgepack.build.image.labels import describe_bundle, describe_index
from edgepack.build.image.layout import Layout
from edgepack.build.image.media import BASE_DIGEST, REF_NAME
from edgepack.build.image.output import appears_whole, check_output, disk_faults
from edgepack.build.image.platforms import Platform, host_platform
from edgepack.build.image.push import Pushed, push_image
from edgepack.build.image.reference import Reference, parse_reference
from edgepack.build.image.registry import Registry, is_loopback
from edgepack.build.image.run import RunCommand, check_result, run_command
from edgepack.build.image.sharing import share_base_layers
from edgepack.build.image.tools import LAYOUT_NAME, BuildJob, Command, Tool, ToolName
from edgepack.formats.canonical import canonical_json
from edgepack.formats.errors import ConfigError, MissingToolError, Problem

#: Under this annotation docker finds the name of what it loads.
_DOCKER_NAME = "io.containerd.image.name"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What is to be made.

    Attributes:
        targets: Names of targets; may be empty where bundles are named.
        bundles: Bundles that were named.
        dist: Where else bundles are looked for.
        tag: The image's name; None for one made from the model's.
        base: The base's name; None for the default.
        build_base: The image that bundles are unpacked in; None for the base.
        wheels: A folder with the wheels that thin bundles leave out.
        push: Push it.
        output: A folder to write the OCI layout to, or None.
        context: A folder to make the tool's own folders in, and to keep; None for none.
        epoch: The time that everything in it gets, in seconds since 1970.
    """

    targets: tuple[str, ...] = ()
    bundles: tuple[Path, ...] = ()
    dist: Path = Path("dist")
    tag: str | None = None
    base: str | None = None
    build_base: str | None = None
    wheels: Path | None = None
    push: bool = False
    output: Path | None = None
    context: Path | None = None
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Around:
    """What making an image sees of the world; tests put other things here.

    Attributes:
        tool: The container tool.
        reader: Reads bundles.
        open_registry: Gives access to a registry.
        environment: Of the tool.
        run: Runs the tool.
        host: The platform that build stages run on.
        emulator: Says what this machine lacks to run an architecture's programs.
        progress: Told what is done.
    """

    tool: Tool
    reader: BundleReader
    open_registry: Callable[[Reference], Registry]
    environment: Mapping[str, str]
    run: RunCommand = run_command
    host: Platform = field(default_factory=host_platform)
    emulator: Callable[[Any], Problem | None] = ensure_interpreter
    progress: Progress = field(default_factory=SilentProgress)


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """The image of one platform.

    Attributes:
        target: The bundle's target.
        platform: The platform.
        release_id: The release in it.
        digest: Of its manifest.
        base_digest: Of the base's manifest for that platform; None where that is not known.
        sbom_digest: Of the manifest that carries its bill of materials.
        contents: What was seen in it.
    """

    target: str
    platform: Platform
    release_id: str
    digest: str
    base_digest: str | None
    sbom_digest: str
    contents: Contents


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What was made.

    Attributes:
        tool: With what.
        commands: The very commands that were run, as they can be typed.
        tag: Its name.
        digest: Of the manifest or index that the tag stands for.
        base: The base.
        images: For each platform.
        output: The layout's folder, or None.
        pushed: What a push did, or None.
        loaded: Whether it is in the tool's own storage.
    """

    tool: ToolName
    commands: tuple[str, ...]
    tag: str
    digest: str
    base: Base
    images: tuple[PlatformImage, ...]
    output: Path | None
    pushed: Pushed | None
    loaded: bool


def make_image(request: ImageRequest, around: Around) -> ImageResult:
    """Makes an image of one or several platforms.

    Args:
        request: What.
        around: With what.

    Returns:
        What was made.

    Raises:
        ConfigError: Something typed is wrong; nothing was started.
        BundleError: A bundle is damaged.
        ImageError: The tool or a registry failed or refused, the base does not fit, or the
            disk is full. Nothing half-done is left.
    """
    return _Making(request, around).run()


class _Making:
    """One run."""

    def __init__(self, request: ImageRequest, around: Around) -> None:
        self._request = request
        self._around = around
        self._commands: list[str] = []
        # Everything typed is looked at before anything is started.
        self._base_name = parse_reference(request.base or DEFAULT_BASE, "--base")
        self._build_base_name = (
            parse_reference(request.build_base, "--build-base") if request.build_base else None
        )
        self._typed = parse_reference(request.tag, "--tag") if request.tag else None
        self._check_tag()

    def run(self) -> ImageResult:
        request, around = self._request, self._around
        with disk_faults():
            if request.output is not None:
                check_output(request.output)
            with _told(around.progress, "Verifying"):
                bundles = choose_bundles(
                    request.targets, request.bundles, request.dist, around.reader
                )
            for bundle in bundles:
                check_wheels(bundle, request.wheels, base_named=request.base is not None)
            if len(bundles) > 1 and not request.push and request.output is None:
                raise ConfigError(
                    "an image for several platforms is not put into a tool's own storage",
                    hint="add --push or --output oci:DIR, or give one --target",
                )
            model = bundles[0].manifest.model
            tag = request.tag or f"{model.name.lower()}:{model.version.replace('+', '_')}"
            name = parse_reference(tag, "--tag")
            with _told(around.progress, "Looking at the base"):
                base, build_base = self._resolve(bundles)
            with tempfile.TemporaryDirectory(prefix="edgepack-image-") as work:
                return self._make(bundles, base, build_base, name, tag, Path(work))

    def _check_tag(self) -> None:
        tag = self._typed
        if tag is not None and tag.digest:
            raise ConfigError(
                f"--tag: '{tag}' has a digest, which only the finished image can have",
                hint="leave out what stands behind @",
            )
        if self._request.push and (tag is None or not tag.qualified or tag.is_local):
            raise ConfigError(
                "--push needs to know where to",
                hint="add --tag registry.example/shop/session:1.0.0",
            )

    def _resolve(self, bundles: tuple[ImageBundle, ...]) -> tuple[Base, Base]:
        around = self._around
        platforms = [each.platform for each in bundles]
        base = resolve_base(self._base_name, platforms, around.open_registry)
        named = self._build_base_name or self._base_name
        build_base = resolve_base(named, [around.host], around.open_registry, "--build-base")
        if not build_base.platforms and self._build_base_name is None:
            for bundle in bundles:
                _check_emulator(bundle, around)
        return base, build_base

    def _make(
        self,
        bundles: tuple[ImageBundle, ...],
        base: Base,
        build_base: Base,
        name: Reference,
        tag: str,
        work: Path,
    ) -> ImageResult:
        request, around = self._request, self._around
        built, seen = [], []
        for bundle in bundles:
            image = self._build(bundle, base, build_base, work)
            built.append(image)
            seen.append(self._look(bundle, image, base))
        with appears_whole(request.output, work) as folder:
            annotations = describe_index(bundles, base.name, base.digest)
            finished = finish_image(
                built, Layout.create(folder), tag if request.tag else LAYOUT_NAME, annotations
            )
            loaded = not request.push and request.output is None
            if loaded:
                self._load(finished, tag, name, work)
            # Here, as the folder has another name a moment later.
            images = tuple(
                _describe(bundle, finished, number, contents)
                for number, (bundle, contents) in enumerate(zip(bundles, seen, strict=True))
            )
        pushed = None
        if request.push:
            # After the folder is at its place: the tag moves last of all.
            place = finished.layout if request.output is None else Layout(request.output)
            with _told(around.progress, "Pushing"):
                pushed = push_image(
                    replace(finished, layout=place), name, around.open_registry(name)
                )
        return ImageResult(
            around.tool.name,
            tuple(self._commands),
            tag,
            str(finished.top["digest"]),
            base,
            images,
            request.output,
            pushed,
            loaded,
        )

    def _build(self, bundle: ImageBundle, base: Base, build_base: Base, work: Path) -> BuiltImage:
        request, around = self._request, self._around
        kept = request.context
        context = (
            work if kept is None else kept.absolute()
        ) / f"context-{bundle.platform.architecture}"
        arguments = make_context(context, bundle, request.wheels)
        arguments["BASE"] = base.pinned(bundle.platform)
        arguments["BUILD_BASE"] = build_base.pinned(around.host)
        platform_base = base.platforms.get(bundle.platform)
        digest = None if platform_base is None else platform_base.digest
        labels = describe_bundle(bundle, base.name, digest)
        hosts = (self._base_name, self._build_base_name or self._base_name)
        # The tools have one switch for all registries: where one is not on this machine, TLS is
        # verified for all, as a login would go along, and what is near is pulled before.
        near = [is_loopback(each.registry) and not each.is_local for each in hosts]
        afar = [not is_loopback(each.registry) for each in hosts]
        plain_http = any(near) and not any(afar)
        pinned = ((arguments["BASE"], bundle.platform), (arguments["BUILD_BASE"], around.host))
        plain_pulls = tuple(each for each, plain in zip(pinned, near, strict=True) if plain)
        job = BuildJob(
            context=context,
            platform=bundle.platform,
            layout=work / f"layout-{bundle.platform.architecture}",
            draft=f"localhost/edgepack-draft:{bundle.platform.architecture}-{os.getpid()}",
            epoch=request.epoch,
            build_args=arguments,
            labels=labels,
            plain_http=plain_http,
            plain_pulls=() if plain_http else plain_pulls,
        )
        try:
            with _told(around.progress, f"Building for {bundle.platform} with {around.tool.name}"):
                for command in around.tool.build(job):
                    self._run(command)
        finally:
            for command in around.tool.clean(job):
                # What was never made cannot be removed, and is nobody's fault.
                around.run(command, around.environment)
        if platform_base is not None:
            with _told(around.progress, "Taking over the base's layers"):
                registry = around.open_registry(self._base_name)
                share_base_layers(
                    Layout(job.layout), platform_base.layers, platform_base.diff_ids, registry
                )
        return BuiltImage(Layout(job.layout), bundle.platform, labels, bundle.sbom)

    def _look(self, bundle: ImageBundle, image: BuiltImage, base: Base) -> Contents:
        platform_base = base.platforms.get(bundle.platform)
        (descriptor,) = image.layout.images()
        return look_into(
            image.layout,
            image.layout.read(descriptor),
            platform=bundle.platform,
            python=bundle.manifest.target.python,
            base_layers=None if platform_base is None else len(platform_base.layers),
        )

    def _load(self, finished: FinishedImage, tag: str, name: Reference, work: Path) -> None:
        around = self._around
        # Without the bill of materials: a tool's own storage has no place for referrers.
        bare = Layout.create(work / "bare")
        manifest = finished.layout.read(finished.top)
        for each in (finished.top, manifest["config"], *manifest["layers"]):
            bare.take(finished.layout, each)
        names = {REF_NAME: tag}
        if around.tool.name == "docker":
            # The others would read it too, and what a short name means differs between them.
            names[_DOCKER_NAME] = str(name)
            # Its older storage knows only what `docker save` writes beside the layout.
            paths = [f"blobs/sha256/{each['digest'][7:]}" for each in manifest["layers"]]
            config = f"blobs/sha256/{manifest['config']['digest'][7:]}"
            listed = [{"Config": config, "RepoTags": [str(name)], "Layers": paths}]
            (bare.path / "manifest.json").write_bytes(canonical_json(listed))
        bare.finish([{**finished.top, "annotations": names}])
        archive = work / "image.tar"
        with tarfile.open(archive, "w") as file:
            file.add(bare.path, arcname="")
        with _told(around.progress, f"Loading into {around.tool.name}"):
            self._run(around.tool.load(archive))

    def _run(self, command: Command) -> None:
        self._commands.append(shlex.join(command))
        check_result(command, self._around.run(command, self._around.environment))


@contextlib.contextmanager
def _told(progress: Progress, task: str) -> Iterator[None]:
    progress.start(task)
    try:
        yield
    finally:
        progress.finish(task)


def _check_emulator(bundle: ImageBundle, around: Around) -> None:
    """Refuses a build stage that this machine cannot run, before it is started."""
    if bundle.platform == around.host:
        return
    problem = around.emulator(bundle.manifest.target.arch)
    if problem is not None:
        raise MissingToolError(
            f"the base is only in the tool's own storage, so its {bundle.platform} variant has to "
            f"unpack the bundle here: {problem.where}: {problem.message}",
            hint=f"name an image for {around.host} with --build-base; or {problem.hint}",
        )


def _describe(
    bundle: ImageBundle, finished: FinishedImage, number: int, contents: Contents
) -> PlatformImage:
    descriptor = finished.manifests[number]
    annotations = finished.layout.read(descriptor)["annotations"]
    return PlatformImage(
        bundle.target,
        bundle.platform,
        bundle.release_id,
        str(descriptor["digest"]),
        annotations.get(BASE_DIGEST),
        str(finished.sboms[number]["digest"]),
        contents,
    )
