"""What is tried: every candidate with every set of options that may matter on this box.

It is not aware of clocks or engines. Used by `choosing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgepack.formats.options import EngineOptions, sensible_options
from edgepack.formats.variants import RuntimeName


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
