"""Says which nodes of an ONNX file a GPU leaves to the CPU: a note, no refusal.

It is not aware of targets. Used by `check` and, through it, by the pipeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgepack.build.preflight import tables
from edgepack.build.preflight.onnx_file import TypedNode, read_nodes
from edgepack.build.targets.target import Runtime
from edgepack.formats.variants import RuntimeName

_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
#: What the runtime puts into the graph when it is loaded, or computes then.
_NO_WORK = frozenset(("Constant", "Identity"))


def gpu_notes(path: Path, runtime: Runtime) -> tuple[str, ...]:
    """Notes what of a file runs where on a GPU.

    Args:
        path: An ONNX file that the runtime takes.
        runtime: Its runtime; only onnxruntime-gpu has anything to be noted.

    Returns:
        Sentences for people; none where everything runs on the card as it is.
    """
    if runtime.name is not RuntimeName.ONNXRUNTIME_GPU:
        return ()
    if runtime.providers and _CUDA not in runtime.providers:
        return ()
    return notes_of(read_nodes(path), runtime)


def notes_of(nodes: Sequence[TypedNode], runtime: Runtime) -> tuple[str, ...]:
    """Notes the same of nodes that were read; see `gpu_notes`."""
    counted = Counter(
        _label(node)
        for node in nodes
        if node.name not in _NO_WORK
        and not tables.has_cuda_kernel(runtime.version, node.name, node.since, node.types)
    )
    notes = []
    if counted:
        parts = ", ".join(f"{name} ({count})" for name, count in sorted(counted.items()))
        notes.append(f"CUDA has no kernel for {parts}: these nodes run on the CPU")
    quantised = [node for node in nodes if node.name == "QuantizeLinear"]
    if quantised:
        values = f"the {len(quantised)} quantised values"
        notes.append(f"CUDA computes {values} in float; {_int8(quantised, runtime)}")
    return tuple(notes)


def _int8(quantised: Sequence[TypedNode], runtime: Runtime) -> str:
    # TensorRT has no zero point. Source: its documentation, "Working with Quantized Types".
    if any("uint8" in node.types.values() for node in quantised):
        return "TensorRT takes symmetric int8 only, and these are uint8"
    rest = "" if _TENSORRT in runtime.providers else ", and is not among the providers"
    return f"TensorRT computes them in int8{rest}"


def _label(node: TypedNode) -> str:
    kinds = sorted({kind for key, kind in node.types.items() if key.startswith("T")})
    return f"{node.name} of {' and '.join(kinds)}" if kinds else node.name
