"""What is tried: every candidate with every set of options that may matter on this box.

It is not aware of clocks or engines. Used by `choosing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from edgepack.formats.options import EngineOptions, ExecutionMode
from edgepack.formats.variants import RuntimeName

#: More threads than four have never paid for a model that answers in under a millisecond.
_THREADS: Final = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate and how it is opened."""

    variant: str
    options: EngineOptions

    def __str__(self) -> str:
        return f"{self.variant} with {self.options}"


def plan_trials(
    runtime: RuntimeName,
    variants: Sequence[str],
    cores_allowed: int | None,
    *,
    on_gpu: bool = True,
) -> tuple[Trial, ...]:
    """Lists what is worth measuring, the simplest first.

    Args:
        runtime: The bundle's runtime.
        variants: Its candidates, the one chosen at build time first.
        cores_allowed: Cores the process may run on; None counts as one.
        on_gpu: Whether a runtime for GPUs has one to use here.

    Returns:
        Every candidate with every set of options; by threads, then in the candidates' order.
    """
    options = sensible_options(runtime, cores_allowed or 1, on_gpu=on_gpu)
    return tuple(Trial(variant, each) for each in options for variant in variants)


def sensible_options(
    runtime: RuntimeName, cores: int, *, on_gpu: bool = True
) -> tuple[EngineOptions, ...]:
    """Returns the options worth trying in a runtime on so many cores, the simplest first."""
    if runtime is RuntimeName.ONNXRUNTIME_GPU and not on_gpu:
        runtime = RuntimeName.ONNXRUNTIME
    threads = [count for count in _THREADS if count <= max(cores, 1)]
    match runtime:
        case RuntimeName.LITERT | RuntimeName.TFLITE_RUNTIME:
            return tuple(EngineOptions(count) for count in threads)
        case RuntimeName.ONNXRUNTIME:
            found = []
            for count in threads:
                found.append(EngineOptions(count))
                if count > 1:
                    # Both only say what workers do, and one thread has none.
                    found.append(EngineOptions(count, spinning=True))
                    found.append(EngineOptions(count, ExecutionMode.PARALLEL))
            return tuple(found)
        case RuntimeName.ONNXRUNTIME_GPU:
            # The GPU computes; the CPU's threads only hand over.
            return (
                EngineOptions(),
                EngineOptions(io_binding=True),
                EngineOptions(io_binding=True, cuda_graph=True),
            )
        case _:
            assert_never(runtime)
