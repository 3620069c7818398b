"""What every engine promises, and the check of inputs that all of them share.

It is not aware of any runtime. Used by the engines and by whoever runs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec

Array = NDArray[np.generic]
#: numpy's own element types by name: comparing with one costs a hundredth of asking its name.
_DTYPES = {
    np.dtype(code).name: np.dtype(code) for code in np.typecodes["All"] if code not in "SUVO"
}


class Engine(Protocol):
    """A loaded model file in one runtime; loading it is the constructor's work.

    Not safe to be called by two threads at once.
    """

    @property
    def name(self) -> str:
        """The runtime, one of `edgepack.formats.variants.RuntimeName`."""
        ...

    @property
    def version(self) -> str:
        """The runtime's version, such as `2.3.0`."""
        ...

    @property
    def provider(self) -> str:
        """What really computes, such as `XNNPACK` or `CUDAExecutionProvider`."""
        ...

    @property
    def fallback(self) -> str | None:
        """Why `provider` is not the one that was asked for; None where it is."""
        ...

    @property
    def threads(self) -> int:
        """Threads the runtime may use inside one call."""
        ...

    @property
    def options(self) -> EngineOptions:
        """How it is open, without the options that could not be followed here."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs in file order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs in file order."""
        ...

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the model once.

        Args:
            inputs: One array for each input in file order, of its dtype and shape.

        Returns:
            One array for each output in file order; the caller owns them.

        Raises:
            DeviceError: An input does not fit, the engine is closed, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Gives the runtime's memory back; a second call does nothing."""
        ...


def check_inputs(specs: Sequence[TensorSpec], inputs: Sequence[Array]) -> None:
    """Refuses inputs that the model does not take, naming the first that does not fit.

    Args:
        specs: The model's inputs.
        inputs: What is about to be fed to it.

    Raises:
        DeviceError: The count, a dtype or a shape differs.
    """
    if len(inputs) != len(specs):
        raise DeviceError(f"the model takes {len(specs)} inputs, got {len(inputs)}")
    for spec, array in zip(specs, inputs, strict=True):
        if array.dtype is not _DTYPES.get(spec.dtype) and array.dtype.name != spec.dtype:
            raise DeviceError(f"input '{spec.name}': dtype {array.dtype}, expected {spec.dtype}")
        if array.shape != spec.shape and not _shape_fits(spec.shape, array.shape):
            raise DeviceError(
                f"input '{spec.name}': shape {list(array.shape)}, expected {list(spec.shape)}"
            )


def _shape_fits(expected: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(expected) == len(shape) and all(
        want in (-1, got) for want, got in zip(expected, shape, strict=True)
    )
