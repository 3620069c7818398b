"""LiteRT's C API through ctypes, without numpy, beside the interpreter the runner uses.

    python benchmarks/litert_c.py MODEL.tflite [MODEL.tflite ...]

For each model, each with a signature and int32 item indices as its input: whether both give the
same bits for 400 random histories, the median time of a call, interleaved, and how much memory a
process takes that has served 200 of them. It is a trial, not an engine: docs/performance.md says
what came of it.

Source: litert/c/litert_compiled_model.h, litert_model.h and litert_tensor_buffer.h of LiteRT 2.3.0.
Its functions take other arguments in other versions.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import math
import random
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_CPU = 1
_READ, _WRITE = 0, 1
#: Bytes of an element by LiteRT's number of its type.
_SIZES = {1: 4, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 9: 1, 10: 2, 11: 8}
_CALLS = 400
_CALLS_BEFORE_MEMORY = 200


class _Layout(ctypes.Structure):
    _fields_ = (
        # Seven bits are the rank, the eighth says whether there are strides.
        ("rank", ctypes.c_uint32),
        ("extents", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element", ctypes.c_int32), ("layout", _Layout))


class Tensor(NamedTuple):
    """A buffer of the compiled model, with its extents and bytes."""

    buffer: ctypes.c_void_p
    shape: tuple[int, ...]
    size: int


class CompiledModel:
    """A `.tflite` file in LiteRT's compiled model, with bytes in and bytes out."""

    def __init__(self, library: Path, path: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._environment = self._made("LiteRtCreateEnvironment", 0, None)
        name = str(path).encode()
        self._model = self._made("LiteRtCreateModelFromFile", self._environment, name)
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._compiled = self._made(
            "LiteRtCreateCompiledModel", self._environment, self._model, options
        )
        first = ctypes.c_size_t(0)
        self._signature = self._made("LiteRtGetModelSignature", self._model, first)
        self.inputs = self._tensors("Input")
        self.outputs = self._tensors("Output")
        self._input_buffers = (ctypes.c_void_p * len(self.inputs))(
            *(each.buffer.value for each in self.inputs)
        )
        self._output_buffers = (ctypes.c_void_p * len(self.outputs))(
            *(each.buffer.value for each in self.outputs)
        )
        size, pointer = ctypes.c_size_t, ctypes.c_void_p
        self._run = self._library.LiteRtRunCompiledModel
        self._run.argtypes = [pointer, size, size, pointer, size, pointer]
        self._lock = self._library.LiteRtLockTensorBuffer
        self._lock.argtypes = [pointer, pointer, ctypes.c_int]
        self._unlock = self._library.LiteRtUnlockTensorBuffer
        self._unlock.argtypes = [pointer]

    def run(self, inputs: Sequence[bytes]) -> list[bytes]:
        """Runs once; one text of bytes for each input and output."""
        place = ctypes.c_void_p()
        for tensor, data in zip(self.inputs, inputs, strict=True):
            self._lock(tensor.buffer, ctypes.addressof(place), _WRITE)
            ctypes.memmove(place, data, tensor.size)
            self._unlock(tensor.buffer)
        status = self._run(
            self._compiled,
            0,
            len(self.inputs),
            self._input_buffers,
            len(self.outputs),
            self._output_buffers,
        )
        if status:
            raise RuntimeError(f"LiteRtRunCompiledModel: status {status}")
        found = []
        for tensor in self.outputs:
            self._lock(tensor.buffer, ctypes.addressof(place), _READ)
            found.append(ctypes.string_at(place, tensor.size))
            self._unlock(tensor.buffer)
        return found

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise RuntimeError(f"{name}: status {status}")

    def _made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self._call(name, *arguments, ctypes.byref(made))
        return made

    def _tensors(self, kind: str) -> list[Tensor]:
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{kind}s", self._signature, ctypes.byref(count))
        found = []
        for position in map(ctypes.c_size_t, range(count.value)):
            tensor = self._made(f"LiteRtGetSignature{kind}TensorByIndex", self._signature, position)
            ranked = _TensorType()
            self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(ranked))
            shape = tuple(ranked.layout.extents[i] for i in range(ranked.layout.rank & 0x7F))
            needs = self._made(
                f"LiteRtGetCompiledModel{kind}BufferRequirements",
                self._compiled,
                ctypes.c_size_t(0),
                position,
            )
            buffer = self._made(
                "LiteRtCreateManagedTensorBufferFromRequirements",
                self._environment,
                ctypes.byref(ranked),
                needs,
            )
            found.append(Tensor(buffer, shape, math.prod(shape) * _SIZES[ranked.element]))
        return found


def compare(library: Path, path: Path) -> None:
    """Prints whether both give the same bits, and the median time of a call of each."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    compiled = CompiledModel(library, path)
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = [each["index"] for each in interpreter.get_output_details()]
    (length,) = compiled.inputs[0].shape[1:]
    same, theirs, ours = 0, [], []
    for history in _histories(length):
        data, array = struct.pack(f"<{length}i", *history), np.array([history], np.int32)
        begin = time.perf_counter_ns()
        answer = compiled.run([data])
        middle = time.perf_counter_ns()
        interpreter.set_tensor(into, array)
        interpreter.invoke()
        arrays = [interpreter.get_tensor(index) for index in out]
        theirs.append(time.perf_counter_ns() - middle)
        ours.append(middle - begin)
        same += sorted(answer) == sorted(array.tobytes() for array in arrays)
    print(
        f"{path.stem}: same bits {same}/{_CALLS}, C API {statistics.median(ours) / 1e3:.1f} us, "
        f"interpreter {statistics.median(theirs) / 1e3:.1f} us"
    )


def take_memory(library: Path | None, path: Path) -> None:
    """Runs a model in this process and prints its proportional set size in MB."""
    if library is None:
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        detail = interpreter.get_input_details()[0]
        for _ in range(_CALLS_BEFORE_MEMORY):
            interpreter.set_tensor(detail["index"], np.ones(detail["shape"], np.int32))
            interpreter.invoke()
    else:
        compiled = CompiledModel(library, path)
        ones = struct.pack("<i", 1) * (compiled.inputs[0].size // 4)
        for _ in range(_CALLS_BEFORE_MEMORY):
            compiled.run([ones])
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    print(f"{'C API' if library else 'interpreter'}: PSS {int(kilobytes) * 1024 / 1e6:.1f} MB")


def _histories(length: int) -> list[list[int]]:
    chance = random.Random(1)  # noqa: S311 - the same histories each time
    sizes = [chance.randint(1, length) for _ in range(_CALLS)]
    return [[0] * (length - n) + [chance.randint(1, 200) for _ in range(n)] for n in sizes]


def main(arguments: Sequence[str]) -> int:
    """Compares every model; returns an exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--memory", choices=("c", "interpreter"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or not spec.submodule_search_locations:
        print("error: ai-edge-litert is not installed", file=sys.stderr)
        return 4
    library = Path(spec.submodule_search_locations[0], "libLiteRt.so")
    if given.memory:
        take_memory(library if given.memory == "c" else None, given.models[0])
        return 0
    for path in given.models:
        compare(library, path)
    for kind in ("interpreter", "c"):
        # Each in a process of its own: what one has loaded is the other's memory too.
        command = [sys.executable, str(Path(__file__).resolve()), "--memory", kind]
        subprocess.run([*command, str(given.models[0])], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
