"""The wheels of a target, pinned by hash, without index addresses.

`<target>.lock` lies beside the target's TOML. It is not aware of what is in a wheel. Used by
`edgepack.build.targets.site`, the pipeline and the command line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from edgepack.build.cache import Cache
from edgepack.build.targets.target import Runtime, Target, runtime_definition
from edgepack.build.targets.uv import run_uv
from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.errors import ConfigError, Problem

_SHA256 = re.compile(r"[0-9a-f]{64}")
#: A lock of four runtimes is 6 kB.
_MAX_LOCK_BYTES = 2**20
#: Name, version, Python, ABI and platform. Source: PEP 427.
_MIN_DASHES = 4


@dataclass(frozen=True, slots=True)
class LockedWheel:
    """One pinned wheel.

    Attributes:
        filename: Its name, such as `numpy-2.2.6-cp311-cp311-manylinux_2_17_aarch64.whl`.
        sha256: Its hash.
        external: Whether it stays out of the bundle.
    """

    filename: str
    sha256: str
    external: bool = False

    @property
    def name(self) -> str:
        """The distribution's normalised name. Source: PEP 503 and PEP 427."""
        return re.sub(r"[-_.]+", "-", self.filename.split("-")[0]).lower()

    @property
    def version(self) -> str:
        """The distribution's version."""
        return self.filename.split("-")[1]

    @property
    def tags(self) -> tuple[str, str, str]:
        """Python, ABI and platform tag, each perhaps several joined by dots."""
        python, abi, platform = self.filename.removesuffix(".whl").split("-")[-3:]
        return python, abi, platform


@dataclass(frozen=True, slots=True)
class RuntimeLock:
    """The wheels of one runtime, and what they were resolved from."""

    inputs: str
    wheels: tuple[LockedWheel, ...]


@dataclass(frozen=True, slots=True)
class Lock:
    """The wheels of every runtime of a target, by the runtime's name."""

    runtimes: Mapping[str, RuntimeLock]

    def to_bytes(self) -> bytes:
        """Returns the lock file's text."""
        lines = ["# Written by `edgepack targets lock`; wheels by hash, from any index."]
        for name, runtime in self.runtimes.items():
            lines += ["", "[[runtime]]", f'name = "{name}"', f'inputs = "{runtime.inputs}"']
            for key, external in (("wheels", False), ("external", True)):
                chosen = [each for each in runtime.wheels if each.external is external]
                if chosen or not external:
                    rows = [f'  "{each.filename} sha256:{each.sha256}",' for each in chosen]
                    lines += [f"{key} = [", *rows, "]"]
        return ("\n".join(lines) + "\n").encode()


def lock_inputs(target: Target, runtime: Runtime) -> str:
    """Returns the hash of everything a runtime's wheels are resolved from."""
    definition = runtime_definition(runtime)
    asked = {key: definition[key] for key in ("name", "requirements", "drop", "external")}
    asked |= {"platform": target.uv_platform, "python": target.python}
    # Sixteen digits tell a stale lock apart; nothing is trusted because of them.
    return sha256_hex(canonical_json(asked))[:16]


def make_lock(target: Target, cache: Cache) -> Lock:
    """Resolves the wheels of every runtime of a target, over the network.

    Args:
        target: The target.
        cache: Gives a directory to work in.

    Returns:
        The lock; nothing is written.

    Raises:
        WheelsUnavailableError: The index cannot be reached.
        ConfigError: Nothing fits.
        MissingExtraError: uv is not installed.
    """
    runtimes = {}
    with cache.temporary_directory("lock-") as directory:
        for runtime in target.runtimes:
            wheels = _resolve(target, runtime, directory)
            runtimes[str(runtime.name)] = RuntimeLock(lock_inputs(target, runtime), wheels)
    return Lock(runtimes)


def _resolve(target: Target, runtime: Runtime, directory: Path) -> tuple[LockedWheel, ...]:
    # The format with file names: a pylock.toml. Source: PEP 751.
    source, result = directory / "requirements.in", directory / f"pylock.{runtime.name}.toml"
    source.write_text("".join(f"{line}\n" for line in runtime.all_requirements))
    dropped = [part for name in runtime.drop for part in ("--no-emit-package", name)]
    run_uv(
        ["compile", source, "--format", "pylock.toml", "--output-file", result, *dropped],
        platform=target.uv_platform,
        python=target.python,
        label=f"target {target.name}, {runtime.label}",
        cwd=directory,
    )
    document = tomllib.loads(result.read_text())
    wheels = [_read_package(each, runtime) for each in document.get("packages", [])]
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _read_package(package: Mapping[str, Any], runtime: Runtime) -> LockedWheel:
    # uv leaves only the best wheel when it resolves for one platform.
    wheel = package["wheels"][0]
    filename = (
        wheel.get("name")
        or PurePosixPath(unquote(urlsplit(str(wheel.get("url") or wheel.get("path"))).path)).name
    )
    found = LockedWheel(filename, wheel["hashes"]["sha256"])
    return LockedWheel(filename, found.sha256, found.name in runtime.outside)


def load_lock(target: Target) -> Lock | None:
    """Loads the lock beside a target.

    Returns:
        The lock, or None when there is none.

    Raises:
        ConfigError: It is not a lock.
    """
    try:
        data = target.lock_path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{target.lock_path}: cannot be read: {error.strerror}") from error
    return parse_lock(data, target.lock_path)


def parse_lock(data: bytes, path: Path) -> Lock:
    """Parses a lock file.

    Args:
        data: The file's bytes.
        path: Where it came from, for messages.

    Raises:
        ConfigError: It is not a lock; every bad line is named.
    """
    if len(data) > _MAX_LOCK_BYTES:
        raise ConfigError(f"{path}: {len(data)} bytes, a lock has at most {_MAX_LOCK_BYTES}")
    problems: list[Problem] = []
    runtimes = {}
    try:
        for index, table in enumerate(tomllib.loads(data.decode("utf-8"))["runtime"]):
            where = f"runtime[{index}]"
            wheels = [
                _parse_line(line, external, where, problems)
                for key, external in (("wheels", False), ("external", True))
                for line in table.get(key, [])
            ]
            kept = sorted((each for each in wheels if each), key=lambda wheel: wheel.name)
            runtimes[str(table["name"])] = RuntimeLock(str(table["inputs"]), tuple(kept))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a lock: {error!r}", hint="`edgepack targets lock` writes a new one"
        ) from error
    if problems:
        raise ConfigError.from_problems(str(path), problems)
    return Lock(runtimes)


def _parse_line(
    line: Any, external: bool, where: str, problems: list[Problem]
) -> LockedWheel | None:
    filename, _, digest = str(line).partition(" sha256:")
    is_wheel = filename.endswith(".whl") and filename.count("-") >= _MIN_DASHES
    if is_wheel and _SHA256.fullmatch(digest):
        return LockedWheel(filename, digest, external)
    problems.append(Problem(where, f"got {line!r}, expected 'NAME.whl sha256:HEX'"))
    return None


def check_lock(target: Target, lock: Lock | None) -> list[Problem]:
    """Compares a lock with its target, without the network.

    Returns:
        What no longer fits; empty when the lock is current.
    """
    hint = f"edgepack targets lock {target.name}"
    if lock is None:
        return [Problem(target.lock_path.name, "not there", hint)]
    problems = []
    for runtime in target.runtimes:
        found = lock.runtimes.get(runtime.name)
        if found is None:
            problems.append(Problem(str(runtime.name), "has no wheels in the lock", hint))
        elif found.inputs != lock_inputs(target, runtime):
            problems.append(
                Problem(str(runtime.name), "the lock was made for other requirements", hint)
            )
    return problems


def current_lock(target: Target, cache: Cache) -> Lock:
    """Loads a target's lock; makes and keeps one where there is none.

    Raises:
        ConfigError: The lock does not fit the target any more.
        WheelsUnavailableError: There is none and the index cannot be reached.
    """
    lock = load_lock(target)
    if lock is None:
        # The first build of a new target pins it, as `targets lock` would.
        lock = make_lock(target, cache)
        write_lock(target, lock)
    elif problems := check_lock(target, lock):
        raise ConfigError.from_problems(str(target.lock_path), problems)
    return lock


def write_lock(target: Target, lock: Lock) -> None:
    """Writes a target's lock file at once, so that a reader never sees half of it.

    Raises:
        ConfigError: The folder cannot be written.
    """
    draft = target.lock_path.with_name(f".{target.lock_path.name}.new")
    try:
        draft.write_bytes(lock.to_bytes())
        draft.replace(target.lock_path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(
            f"{target.lock_path}: cannot be written: {error.strerror}",
            hint="copy the target into a folder of your own and name its path",
        ) from error
