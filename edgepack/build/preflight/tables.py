"""What each version of each runtime was measured to take.

The data lies in `operators.json` and `opsets.json`; `measure.py` makes it. It is not aware of
files or targets. Used by `edgepack.build.preflight.check`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from edgepack.formats.variants import RuntimeName


@dataclass(frozen=True, slots=True)
class Kernels:
    """The TFLite operators of a runtime.

    Attributes:
        measured: The version that was measured: the runtime's own or the nearest older one.
        exact: Whether it is the runtime's own.
        versions: Lowest and highest version by operator name.
    """

    measured: str
    exact: bool
    versions: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Opsets:
    """The newest ONNX file versions of a runtime.

    Attributes:
        measured: As in `Kernels`.
        exact: As in `Kernels`.
        ir: The highest IR version.
        opsets: The highest opset version by domain; `""` is ONNX's own.
        contrib: ONNX Runtime's own operators, those of the domain `com.microsoft`.
    """

    measured: str
    exact: bool
    ir: int
    opsets: Mapping[str, int]
    contrib: frozenset[str]


@functools.cache
def _data(name: str) -> Mapping[str, Any]:
    text = resources.files("edgepack.build.preflight").joinpath(name).read_text("utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def version_key(version: str) -> tuple[int, ...]:
    """Returns a version's numbers, for comparing; what is not a number is left out."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _nearest(known: Mapping[str, Any], version: str) -> str:
    """Returns the newest measured version that is not newer, or else the oldest."""
    ordered = sorted(known, key=version_key)
    older = [each for each in ordered if version_key(each) <= version_key(version)]
    return older[-1] if older else ordered[0]


def operator_name(code: int) -> str | None:
    """Returns the name of a builtin TFLite operator's number, or None when it has none."""
    names = _data("operators.json")["operators"]
    return names[code] if 0 <= code < len(names) else None


def kernels(runtime: RuntimeName, version: str) -> Kernels:
    """Returns the operators of a TFLite runtime.

    Args:
        runtime: `litert` or `tflite-runtime`.
        version: Its version; for one that was not measured the nearest older one is taken,
            whose operators newer versions keep.
    """
    known = _data("operators.json")["kernels"][runtime]
    measured = _nearest(known, version)
    versions = {
        name: (1, found) if isinstance(found, int) else (found[0], found[1])
        for name, found in known[measured].items()
    }
    return Kernels(measured, measured == version, versions)


def opsets(version: str) -> Opsets:
    """Returns the file versions an ONNX Runtime takes.

    Args:
        version: Its version; as in `kernels`. onnxruntime-gpu is built from the same source.
    """
    known = _data("opsets.json")["versions"]
    measured = _nearest(known, version)
    found = known[measured]
    contrib = frozenset(
        name
        for first, names in _data("opsets.json")["contrib"].items()
        if version_key(first) <= version_key(measured)
        for name in names
    )
    return Opsets(measured, measured == version, found["ir"], found["opsets"], contrib)


def onnx_version_with_contrib(operator: str) -> str | None:
    """Returns the oldest measured ONNX Runtime that has an operator of `com.microsoft`."""
    first: Mapping[str, Any] = _data("opsets.json")["contrib"]
    return next((version for version, names in first.items() if operator in names), None)


def first_release(operator: str, version: int) -> str | None:
    """Returns the first TensorFlow Lite release with an operator's version.

    Returns:
        Such as `2.17`; None where it is older than 2.11 or not on record.
    """
    found: str | None = _data("operators.json")["since"].get(operator, {}).get(str(version))
    return found


def runtimes_with(operator: str, version: int) -> list[tuple[RuntimeName, str]]:
    """Returns the TFLite runtimes whose newest measured version has an operator's version."""
    found = []
    for name, versions in _data("operators.json")["kernels"].items():
        newest = max(versions, key=version_key)
        low, high = kernels(RuntimeName(name), newest).versions.get(operator, (1, 0))
        if low <= version <= high:
            found.append((RuntimeName(name), newest))
    return found


def onnx_version_with(ir: int, domains: Mapping[str, int]) -> str | None:
    """Returns the oldest measured ONNX Runtime that takes an IR version and opsets."""
    known: Mapping[str, Any] = _data("opsets.json")["versions"]
    for version in sorted(known, key=version_key):
        row = known[version]
        if row["ir"] >= ir and all(
            number <= row["opsets"].get(domain, number) for domain, number in domains.items()
        ):
            return version
    return None


def has_cuda_kernel(version: str, name: str, since: int, types: Mapping[str, str]) -> bool:
    """Says whether the CUDA provider has a kernel for a node.

    Args:
        version: Of onnxruntime-gpu; as in `kernels`.
        name: The operator, with its domain before it where that is not ONNX's own.
        since: The version of the operator that the node's opset means.
        types: The element types that are known, by the schema's constraint, such as `T`.

    Returns:
        False only where what is known rules every kernel out.
    """
    known = _data("cuda_kernels.json")["versions"]
    rows = known[_nearest(known, version)].get(name, [])
    return any(
        first <= since <= (since if last is None else last)
        and all(kind in allowed.get(key, [kind]) for key, kind in types.items())
        for first, last, allowed in rows
    )


def newest_onnxruntime() -> str:
    """Returns the newest measured version of ONNX Runtime."""
    versions: Mapping[str, Any] = _data("opsets.json")["versions"]
    return max(versions, key=version_key)
