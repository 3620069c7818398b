"""Whether this machine has what `tests/gpu` needs, and how it is said when it has not.

It needs nothing but edgepack itself, so that it can say what is missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

from edgepack.runner.gpu.fit import Verdict, Wish
from edgepack.runner.gpu.looking import look_and_judge
from edgepack.runner.gpu.needs import CPU, CUDA, TENSORRT

#: The short form of what a verdict says, for the one line of a test run.
_SHORT = {
    "no_driver": "no NVIDIA driver on this machine",
    "no_card": "no NVIDIA card on this machine",
    "card_hidden": "CUDA_VISIBLE_DEVICES hides this machine's card",
}


def judge_here() -> Verdict:
    """Judges this machine for the tests."""
    return look_and_judge(Wish(providers=(TENSORRT, CUDA, CPU)))


def available_providers() -> Sequence[str]:
    """Returns what the installed ONNX Runtime can compute with; nothing where there is none."""
    if importlib.util.find_spec("onnxruntime") is None:
        return ()
    import onnxruntime

    providers: Sequence[str] = onnxruntime.get_available_providers()
    return providers


def why_not(
    verdict: Verdict, providers: Callable[[], Sequence[str]] = available_providers
) -> str | None:
    """Says why the tests cannot run here.

    Args:
        verdict: On this machine's card.
        providers: Says what the runtime has; asked only where there is a card.

    Returns:
        A clause, or None where they can.
    """
    if CUDA not in verdict.usable:
        first = verdict.refused[CUDA][0]
        return _SHORT.get(first.name, str(first))
    if CUDA not in providers():
        return "onnxruntime-gpu is not installed (pip install onnxruntime-gpu)"
    return None


def summary_line(reason: str) -> str:
    """Returns the line that a test run ends with."""
    return f"tests/gpu did not run: {reason}"
