"""ONNX Runtime with a simulated CUDA provider: its own CPU session behind its own interface.

What is asked of `cuda` is done by the CPU, so answers are real; a card can be made to fail at
loading, while running, or from some moment on. Only what the GPU engine calls is here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnxruntime

#: As ONNX Runtime 1.24.4 says it.
OUT_OF_MEMORY = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
    "MatMul node. Name:'dense' Status Message: /onnxruntime_src/onnxruntime/core/framework/"
    "bfc_arena.cc:359 void* onnxruntime::BFCArena::AllocateRawInternal() Failed to allocate memory "
    "for requested buffer of size 4294967296"
)
NOT_ALL_ON_CUDA = (
    "[ONNXRuntimeError] : 1 : FAIL : This session cannot use the CUDA Graph feature as requested "
    "by the user as all the graph nodes have not been assigned to CUDAExecutionProvider"
)


@dataclass
class SimulatedCuda:
    """The module `onnxruntime` as the GPU engine uses it.

    Attributes:
        load_errors: By provider, what opening a session on it says.
        run_error: What every run on the card says; None while the card is well.
        refuses_graphs: Whether the model has nodes that are the CPU's.
        ignores: Providers that are left out silently, as ONNX Runtime does with a library that
            cannot be loaded.
        opened: Providers and their options of each session that was opened.
        bound: Shapes that buffers were made for.
        graph_ids: The graphs that runs asked for.
        threads: The threads that ran with bound buffers.
        plain_runs: Runs without binding.
    """

    load_errors: dict[str, str] = field(default_factory=dict)
    run_error: str | None = None
    refuses_graphs: bool = False
    ignores: frozenset[str] = frozenset()
    opened: list[list[tuple[str, Mapping[str, str]]]] = field(default_factory=list)
    bound: list[tuple[int, ...]] = field(default_factory=list)
    graph_ids: list[str] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    plain_runs: int = 0
    __version__ = "1.24.4"
    SessionOptions = onnxruntime.SessionOptions
    ExecutionMode = onnxruntime.ExecutionMode

    @property
    def OrtValue(self) -> Any:  # noqa: N802 - the module's own name
        return _Values(self)

    def RunOptions(self) -> _RunOptions:  # noqa: N802 - the module's own name
        return _RunOptions(self)

    def InferenceSession(  # noqa: N802 - the module's own name
        self,
        path: str,
        options: Any,
        *,
        providers: Sequence[tuple[str, Mapping[str, str]]],
        enable_fallback: int,
    ) -> _Session:
        assert enable_fallback == 0
        self.opened.append(list(providers))
        for name, settings in providers:
            if name in self.load_errors:
                raise RuntimeError(self.load_errors[name])
            if self.refuses_graphs and settings.get("enable_cuda_graph") == "1":
                raise RuntimeError(NOT_ALL_ON_CUDA)
        real = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return _Session(self, real, [name for name, _ in providers if name not in self.ignores])


class _Values:
    def __init__(self, card: SimulatedCuda) -> None:
        self._card = card

    def ortvalue_from_shape_and_type(
        self, shape: Sequence[int], dtype: Any, device: str, number: int
    ) -> Any:
        assert (device, number) == ("cuda", 0)
        self._card.bound.append(tuple(shape))
        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, "cpu", 0)
        return _OnCard(value)


class _OnCard:
    """A value on the simulated card: `numpy` copies, as from a real one."""

    def __init__(self, value: Any) -> None:
        self.real = value

    def update_inplace(self, array: Any) -> None:
        self.real.update_inplace(array)

    def numpy(self) -> Any:
        return self.real.numpy().copy()


class _RunOptions:
    def __init__(self, card: SimulatedCuda) -> None:
        self._card = card
        self.graph: str | None = None

    def add_run_config_entry(self, key: str, value: str) -> None:
        assert key == "gpu_graph_id"
        self.graph = value


class _Binding:
    def __init__(self, real: Any) -> None:
        self.real = real

    def bind_ortvalue_input(self, name: str, value: _OnCard) -> None:
        self.real.bind_ortvalue_input(name, value.real)

    def bind_ortvalue_output(self, name: str, value: _OnCard) -> None:
        self.real.bind_ortvalue_output(name, value.real)


class _Session:
    def __init__(self, card: SimulatedCuda, real: Any, providers: list[str]) -> None:
        self._card = card
        self._real = real
        self._providers = providers

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> Any:
        return self._real.get_inputs()

    def get_outputs(self) -> Any:
        return self._real.get_outputs()

    def io_binding(self) -> _Binding:
        return _Binding(self._real.io_binding())

    def run(self, names: None, feed: Mapping[str, Any]) -> Any:
        self._fail()
        self._card.plain_runs += 1
        return self._real.run(names, feed)

    def run_with_iobinding(self, binding: _Binding, options: _RunOptions | None) -> None:
        self._fail()
        self._card.threads.add(threading.get_ident())
        if options is not None and options.graph is not None:
            self._card.graph_ids.append(options.graph)
        self._real.run_with_iobinding(binding.real)

    def _fail(self) -> None:
        if self._card.run_error is not None:
            raise RuntimeError(self._card.run_error)
