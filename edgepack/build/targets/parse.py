"""Turns a target's TOML into a `Target`, naming every problem at once.

It is not aware of where the file lies. Used by `edgepack.build.targets.find`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from edgepack.build.targets.target import (
    PROVIDERS,
    Arch,
    CudaSource,
    Runtime,
    Target,
    VerifyMode,
)
from edgepack.formats.errors import ConfigError, Problem, did_you_mean
from edgepack.formats.variants import ALL_VARIANTS, Format, RuntimeName, VariantSpec, runtime_format

_Type = TypeVar("_Type")

_TOP_KEYS = (
    *("name", "description", "arch", "os", "glibc", "python", "memory_mb", "bundle_limit_mb"),
    *("cpu", "runtime", "variants", "latency", "choice", "verify"),
)
#: As many rows as one request may have; see `edgepack.runner.live.signature.MAX_ROWS`.
_MOST_ROWS = 256
_RUNTIME_KEYS = (
    "name",
    "version",
    "requirements",
    "providers",
    "prune",
    "hollow",
    "drop",
    "external",
    "cuda",
)
_TWO_NUMBERS = re.compile(r"\d+\.\d+")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_VERSION = re.compile(r"\d+(\.\d+)*([a-z0-9.+]*)")
_KINDS = {str: "text", int: "a whole number", float: "a number", list: "a list of texts"}
_MISSING: Any = object()


class _Table:
    """One TOML table that is read key by key; what is wrong goes to a shared list."""

    def __init__(self, values: Any, path: str, problems: list[Problem]) -> None:
        self._path = path
        self._problems = problems
        self.values: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
        if not isinstance(values, Mapping):
            self.complain("", f"got {values!r}, expected a table")

    def complain(self, key: str, message: str, hint: str | None = None) -> None:
        where = ".".join(part for part in (self._path, key) if part)
        self._problems.append(Problem(where, message, hint))

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        for key in self.values:
            if key not in known:
                self.complain(key, f"unknown key{did_you_mean(key, known)}")

    def get(self, key: str, kind: type[_Type], default: _Type = _MISSING) -> _Type:
        """Reads a value of a kind; a wrong or missing one is noted and stands for nothing."""
        value = self.values.get(key, default)
        if value is _MISSING:
            self.complain(key, f"missing; expected {_KINDS[kind]}")
            return kind()
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return cast("_Type", float(value))
        if not isinstance(value, kind) or isinstance(value, bool):
            self.complain(key, f"got {value!r}, expected {_KINDS[kind]}")
            return kind()
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        found: list[Any] = self.get(key, list, [])
        if all(isinstance(each, str) for each in found):
            return tuple(found)
        self.complain(key, f"got {found!r}, expected a list of texts")
        return ()

    def text(
        self, key: str, pattern: re.Pattern[str], example: str, default: str = _MISSING
    ) -> str:
        """Reads a text of a form."""
        value = self.get(key, str, default)
        if isinstance(self.values.get(key), str) and not pattern.fullmatch(value):
            self.complain(key, f"got '{value}', expected a form like '{example}'")
        return value

    def one_of(self, key: str, known: tuple[str, ...], default: str = _MISSING) -> str:
        value = self.get(key, str, default)
        if isinstance(self.values.get(key), str) and value not in known:
            words = ", ".join(known)
            self.complain(key, f"got '{value}', expected {words}{did_you_mean(value, known)}")
        return value

    def positive(self, key: str, kind: type[_Type], default: _Type = _MISSING) -> _Type:
        value = self.get(key, kind, default)
        if isinstance(self.values.get(key), (int, float)) and cast("float", value) <= 0:
            self.complain(key, f"got {value}, expected more than 0")
        return value

    def table(self, key: str, known: tuple[str, ...]) -> _Table:
        path = ".".join(part for part in (self._path, key) if part)
        found = _Table(self.values.get(key, {}), path, self._problems)
        found.refuse_unknown(known)
        return found


def parse_target(data: bytes, path: Path) -> Target:
    """Parses a target.

    Args:
        data: The TOML file's bytes.
        path: Where it came from, for messages and for the lock beside it.

    Returns:
        The target.

    Raises:
        ConfigError: Anything at all is wrong with it; all of it is named.
    """
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return parse_document(document, path)


def parse_document(document: Mapping[str, Any], path: Path) -> Target:
    """Parses a target that was read from TOML already; the same otherwise as `parse_target`."""
    problems: list[Problem] = []
    top = _Table(document, "", problems)
    top.refuse_unknown(_TOP_KEYS)
    target = _read(top, path, problems)
    if target.name and target.name != path.stem:
        top.complain("name", f"got '{target.name}', expected '{path.stem}', the file's own name")
    if problems:
        raise ConfigError.from_problems(str(path), problems)
    return target


def _read(top: _Table, path: Path, problems: list[Problem]) -> Target:
    cpu = top.table("cpu", ("qemu_model", "flags"))
    latency = top.table("latency", ("p99_ms",))
    verify = top.table("verify", ("mode", "suite", "base_image"))
    choice = top.table("choice", ("candidates",))
    variants = top.table("variants", ("allowed", "max_batch"))
    runtimes = _read_runtimes(top, problems)
    return Target(
        name=top.text("name", _NAME, "arm64-tiny"),
        description=top.get("description", str),
        arch=cast("Arch", top.one_of("arch", ("x86_64", "aarch64"))),
        os=top.one_of("os", ("linux",)),
        glibc=top.text("glibc", _TWO_NUMBERS, "2.36"),
        python=top.text("python", _TWO_NUMBERS, "3.11"),
        memory_mb=top.positive("memory_mb", int),
        bundle_limit_mb=top.positive("bundle_limit_mb", float),
        qemu_model=cpu.get("qemu_model", str),
        cpu_flags=cpu.texts("flags"),
        runtimes=runtimes,
        variants=_read_variants(variants, runtimes),
        max_batch=_read_max_batch(variants, runtimes),
        p99_ms=latency.positive("p99_ms", float) if "p99_ms" in latency.values else None,
        candidates=choice.positive("candidates", int, 1),
        verify=cast("VerifyMode", verify.one_of("mode", ("native", "emulated"))),
        suite=verify.text("suite", _NAME, "bookworm"),
        base_image=verify.get("base_image", str, ""),
        path=path,
    )


def _read_runtimes(top: _Table, problems: list[Problem]) -> tuple[Runtime, ...]:
    found: list[Any] = top.get("runtime", list)
    if "runtime" in top.values and not found:
        top.complain("runtime", "the list is empty; at least one [[runtime]] is needed")
    runtimes = tuple(
        _read_runtime(_Table(each, f"runtime[{index}]", problems))
        for index, each in enumerate(found)
    )
    names = [each.name for each in runtimes]
    for name in sorted(set(names)):
        if names.count(name) > 1:
            top.complain("runtime", f"'{name}' is listed {names.count(name)} times, expected once")
    return runtimes


def _read_runtime(table: _Table) -> Runtime:
    table.refuse_unknown(_RUNTIME_KEYS)
    name = table.one_of("name", tuple(RuntimeName))
    cuda = table.one_of("cuda", get_args(CudaSource), "system")
    if "cuda" in table.values and name != RuntimeName.ONNXRUNTIME_GPU:
        table.complain("cuda", f"only {RuntimeName.ONNXRUNTIME_GPU} has CUDA libraries, not {name}")
    return Runtime(
        # A name that is not known is a problem already; any member keeps the reading going.
        name=RuntimeName(name) if name in tuple(RuntimeName) else RuntimeName.LITERT,
        version=table.text("version", _VERSION, "2.3.0"),
        requirements=table.texts("requirements"),
        providers=_read_providers(table, name),
        prune=table.texts("prune"),
        hollow=table.texts("hollow"),
        drop=table.texts("drop"),
        external=table.texts("external"),
        cuda="bundled" if cuda == "bundled" else "system",
    )


def _read_providers(table: _Table, runtime: str) -> tuple[str, ...]:
    found = table.texts("providers")
    for name in found:
        if name not in PROVIDERS:
            words = ", ".join(PROVIDERS)
            table.complain(
                "providers", f"got '{name}', expected {words}{did_you_mean(name, PROVIDERS)}"
            )
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        table.complain("providers", f"{', '.join(repeated)} is listed more than once")
    if found and runtime != RuntimeName.ONNXRUNTIME_GPU and found != (PROVIDERS[-1],):
        table.complain("providers", f"{runtime} computes on the CPU only", "leave the key out")
    return found


def _read_variants(table: _Table, runtimes: tuple[Runtime, ...]) -> tuple[VariantSpec, ...]:
    formats: set[Format] = {runtime_format(each.name) for each in runtimes}
    if "allowed" not in table.values:
        return tuple(spec for spec in ALL_VARIANTS if spec.format in formats)
    known = {spec.name: spec for spec in ALL_VARIANTS}
    found = []
    for name in table.texts("allowed"):
        spec = known.get(name)
        if spec is None:
            table.complain("allowed", f"no variant is called '{name}'{did_you_mean(name, known)}")
        elif runtimes and spec.format not in formats:
            table.complain("allowed", f"'{name}' can be loaded by none of the target's runtimes")
        else:
            found.append(spec)
    return tuple(found)


def _read_max_batch(table: _Table, runtimes: tuple[Runtime, ...]) -> int:
    rows = table.positive("max_batch", int, 1)
    if rows > _MOST_ROWS:
        table.complain("max_batch", f"got {rows}, expected at most {_MOST_ROWS}")
    fixed = [each.name for each in runtimes if runtime_format(each.name) is not Format.ONNX]
    if rows > 1 and fixed:
        table.complain(
            "max_batch",
            f"got {rows}, but {', '.join(fixed)} runs TFLite files, whose batch is fixed at 1",
            "leave the key out, or give the target only ONNX runtimes",
        )
    return rows
