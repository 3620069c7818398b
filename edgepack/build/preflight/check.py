"""Decides without running anything whether a variant can load on a target.

It is not aware of emulators or quality. Used by the pipeline, for every variant, runtime and
target.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgepack.build.artifacts import ConvertedVariant
from edgepack.build.preflight import tables
from edgepack.build.preflight.box import check_cpu, check_wheels
from edgepack.build.preflight.cuda import gpu_notes
from edgepack.build.preflight.onnx_file import OnnxModel, read_onnx
from edgepack.build.preflight.tflite import TfliteModel, TfliteOperator, read_tflite
from edgepack.build.targets.lock import LockedWheel
from edgepack.build.targets.target import Runtime, Target
from edgepack.formats.errors import ConversionError, EdgepackError, MissingToolError, Problem
from edgepack.formats.variants import Format, RuntimeName, runtime_format

#: Custom operators that the Python runtimes register beside the builtin ones.
#: Source: tensorflow/lite/core/kernels/register.cc, BuiltinOpResolver.
_CUSTOM_KERNELS: Final = frozenset(
    {"NumericVerify", "Mfcc", "AudioSpectrogram", "TFLite_Detection_PostProcess"}
)
#: ONNX Runtime's operators beyond ONNX's own. Source: docs/ContribOperators.md of ONNX Runtime.
_ONNX_DOMAINS: Final = frozenset({"", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})

#: Resident bytes of Python, numpy and the runtime before a model is loaded, in MB: measured
#: as PSS, 40 with LiteRT and 51 with ONNX Runtime, with room for the server beside it.
_BASE_MEMORY_MB: Final = {Format.TFLITE: 60, Format.ONNX: 80}
#: Copies of the weights in memory: TFLite maps the file and packs the dense layers beside it,
#: ONNX Runtime reads the file and keeps its tensors and their packed form.
_WEIGHT_COPIES: Final = {Format.TFLITE: 2, Format.ONNX: 3}


def preflight(
    target: Target,
    runtime: Runtime,
    variant: ConvertedVariant,
    wheels: Sequence[LockedWheel] = (),
) -> tuple[Problem, ...]:
    """Checks a variant against a target and one of its runtimes.

    Args:
        target: The kind of box.
        runtime: The runtime that would load it.
        variant: The variant; one that failed to convert has no problems of its own here.
        wheels: The runtime's pinned wheels; none are checked when empty.

    Returns:
        Everything that would keep it from loading; empty when nothing is known to.

    Raises:
        MissingExtraError: The package onnx is needed and not installed.
    """
    if variant.path is None:
        return ()
    problems = [*_check_permission(target, runtime, variant)]
    if not problems:
        problems += _check_file(runtime, variant)
    problems += _check_memory(target, variant)
    problems += check_wheels(target, wheels)
    problems += check_cpu(target, wheels)
    return tuple(problems)


def _check_permission(target: Target, runtime: Runtime, variant: ConvertedVariant) -> list[Problem]:
    wanted = runtime_format(runtime.name)
    if variant.spec.format is not wanted:
        text = f"{runtime.name} loads {wanted} files, this is {variant.spec.format}"
        return [Problem(variant.spec.name, text)]
    if variant.spec not in target.variants:
        return [Problem(variant.spec.name, f"target {target.name} does not allow it")]
    return []


def _check_file(runtime: Runtime, variant: ConvertedVariant) -> list[Problem]:
    path = variant.path
    if path is None:
        return []
    try:
        if variant.spec.format is Format.TFLITE:
            return check_tflite(read_tflite(path.read_bytes()), runtime)
        return check_onnx(read_onnx(path), runtime)
    except MissingToolError:
        raise
    except EdgepackError as error:
        return [Problem(variant.spec.name, error.message)]


def check_tflite(model: TfliteModel, runtime: Runtime) -> list[Problem]:
    """Compares a TFLite file's operators with a runtime's kernels.

    Args:
        model: What the file needs.
        runtime: LiteRT or tflite-runtime.

    Returns:
        One problem for each operator the runtime cannot run.
    """
    known = tables.kernels(runtime.name, runtime.version)
    problems = []
    for operator in sorted(set(model.operators), key=lambda each: (each.code, each.version)):
        problem = _check_operator(operator, runtime, known)
        if problem:
            problems.append(problem)
    return problems


def _check_operator(
    operator: TfliteOperator, runtime: Runtime, known: tables.Kernels
) -> Problem | None:
    label = runtime.label
    if operator.custom is not None:
        if operator.custom in _CUSTOM_KERNELS:
            return None
        if operator.custom.startswith("Flex"):
            return Problem(
                f"operator {operator.custom}",
                f"a TensorFlow operator that TFLite only names; {label} has no kernel for it",
                "convert without SELECT_TF_OPS, or replace the layer that needs it",
            )
        return Problem(f"operator {operator.custom}", f"a custom operator; {label} has no kernel")
    name = tables.operator_name(operator.code)
    if name is None:
        return Problem(f"operator {operator.code}", f"not in the TFLite schema; {label} refuses it")
    low, high = known.versions.get(name, (1, 0))
    if low <= operator.version <= high:
        return None
    if high == 0:
        says = f"{label} has no such operator"
    elif operator.version > high:
        says = f"{label} knows versions up to {high}"
    else:
        says = f"{label} knows versions from {low}"
    if not known.exact:
        says += f" (measured: {known.measured})"
    return Problem(
        f"{name} version {operator.version}", says, _who_has(name, operator.version, runtime)
    )


def _who_has(operator: str, version: int, runtime: Runtime) -> str | None:
    parts = []
    if release := tables.first_release(operator, version):
        parts.append(f"needs TensorFlow Lite {release} or newer")
    others = [f"{n} {v}" for n, v in tables.runtimes_with(operator, version) if n != runtime.name]
    newer = [
        f"{n} {v}"
        for n, v in tables.runtimes_with(operator, version)
        if n == runtime.name and tables.version_key(v) > tables.version_key(runtime.version)
    ]
    if others or newer:
        parts.append(f"use {' or '.join(newer + others)}")
    return ": ".join(parts) or None


def check_onnx(model: OnnxModel, runtime: Runtime) -> list[Problem]:
    """Compares an ONNX file's versions and operators with a runtime's.

    Args:
        model: What the file needs.
        runtime: ONNX Runtime, with or without GPU.

    Returns:
        Everything the runtime refuses.
    """
    known = tables.opsets(runtime.version)
    newer = tables.onnx_version_with(model.ir, model.opsets)
    hint = f"use {RuntimeName.ONNXRUNTIME} {newer} or newer" if newer else None
    problems = []
    if model.ir > known.ir:
        text = f"{runtime.label} knows versions up to {known.ir}"
        problems.append(Problem(f"ONNX IR version {model.ir}", text, hint))
    for domain, version in sorted(model.opsets.items()):
        limit = known.opsets.get(domain)
        if limit is not None and version > limit:
            where = f"opset {version} of {domain or 'ai.onnx'}"
            problems.append(Problem(where, f"{runtime.label} knows opsets up to {limit}", hint))
    problems += check_onnx_operators(model, runtime)
    for domain, name in sorted(model.unknown):
        where = f"operator {name}"
        text = f"opset {model.opsets.get(domain, 1)} of {domain or 'ai.onnx'} does not define it"
        problems.append(Problem(where, text))
    if model.external_data:
        text = "weights lie in files of their own, and a bundle carries one file a variant"
        problems.append(Problem("external data", text, "save the model as one file"))
    return problems


def check_onnx_operators(model: OnnxModel, runtime: Runtime) -> list[Problem]:
    """Finds the operators beyond ONNX's own that a runtime does not have.

    Args:
        model: What the file needs.
        runtime: ONNX Runtime, with or without GPU.

    Returns:
        One problem for each.
    """
    known = tables.opsets(runtime.version)
    problems = []
    for domain, name in sorted(model.operators):
        if domain not in _ONNX_DOMAINS:
            where = f"operator {domain}.{name}"
            problems.append(Problem(where, f"{runtime.label} has no operators of {domain}"))
        elif domain == "com.microsoft" and name not in known.contrib:
            problems.append(_missing_contrib(name, runtime, known))
    return problems


def _missing_contrib(name: str, runtime: Runtime, known: tables.Opsets) -> Problem:
    newer = tables.onnx_version_with_contrib(name)
    says = f"{runtime.label} has no such operator"
    if not known.exact:
        says += f" (measured: {known.measured})"
    hint = f"use {RuntimeName.ONNXRUNTIME} {newer} or newer" if newer else None
    return Problem(f"operator com.microsoft.{name}", says, hint)


def _check_memory(target: Target, variant: ConvertedVariant) -> list[Problem]:
    needed = _BASE_MEMORY_MB[variant.spec.format] + (
        _WEIGHT_COPIES[variant.spec.format] * variant.size_bytes / 1_000_000
    )
    if needed <= target.memory_mb:
        return []
    text = f"needs about {needed:.0f} MB of memory, the box has {target.memory_mb}"
    return [Problem(variant.spec.name, text)]


def check_bundle_size(target: Target, size_bytes: int) -> tuple[Problem, ...]:
    """Compares a finished bundle's size with the target's limit.

    Args:
        target: The target.
        size_bytes: The bundle file's bytes.
    """
    if size_bytes <= target.bundle_limit_bytes:
        return ()
    text = (
        f"the bundle is {size_bytes / 1_000_000:.2f} MB, target {target.name} allows "
        f"{target.bundle_limit_mb:g}"
    )
    return (Problem("bundle_limit_mb", text, "choose a smaller variant or raise the limit"),)


def preflight_record(
    target: Target,
    runtime: Runtime,
    variant: ConvertedVariant,
    wheels: Sequence[LockedWheel] = (),
) -> dict[str, Any]:
    """Returns what was checked, for the manifest.

    Args:
        target: The kind of box.
        runtime: The runtime.
        variant: The variant.
        wheels: The runtime's pinned wheels.

    Returns:
        JSON values; the same for the same inputs.
    """
    problems = preflight(target, runtime, variant, wheels)
    record: dict[str, Any] = {
        "runtime": runtime.label,
        "problems": [str(each) for each in problems],
    }
    if variant.path is not None:
        # A file that cannot be read has said so among the problems.
        with contextlib.suppress(ConversionError):
            record |= _file_record(runtime, variant, variant.path)
            if notes := preflight_notes(runtime, variant):
                record["notes"] = list(notes)
    return record


def preflight_notes(runtime: Runtime, variant: ConvertedVariant) -> tuple[str, ...]:
    """Returns what a person should know of a variant that nothing keeps from loading.

    Args:
        runtime: The runtime that would load it.
        variant: The variant.

    Returns:
        Sentences; at present what a GPU leaves to the CPU.
    """
    if variant.path is None or variant.spec.format is not Format.ONNX:
        return ()
    return gpu_notes(variant.path, runtime)


def _file_record(runtime: Runtime, variant: ConvertedVariant, path: Path) -> dict[str, Any]:
    if variant.spec.format is Format.TFLITE:
        model = read_tflite(path.read_bytes())
        return {
            "table": tables.kernels(runtime.name, runtime.version).measured,
            "min_runtime_version": model.min_runtime_version,
            "operators": _highest_versions(model),
        }
    file = read_onnx(path)
    return {
        "table": tables.opsets(runtime.version).measured,
        "ir": file.ir,
        "opsets": {domain or "ai.onnx": number for domain, number in sorted(file.opsets.items())},
        "operators": sorted(".".join(filter(None, each)) for each in file.operators),
    }


def _highest_versions(model: TfliteModel) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in model.operators:
        name = each.custom or tables.operator_name(each.code) or str(each.code)
        found[name] = max(found.get(name, 0), each.version)
    return dict(sorted(found.items()))
