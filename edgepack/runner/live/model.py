"""One loaded release behind which requests are answered.

It is not aware of HTTP or of other releases. Used by `models`, `opening` and the server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from edgepack.formats.errors import DeviceError
from edgepack.runner.engines.contract import Engine
from edgepack.runner.live.signature import Signature, make_signature
from edgepack.runner.recommender import Recommender
from edgepack.runner.release import Release
from edgepack.runner.rows import ONE_BY_ONE, CallSizes

_SEMANTIC = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?")
_STEP = 1000


@dataclass(slots=True, eq=False)
class LiveModel:
    """A release whose golden answers came out right on this box.

    Attributes:
        release: The release.
        engine: Its candidate, loaded; None once it was unloaded.
        recommender: The same model behind its vocabulary; None for a tensor model.
        median_ns: Median of one call of the engine, as last measured.
        sizes: How many rows one call may have.
        call_ns: The same median for calls of several rows, by rows, ascending; empty where there
            are none.
        pending: Jobs of the model's thread that use this engine now or wait to.
        withdrawn: Whether it takes no new requests any more.
        inline: Whether a short call may be made in the event loop. Never on a card: its calls
            wait without computing here, and one that fails loads the model for the CPU.
        measured_on: The engine's provider when its calls were measured; None: it has but one.
    """

    release: Release
    engine: Engine | None
    recommender: Recommender | None
    median_ns: float
    sizes: CallSizes = ONE_BY_ONE
    call_ns: tuple[tuple[int, float], ...] = ()
    pending: int = 0
    withdrawn: bool = False
    inline: bool = True
    measured_on: str | None = None
    _signature: Signature | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.release.manifest.model.name

    @property
    def version(self) -> str:
        """The model's version, such as `1.2.0`."""
        return self.release.manifest.model.version

    @property
    def variant(self) -> str:
        """The variant that runs, such as `tflite-dynamic-int8`."""
        return self.release.candidate.variant

    @property
    def number(self) -> int:
        """The version as the whole number that TensorFlow Serving's clients expect."""
        return version_number(self.version)

    @property
    def outdated(self) -> bool:
        """Whether its times are those of a card that has failed since: the CPU computes now."""
        if self.engine is None or self.measured_on is None:
            return False
        return self.engine.provider != self.measured_on

    def take_times(
        self, median_ns: float, sizes: CallSizes, call_ns: tuple[tuple[int, float], ...]
    ) -> None:
        """Goes by other times and numbers of rows from now on; see the attributes."""
        self.median_ns, self.sizes, self.call_ns = median_ns, sizes, call_ns
        # It says how many rows a call has.
        self._signature = None

    def expected_ns(self, rows: int) -> float:
        """Returns how long the calls for so many rows take, going by what was measured."""
        return sum(self._call_ns(self.sizes.filled(part)) for part in self.sizes.parts(rows))

    def _call_ns(self, rows: int) -> float:
        below, below_ns = 1, self.median_ns
        for size, size_ns in self.call_ns:
            if rows <= size:
                share = (rows - below) / max(size - below, 1)
                return below_ns + share * (size_ns - below_ns)
            below, below_ns = size, size_ns
        # Beyond what was measured each row is as dear as the last ones were.
        return below_ns * rows / below

    def answers(self) -> bool:
        """Runs the engine once on zeros, an empty history to a recommender: is it alive?

        Returns:
            False when the runtime failed. A model that was unloaded has nothing to fail.
        """
        if self.engine is None:
            return True
        specs = self.engine.inputs
        inputs = [np.zeros([max(size, 1) for size in spec.shape], spec.dtype) for spec in specs]
        try:
            self.engine.run(inputs)
        except DeviceError:
            return False
        return True

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        if self._signature is None:
            candidate, model = self.release.candidate, self.release.manifest.model
            loaded = self.engine or candidate
            self._signature = make_signature(
                model.kind,
                loaded.inputs,
                loaded.outputs,
                names=(candidate.inputs, candidate.outputs),
                catalogue=model.catalogue_size,
                sizes=self.sizes if candidate.max_batch > 1 else None,
            )
        return self._signature

    @property
    def usable_engine(self) -> Engine | None:
        """The engine, for a request that begins now; None when there is none to be had."""
        return None if self.withdrawn else self.engine

    def withdraw(self) -> None:
        """Takes no new requests; those that run keep the engine until `unload`."""
        self.withdrawn = True
        if self.recommender is not None:
            self.recommender.detach()

    def unload(self) -> None:
        """Gives the engine's memory back; recommendations are the popular items from then on.

        The caller sees to it that no job is using the engine.
        """
        engine, self.engine = self.engine, None
        if self.recommender is not None:
            self.recommender.detach()
        if engine is not None:
            engine.close()


def version_number(version: str) -> int:
    """Turns a version into a whole number that keeps the order of versions.

    Args:
        version: Such as `1.2.0`; what follows the third number is not looked at.

    Returns:
        Three decimal digits for each part below the first: `1.2.0` is 1002000. A version that
        does not begin with a number is 0.
    """
    match = _SEMANTIC.match(version)
    if match is None:
        return 0
    major, minor, patch = (int(part) for part in match.groups(default="0"))
    return (major * _STEP + min(minor, _STEP - 1)) * _STEP + min(patch, _STEP - 1)
