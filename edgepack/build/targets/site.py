"""A target's wheels, unpacked and trimmed: the `site` folder of a bundle.

It is not aware of models or bundles. Used by the pipeline.
"""

from __future__ import annotations

import email.parser
from dataclasses import dataclass
from pathlib import Path

from edgepack.build.cache import Cache
from edgepack.build.targets.lock import LockedWheel, current_lock
from edgepack.build.targets.target import CUDA_DISTRIBUTIONS, Runtime, Target
from edgepack.build.targets.trim import trim_site
from edgepack.build.targets.uv import run_uv
from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.manifest import ExternalWheel

#: Raised when trimming changes, so that caches do not serve what an older edgepack cut.
_TRIM_VERSION = 2
#: Some put the whole text of the licence where its name belongs.
_LONGEST_LICENCE_NAME = 60


@dataclass(frozen=True, slots=True)
class Wheel:
    """One distribution of a site, as the bundle's list of parts names it.

    Attributes:
        name: Normalised name.
        version: Version.
        filename: The wheel's file name.
        sha256: The wheel's hash.
        licence: What its metadata says, or `unknown`.
        external: Whether it stays out of the bundle.
    """

    name: str
    version: str
    filename: str
    sha256: str
    licence: str
    external: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A finished site.

    Attributes:
        path: The packed part: importable files, nothing else.
        external_path: The wheels that are not packed, for the proof on the target; None
            when there are none.
        wheels: Every distribution, those outside included, by name.
        size_bytes: Bytes of the packed files.
        sha256: Hash of the packed files' paths and the wheels' hashes.
    """

    path: Path
    external_path: Path | None
    wheels: tuple[Wheel, ...]
    size_bytes: int
    sha256: str

    @property
    def external(self) -> tuple[ExternalWheel, ...]:
        """The wheels that are not packed, in the manifest's words."""
        return tuple(
            ExternalWheel(each.name, each.version, each.filename, each.sha256)
            for each in self.wheels
            if each.external
        )


def make_site(target: Target, runtime: Runtime, cache: Cache) -> Site:
    """Unpacks a runtime's pinned wheels for a target, from the cache where they are there.

    Args:
        target: The target.
        runtime: One of its runtimes.
        cache: Where sites are kept by content.

    Returns:
        The site; treat its files as read-only.

    Raises:
        ConfigError: The lock does not fit the target, or no wheel fits the platform.
        WheelsUnavailableError: A wheel cannot be fetched.
        MissingExtraError: uv is not installed.
    """
    locked = current_lock(target, cache).runtimes[runtime.name].wheels
    packed = tuple(each for each in locked if not each.external)
    # CUDA's own libraries, two gigabytes of them, are of no use to a proof without a card.
    outside = tuple(
        each for each in locked if each.external and each.name not in CUDA_DISTRIBUTIONS
    )
    path = _unpacked(target, runtime, packed, cache)
    # The box brings these, and nobody shortens them there.
    external_path = _unpacked(target, runtime, outside, cache, whole=True) if outside else None
    files = sorted(each for each in path.rglob("*") if each.is_file())
    sizes = {str(each.relative_to(path)): each.stat().st_size for each in files}
    return Site(
        path=path,
        external_path=external_path,
        wheels=tuple(_describe(each, external_path if each.external else path) for each in locked),
        size_bytes=sum(sizes.values()),
        sha256=sha256_hex(canonical_json([sizes, [each.sha256 for each in packed]])),
    )


def _unpacked(
    target: Target,
    runtime: Runtime,
    wheels: tuple[LockedWheel, ...],
    cache: Cache,
    *,
    whole: bool = False,
) -> Path:
    key = {
        "wheels": [f"{each.filename} {each.sha256}" for each in wheels],
        "prune": list(runtime.prune),
        "hollow": list(runtime.hollow),
        "trim": None if whole else _TRIM_VERSION,
    }

    def make(draft: Path) -> None:
        site, work = draft / "site", draft / "work"
        site.mkdir()
        work.mkdir()
        unpack_wheels(target, runtime, wheels, site, work)
        if not whole:
            trim_site(site, runtime.prune, runtime.hollow)
        (work / "requirements.txt").unlink()
        work.rmdir()

    return cache.get_or_make("site", key, make) / "site"


def unpack_wheels(
    target: Target, runtime: Runtime, wheels: tuple[LockedWheel, ...], site: Path, work: Path
) -> None:
    """Unpacks wheels as they are, nothing taken out.

    Args:
        target: The target.
        runtime: One of its runtimes.
        wheels: Some of its locked wheels.
        site: An empty folder for them.
        work: A folder for what the installer reads.

    Raises:
        ConfigError: No wheel fits the platform.
        WheelsUnavailableError: A wheel cannot be fetched.
        MissingExtraError: uv is not installed.
    """
    requirements = work / "requirements.txt"
    requirements.write_text(
        "".join(f"{each.name}=={each.version} --hash=sha256:{each.sha256}\n" for each in wheels)
    )
    run_uv(
        [
            *("install", "--target", site, "--requirements", requirements, "--require-hashes"),
            *("--no-deps", "--no-compile-bytecode", "--link-mode", "copy"),
        ],
        platform=target.uv_platform,
        python=target.python,
        label=f"target {target.name}, {runtime.label}",
        cwd=work,
    )
    # uv keeps a lock file in a target directory.
    (site / ".lock").unlink(missing_ok=True)


def _describe(wheel: LockedWheel, site: Path | None) -> Wheel:
    licence = read_licence(site, wheel) if site else "unknown"
    return Wheel(wheel.name, wheel.version, wheel.filename, wheel.sha256, licence, wheel.external)


def read_licence(site: Path, wheel: LockedWheel) -> str:
    """Returns the licence in a distribution's metadata.

    Args:
        site: Where it is unpacked.
        wheel: The distribution.

    Returns:
        Its SPDX expression where it has one, else the name or the classifier it gives,
        or `unknown`. Source: core metadata 2.4.
    """
    stem = wheel.filename.split("-")[0]
    file = site / f"{stem}-{wheel.version}.dist-info" / "METADATA"
    if not file.is_file():
        return "unknown"
    fields = email.parser.HeaderParser().parsestr(file.read_text(encoding="utf-8"))
    if expression := fields.get("License-Expression"):
        return expression
    classifiers = [
        each.rsplit(" :: ", 1)[-1]
        for each in fields.get_all("Classifier", [])
        if each.startswith("License ::")
    ]
    stated = (fields.get("License") or "").strip()
    if 0 < len(stated) <= _LONGEST_LICENCE_NAME and "\n" not in stated:
        return stated
    return " OR ".join(classifiers) or "unknown"
