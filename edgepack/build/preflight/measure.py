"""Asks a runtime itself which operators, opsets and file versions it takes.

The tables beside this file are made with it, one child process for each runtime version:

    python edgepack/build/preflight/measure.py RUNTIME SITE

where SITE is a directory with that runtime's wheels for this machine. It writes one JSON
object. It is not aware of targets or models, and imports nothing of edgepack, because it runs
inside foreign environments.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

#: Far above the newest operator version known (14, FULLY_CONNECTED).
_MAX_TRIED_VERSION = 30
#: Ordinary operator codes end near 210; the rest up to 255 is room for newer ones.
_MAX_TRIED_CODE = 255
#: How the resolver says that an operator is not registered, or that its code is newer than
#: the runtime. Source: tensorflow/lite/core/api/op_resolver.cc, GetRegistrationFromOpCode.
_NOT_FOUND = re.compile(r"builtin opcode '|builtin_code out of range")


def one_operator_model(code: int, version: int) -> bytes:
    """Builds a TFLite file that names one operator and runs nothing.

    Args:
        code: The builtin operator's number.
        version: Its version.

    Returns:
        A flatbuffer with identifier TFL3. An interpreter maps every operator code to a
        kernel before it looks at the graph, so an empty graph is enough to ask.
    """
    import flatbuffers

    builder = flatbuffers.Builder(128)
    builder.StartObject(4)
    builder.PrependInt8Slot(0, min(code, 127), 0)
    builder.PrependInt32Slot(2, version, 1)
    builder.PrependInt32Slot(3, code, 0)
    operator_code = builder.EndObject()
    builder.StartObject(5)
    subgraph = builder.EndObject()
    builder.StartObject(1)
    buffer = builder.EndObject()
    vectors = []
    for item in (operator_code, subgraph, buffer):
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(item)
        vectors.append(builder.EndVector())
    builder.StartObject(8)
    builder.PrependUint32Slot(0, 3, 0)
    for slot, vector in zip((1, 2, 4), vectors, strict=True):
        builder.PrependUOffsetTRelativeSlot(slot, vector, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    return bytes(builder.Output())


def measure_tflite(interpreter: Callable[..., Any]) -> dict[str, list[int]]:
    """Finds the operator versions that an interpreter has kernels for.

    Args:
        interpreter: The runtime's `Interpreter` class.

    Returns:
        The lowest and highest version by operator number, as text.
    """
    found: dict[str, list[int]] = {}
    for code in range(_MAX_TRIED_CODE + 1):
        known = [
            version
            for version in range(1, _MAX_TRIED_VERSION + 1)
            if _takes(interpreter, code, version)
        ]
        if known:
            found[str(code)] = [min(known), max(known)]
    return found


def _takes(interpreter: Callable[..., Any], code: int, version: int) -> bool:
    try:
        interpreter(model_content=one_operator_model(code, version))
    except ValueError as error:
        # Any other complaint comes after the operator was found.
        return _NOT_FOUND.search(str(error)) is None
    return True


def measure_onnx(runtime: Any) -> dict[str, Any]:
    """Finds the newest opsets and IR version that ONNX Runtime takes, and its own operators.

    Args:
        runtime: The module `onnxruntime`.

    Returns:
        `ir`, the highest IR version, `opsets`, the highest version by domain, and `contrib`,
        the registered operators of `com.microsoft`: whether a device has a kernel for one is
        not asked, because some are made of others when the file is loaded.
    """
    from onnx import TensorProto, helper

    schemas = runtime.capi.onnxruntime_pybind11_state.get_all_operator_schema()

    def takes(domain: str, version: int, ir: int) -> bool:
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
        node = helper.make_node("Identity", ["x"], ["y"])
        graph = helper.make_graph([node], "g", [value], [result])
        opsets = {"": 13, domain: version}
        imports = [helper.make_opsetid(*each) for each in opsets.items()]
        model = helper.make_model(graph, ir_version=ir, opset_imports=imports)
        try:
            runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - every version has error classes of its own
            return False
        return True

    return {
        "ir": max(ir for ir in range(3, 30) if takes("", 13, ir)),
        "opsets": {
            domain: max(n for n in range(1, 40) if takes(domain, n, 8))
            for domain in ("", "ai.onnx.ml")
        },
        "contrib": sorted({each.name for each in schemas if each.domain == "com.microsoft"}),
    }


def main(runtime: str, site: str) -> None:
    """Measures one runtime and writes what it found to the standard output."""
    sys.path.insert(0, site)
    if runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter

        found: dict[str, Any] = measure_tflite(Interpreter)
    elif runtime == "tflite-runtime":
        from tflite_runtime.interpreter import Interpreter as OldInterpreter

        found = measure_tflite(OldInterpreter)
    else:
        import onnxruntime

        found = measure_onnx(onnxruntime)
    sys.stdout.write(json.dumps(found, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
