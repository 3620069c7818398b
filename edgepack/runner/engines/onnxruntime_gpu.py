"""The ONNX Runtime engine on a GPU, with the CPU to fall back to.

The verdict of `edgepack.runner.gpu` comes first, so nothing of CUDA is loaded where it cannot
work. Whatever fails afterwards, at loading or in the middle of a request, ends on a CPU session
of the same file: the request is answered, `fallback` says why, and it is told once. It is not
aware of releases. Used through `open_engine`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Precision, RuntimeName
from edgepack.runner.engines.binding import BoundSession
from edgepack.runner.engines.contract import Array, check_inputs
from edgepack.runner.engines.onnxruntime import (
    OnnxRuntimeEngine,
    import_onnxruntime,
    last_words,
    session_options,
    spec_of,
)
from edgepack.runner.gpu.fit import Verdict
from edgepack.runner.gpu.needs import CPU, CUDA, TENSORRT
from edgepack.runner.gpu.preload import preload

_NAME: Final = RuntimeName.ONNXRUNTIME_GPU
#: Folders of an absolute path: a reason travels in reports, and paths say where a box's owner
#: keeps things.
_FOLDERS: Final = re.compile(r"(?:/[^\s/'\":,;]+)+/")
#: ONNX Runtime writes the box's name into every failure of CUDA.
#: Source: onnxruntime/core/providers/cuda/cuda_call.cc.
_HOST: Final = re.compile(r"\s*;?\s*hostname=\S*")


_Compute = Callable[[Sequence[Array]], list[Array]]


def _tell_nobody(reason: str) -> None:
    del reason


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """What the engine has to know beyond a model file and its options.

    Attributes:
        verdict: Which providers can be used on this box, and where the libraries are.
        precision: The file's; TensorRT has to be allowed what it is to use. None: unknown.
        cache: A folder for the engines that TensorRT builds; None: none are kept.
        inputs: The file's inputs, for TensorRT's range of shapes where a batch varies.
        batch_sizes: The numbers of rows that calls are to have where the batch varies, ascending.
        memory_limit: Bytes of the card's memory that the arena may take; None: no limit.
        tell: Is told once why the CPU computes.
    """

    verdict: Verdict
    precision: Precision | None = None
    cache: Path | None = None
    inputs: tuple[TensorSpec, ...] = ()
    batch_sizes: tuple[int, ...] = (1,)
    memory_limit: int | None = None
    tell: Callable[[str], None] = _tell_nobody


class OnnxRuntimeGpuEngine:
    """A `.onnx` file in onnxruntime-gpu (an `Engine`)."""

    def __init__(
        self, model_path: Path, options: EngineOptions, request: GpuRequest, ort: Any = None
    ) -> None:
        """Loads a model on the GPU, or on the CPU where that cannot be.

        Args:
            model_path: The `.onnx` file.
            options: How it is opened; a CUDA graph means I/O binding too.
            request: The verdict, and what the providers are told.
            ort: What has onnxruntime's interface; the module itself by default.

        Raises:
            DeviceError: Not even the CPU can load the file, or the runtime is not installed.
        """
        self._model_path = model_path
        self._request = request
        self._asked = replace(options, io_binding=options.io_binding or options.cuda_graph)
        self._ort = import_onnxruntime() if ort is None else ort
        self._cpu: OnnxRuntimeEngine | None = None
        self._spare: OnnxRuntimeEngine | None = None
        self._compute: _Compute | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._fallback = request.verdict.fallback
        if self._fallback is None:
            self._open_on_gpu()
        if self._compute is None:
            self._cpu = self._open_on_cpu()
            self._inputs, self._outputs = self._cpu.inputs, self._cpu.outputs
            if self._fallback is not None:
                request.tell(self._fallback)

    @property
    def name(self) -> str:
        """The runtime's name."""
        return _NAME

    @property
    def version(self) -> str:
        """The runtime's version."""
        return str(self._ort.__version__)

    @property
    def provider(self) -> str:
        """The execution provider that runs the graph; nodes it has no kernel for are the CPU's."""
        return CPU if self._cpu is not None else self._provider

    @property
    def fallback(self) -> str | None:
        """Why the CPU computes; None while the GPU does."""
        return self._fallback

    @property
    def threads(self) -> int:
        """Threads inside one call, of the CPU."""
        return self._asked.threads

    @property
    def options(self) -> EngineOptions:
        """How it is open; what only a GPU can do is off on the CPU."""
        return self._effective if self._cpu is None else _cpu_options(self._asked)

    @property
    def batch_sizes(self) -> tuple[int, ...] | None:
        """The only numbers of rows worth asking for: each has buffers, a graph, an engine."""
        if self._cpu is not None or not (self.options.io_binding or self._provider == TENSORRT):
            return None
        return self._request.batch_sizes

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs in file order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs in file order."""
        return self._outputs

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the model once; see `Engine.run`."""
        if self._cpu is not None:
            return self._cpu.run(inputs)
        if self._compute is None:
            raise DeviceError(f"the {_NAME} engine is closed")
        check_inputs(self._inputs, inputs)
        try:
            return self._compute(inputs)
        # CUDA's, cuDNN's and the arena's failures share no base class below Exception.
        except Exception as error:  # noqa: BLE001 - whatever it is, the CPU is asked next
            return self._answer_on_cpu(inputs, error)

    def close(self) -> None:
        """Gives the sessions' memory back."""
        self._compute = None
        if self._thread is not None:
            self._thread.shutdown()
        for each in (self._cpu, self._spare):
            if each is not None:
                each.close()

    def _answer_on_cpu(self, inputs: Sequence[Array], error: Exception) -> list[Array]:
        if self._spare is None:
            self._spare = self._open_on_cpu()
        # What the CPU refuses as well is the request's own fault, and the GPU stays.
        outputs = self._spare.run(inputs)
        self._cpu, self._spare, self._compute = self._spare, None, None
        self._fallback = _reason(f"{self._provider} failed while it ran", error)
        self._request.tell(self._fallback)
        return outputs

    def _open_on_cpu(self) -> OnnxRuntimeEngine:
        return OnnxRuntimeEngine(self._model_path, _cpu_options(self._asked), _NAME)

    def _open_on_gpu(self) -> None:
        """Tries each usable provider; sets what `run` calls, or why there is none."""
        # So that CUDA numbers the cards as NVML does, which has judged the first.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        problem = preload(self._request.verdict.found)
        if problem is not None:
            self._fallback = _reason("CUDA's libraries", DeviceError(problem))
            return
        tried = list(self._request.verdict.usable)
        while tried[0] != CPU:
            for options in self._ways(tried[0]):
                try:
                    self._open(tried, options)
                except Exception as error:  # noqa: BLE001 - see `run`
                    self._fallback = _reason(f"{tried[0]} cannot load the model", error)
                else:
                    self._fallback = None
                    return
            tried.pop(0)

    def _ways(self, provider: str) -> list[EngineOptions]:
        """The options as asked for, then without the CUDA graph that not every model can have."""
        plain = replace(self._asked, cuda_graph=False)
        never = provider == TENSORRT and not _is_fixed(self._request.inputs)
        return [plain] if never or plain == self._asked else [self._asked, plain]

    def _open(self, providers: Sequence[str], options: EngineOptions) -> None:
        ort = self._ort
        session = ort.InferenceSession(
            str(self._model_path),
            session_options(ort, options),
            providers=[(each, self._provider_options(each, options)) for each in providers],
            # Its own fallback prints, and does not say why.
            enable_fallback=0,
        )
        provider = str(session.get_providers()[0])
        if provider != providers[0]:
            raise DeviceError(f"ONNX Runtime took {provider} instead")
        self._inputs = tuple(spec_of(each) for each in session.get_inputs())
        self._outputs = tuple(spec_of(each) for each in session.get_outputs())
        self._provider = provider
        self._effective = options
        if options.io_binding:
            try:
                bound = BoundSession(ort, session, "cuda", graphs=options.cuda_graph)
            except ValueError:
                if options.cuda_graph:
                    raise
                self._effective = replace(options, io_binding=False)
            else:
                self._compute = self._on_one_thread(bound.run) if options.cuda_graph else bound.run
                return
        names = [spec.name for spec in self._inputs]

        def compute(inputs: Sequence[Array]) -> list[Array]:
            outputs: list[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
            return outputs

        self._compute = compute

    def _on_one_thread(self, run: Callable[[Sequence[Array]], list[Array]]) -> _Compute:
        """Lets one thread make every call: a recorded graph belongs to the one that recorded it.

        Source: ONNX Runtime's page on the CUDA execution provider, "Using CUDA Graphs": Run() may
        not be invoked from several threads.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graph")
        thread = self._thread
        return lambda inputs: thread.submit(run, inputs).result()

    def _provider_options(self, provider: str, options: EngineOptions) -> dict[str, str]:
        if provider == CUDA:
            return cuda_options(options, self._request.memory_limit)
        return tensorrt_options(options, self._request) if provider == TENSORRT else {}


def cuda_options(options: EngineOptions, memory_limit: int | None = None) -> dict[str, str]:
    """Returns the CUDA provider's options.

    Source: ONNX Runtime's page on the CUDA execution provider, "Configuration Options".

    Args:
        options: How the engine is opened.
        memory_limit: Bytes that the arena may take; None: no limit.
    """
    found = {
        "device_id": "0",
        # The default doubles the arena each time it grows; the card may not be ours alone.
        "arena_extend_strategy": "kSameAsRequested",
        # The default times every algorithm when the model is loaded.
        "cudnn_conv_algo_search": "HEURISTIC",
        # TF32 rounds float32 products to 10 bits: rankings of close scores would differ from the
        # golden ones. Who wants that speed ships the fp16 variant, whose answers were measured.
        "use_tf32": "0",
        "enable_cuda_graph": "1" if options.cuda_graph else "0",
    }
    if memory_limit is not None:
        found["gpu_mem_limit"] = str(memory_limit)
    return found


def tensorrt_options(options: EngineOptions, request: GpuRequest) -> dict[str, str]:
    """Returns the TensorRT provider's options.

    Source: ONNX Runtime's page on the TensorRT execution provider, "Configurations".

    Args:
        options: How the engine is opened.
        request: The file's precision and inputs, and where built engines are kept.
    """
    found = {
        "device_id": "0",
        # TensorRT computes in what it was allowed, whatever the file says.
        "trt_fp16_enable": "1" if request.precision is Precision.FP16 else "0",
        "trt_int8_enable": "1" if request.precision is Precision.STATIC_INT8 else "0",
        # A graph replays what one shape needed; kernels and buffers of another one differ.
        "trt_cuda_graph_enable": "1" if options.cuda_graph and _is_fixed(request.inputs) else "0",
    }
    if request.cache is not None:
        found |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(request.cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(request.cache),
        }
    varying = [each for each in request.inputs if -1 in each.shape]
    if varying and all(each.shape[0] == -1 and -1 not in each.shape[1:] for each in varying):
        # A call beyond the largest would make TensorRT build a new engine, which takes long.
        largest = request.batch_sizes[-1]
        for word, batch in (("min", 1), ("opt", largest), ("max", largest)):
            found[f"trt_profile_{word}_shapes"] = ",".join(
                f"{each.name}:" + "x".join(str(n) for n in (batch, *each.shape[1:]))
                for each in varying
            )
    return found


def _is_fixed(inputs: Sequence[TensorSpec]) -> bool:
    """Whether all calls have the same shapes; of inputs that are not known that is not said."""
    return bool(inputs) and not any(-1 in each.shape for each in inputs)


def _cpu_options(options: EngineOptions) -> EngineOptions:
    return replace(options, io_binding=False, cuda_graph=False)


def _reason(what: str, error: Exception) -> str:
    return f"{what}: {_FOLDERS.sub('', _HOST.sub('', last_words(error)))}"
