"""What is known of a variant's layers, as one value and as JSON.

It is not aware of how any of it was found out. Used by the command line and the HTML page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from edgepack.build.explain.damage import Damage
from edgepack.build.explain.subject import SeenTensor
from edgepack.build.explain.timing import Span
from edgepack.formats.manifest import ModelKind

#: Raised when a field of the JSON changes its meaning or goes.
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer.

    Attributes:
        name: Of the layer.
        operators: Its operators' kinds.
        quantised: Whether the variant computes it in other numbers than fp32.
        alone: What the answers lose when only this layer is quantised; None where it was not
            measured.
        without: What they lose when all but this layer are.
        growth_bytes: What the file grows by when the layer stays in float.
        sqnr_db: The lowest of its tensors as they arrive in the variant.
        own_sqnr_db: The lowest of its tensors by their own rounding.
        time: Its part of a call; None where it was not measured.
        reason: Why there is no damage, where there could be.
    """

    name: str
    operators: tuple[str, ...]
    quantised: bool
    alone: Damage | None = None
    without: Damage | None = None
    growth_bytes: int | None = None
    sqnr_db: float | None = None
    own_sqnr_db: float | None = None
    time: Span | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the row as `--json` prints it."""
        return {
            "name": self.name,
            "operators": list(self.operators),
            "quantised": self.quantised,
            "alone": self.alone.to_json() if self.alone else None,
            "without": self.without.to_json() if self.without else None,
            "growth_bytes": self.growth_bytes,
            "sqnr_db": _rounded(self.sqnr_db, 2),
            "own_sqnr_db": _rounded(self.own_sqnr_db, 2),
            "time": self.time.to_json() if self.time else None,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class CallTime:
    """How long a call takes on the host, and how the layers' parts were found.

    Attributes:
        call: The whole call.
        explained: The share of it that lies in layers.
        repeats: How often it was measured.
        method: How, in a sentence.
        machine: Where, in words.
    """

    call: Span
    explained: float
    repeats: int
    method: str
    machine: str

    def to_json(self) -> dict[str, Any]:
        """Returns it as `--json` prints it."""
        return {**asdict(self), "call": self.call.to_json()}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A variant, layer by layer.

    Attributes:
        model: The model's name.
        model_version: Its version.
        kind: Whether it ranks a catalogue.
        variant: The variant's name.
        sha256: Its file's hash.
        size_bytes: Its file's bytes.
        rows: Held-out inputs the damage was measured on.
        whole: What the variant as a whole loses.
        layers: Those with the most damage first, then in the graph's order.
        tensors: In the graph's order, activations before weights.
        time: None where it was not measured.
        time_reason: Why not.
        unmatched: Operators of the fp32 graph that the variant has in another form.
        left_out: Quantised layers whose damage was not measured for lack of time.
        words: What it comes to, in sentences.
    """

    model: str
    model_version: str
    kind: ModelKind
    variant: str
    sha256: str
    size_bytes: int
    rows: int
    whole: Damage
    layers: tuple[LayerRow, ...]
    tensors: tuple[SeenTensor, ...]
    time: CallTime | None = None
    time_reason: str = ""
    unmatched: int = 0
    left_out: int = 0
    words: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Returns what `--json` prints; docs/explain.md has every field."""
        return {
            "explain_version": VERSION,
            "model": self.model,
            "version": self.model_version,
            "kind": self.kind,
            "variant": self.variant,
            "sha256": self.sha256,
            "bytes": self.size_bytes,
            "rows": self.rows,
            "whole": self.whole.to_json(),
            "layers": [each.to_json() for each in self.layers],
            "tensors": [tensor_to_json(each) for each in self.tensors],
            "time": self.time.to_json() if self.time else None,
            "time_reason": self.time_reason,
            "unmatched": self.unmatched,
            "left_out": self.left_out,
            "words": list(self.words),
        }


def tensor_to_json(tensor: SeenTensor) -> dict[str, Any]:
    """Returns a tensor as `--json` prints it."""
    figures = tensor.figures
    return {
        "name": tensor.name,
        "layer": tensor.layer,
        "role": tensor.role,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "sqnr_db": _rounded(figures.sqnr_db, 2),
        "own_sqnr_db": _rounded(figures.own_sqnr_db, 2),
        "mean_error": _rounded(figures.mean_error, 6),
        "saturated": _rounded(figures.saturated, 6),
        "levels": figures.levels,
        "levels_possible": figures.levels_possible,
    }


def damage_from_json(value: Mapping[str, float | None]) -> Damage:
    """Reads what `Damage.to_json` wrote."""
    return Damage(
        lost=float(value["lost"] or 0.0),
        lost_error=float(value["lost_error"] or 0.0),
        first_changed=value["first_changed"],
        largest=value["largest"],
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
