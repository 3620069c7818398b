"""Which bundles an image is made from, and the folder a tool builds it in.

It is not aware of tools or registries. Used by `make`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from edgepack.build.image.platforms import Platform, platform_of
from edgepack.build.shipped import shipped_file
from edgepack.formats.errors import BundleError, ConfigError, EdgepackError
from edgepack.formats.manifest import ExternalWheel, Manifest

DOCKERFILE: Final = "Dockerfile.arm64"
_STAGE_MEMBER: Final = "edgepack/runner/boot/stage.py"
_WHEELS: Final = "wheels"


@dataclass(frozen=True, slots=True)
class ImageBundle:
    """A bundle whose every byte was verified.

    Attributes:
        path: The file.
        manifest: What it says about itself.
        release_id: The release in it.
        sbom: Its CycloneDX document.
    """

    path: Path
    manifest: Manifest
    release_id: str
    sbom: Mapping[str, Any]

    @property
    def platform(self) -> Platform:
        """The platform it is for."""
        return platform_of(self.manifest.target.arch, self.manifest.target.os)

    @property
    def target(self) -> str:
        """The target it was built for."""
        return self.manifest.target.name


class BundleReader(Protocol):
    """Reads bundles; the runner's code does, which the build side does not import."""

    def target(self, path: Path) -> str:
        """Returns the target a bundle says it is for.

        Raises:
            BundleError: Not a bundle.
        """
        ...

    def verify(self, path: Path) -> ImageBundle:
        """Checks every byte of a bundle.

        Raises:
            BundleError: What is wrong with it.
        """
        ...


def choose_bundles(
    targets: Sequence[str], named: Sequence[Path], folder: Path, reader: BundleReader
) -> tuple[ImageBundle, ...]:
    """Finds and verifies one bundle for each target.

    Args:
        targets: Names of targets; empty for those of the named bundles.
        named: Bundles that were named.
        folder: Where else to look: the newest bundle of a target there is taken.
        reader: Reads bundles.

    Returns:
        The bundles, in the order of the targets.

    Raises:
        ConfigError: None is there for a target, or they do not make one image.
        BundleError: One is damaged, or older than images.
    """
    given = {path: reader.target(path) for path in named}
    if targets and (foreign := [path for path in named if given[path] not in targets]):
        path = foreign[0]
        raise ConfigError(
            f"{path} is for the target {given[path]}, not for {', '.join(targets)}",
            hint=f"add --target {given[path]}, or leave --target out",
        )
    paths = [path for path in named if not targets]
    for target in dict.fromkeys(targets):
        own = [path for path in named if given[path] == target]
        paths += own or [_newest(target, folder, reader)]
    bundles = tuple(_verified(path, reader) for path in dict.fromkeys(paths))
    if not bundles:
        raise ConfigError(
            "no bundle to make an image from", hint="name one with --bundle, or a --target"
        )
    _check_together(bundles)
    return bundles


def check_wheels(bundle: ImageBundle, wheels: Path | None, *, base_named: bool) -> None:
    """Makes sure that what a thin bundle leaves out comes from somewhere.

    Args:
        bundle: The bundle.
        wheels: A folder with the wheels that thin bundles leave out.
        base_named: Whether the base was chosen by the user, and may bring those wheels.

    Raises:
        ConfigError: A wheel is missing.
        BundleError: A wheel is another one.
    """
    needed = bundle.manifest.runtime.external
    if needed and wheels is None and not base_named:
        raise _explain_wheels(bundle, needed)
    if wheels is None:
        return
    for wheel in needed:
        path = wheels / wheel.filename
        if not path.is_file():
            raise _explain_wheels(bundle, needed)
        _check_wheel(path, wheel)


def make_context(folder: Path, bundle: ImageBundle, wheels: Path | None) -> dict[str, str]:
    """Writes the folder that a tool builds in.

    Args:
        folder: Made here; what an earlier one left there is removed.
        bundle: The bundle.
        wheels: A folder with the wheels that thin bundles leave out; see `check_wheels`.

    Returns:
        The Dockerfile's arguments for it.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "Dockerfile").is_file():
        raise ConfigError(
            f"--context: {folder} holds something else than a context of an earlier run",
            hint="name another folder, or remove that one",
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(shipped_file(DOCKERFILE), folder / "Dockerfile")
    _link(bundle.path, folder / "bundle.pyz")
    arguments = {"BUNDLE": "bundle.pyz"}
    needed = bundle.manifest.runtime.external
    if needed and wheels is not None:
        (folder / _WHEELS).mkdir()
        for wheel in needed:
            _link(wheels / wheel.filename, folder / _WHEELS / wheel.filename)
        arguments["WHEELS"] = f"{_WHEELS}/*.whl"
    return arguments


def _newest(target: str, folder: Path, reader: BundleReader) -> Path:
    found = sorted(_fitting(target, folder, reader), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise ConfigError(
            f"there is no bundle for {target} in {folder}",
            hint=f"edgepack build --target {target}, or name one with --bundle FILE",
        )
    return found[-1]


def _fitting(target: str, folder: Path, reader: BundleReader) -> Iterator[Path]:
    for path in sorted(folder.glob("*.pyz")):
        try:
            if reader.target(path) == target:
                yield path
        except EdgepackError:
            # Another program's file, or a damaged one; it cannot be said whose it is.
            continue


def _verified(path: Path, reader: BundleReader) -> ImageBundle:
    bundle = reader.verify(path)
    with zipfile.ZipFile(path) as archive:
        if _STAGE_MEMBER not in archive.namelist():
            raise BundleError(
                f"{path} was built by an edgepack that did not know images",
                hint=f"edgepack build --target {bundle.target}",
            )
    return bundle


def _check_wheel(path: Path, wheel: ExternalWheel) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        raise BundleError(
            f"{path} has SHA-256 {found}; the bundle was built with {wheel.sha256}",
            hint="get the very wheel that the bundle was built with",
        )


def _check_together(bundles: Sequence[ImageBundle]) -> None:
    by_platform: dict[Platform, ImageBundle] = {}
    for each in bundles:
        other = by_platform.setdefault(each.platform, each)
        if other is not each:
            raise ConfigError(
                f"{other.target} and {each.target} are both {each.platform}, and an image has one "
                "variant for each platform",
                hint="make two images with two tags",
            )
    models = {(each.manifest.model.name, each.manifest.model.version) for each in bundles}
    if len(models) > 1:
        words = ", ".join(f"{name} {version}" for name, version in sorted(models))
        raise ConfigError(
            f"the bundles hold different models: {words}", hint="one image holds one model"
        )


def _explain_wheels(bundle: ImageBundle, needed: Sequence[ExternalWheel]) -> ConfigError:
    names = ", ".join(wheel.filename for wheel in needed)
    first = needed[0]
    return ConfigError(
        f"the bundle for {bundle.target} leaves out {names}, and the image needs it",
        hint=(
            "give its folder with --wheels DIR, or a base that has "
            f"{first.name} {first.version} with --base"
        ),
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
