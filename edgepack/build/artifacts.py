"""The values that the steps of a build hand to each other.

It is not aware of how any of them is made. Used by every part of the build side, and by the
command line to show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from edgepack.formats.manifest import ModelKind
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import VariantSpec
from edgepack.formats.vocabulary import Vocabulary


class Progress(Protocol):
    """Where work that takes more than a moment tells how far it is."""

    def start(self, task: str, total: float | None = None) -> None:
        """Begins a task; `total` is its number of steps, or None when unknown."""

    def advance(self, task: str, amount: float = 1, note: str = "") -> None:
        """Moves a task on by some steps; `note` replaces the text beside it."""

    def finish(self, task: str) -> None:
        """Ends a task, successful or not."""


class SilentProgress:
    """A `Progress` that tells nobody."""

    def start(self, task: str, total: float | None = None) -> None:
        """Does nothing."""

    def advance(self, task: str, amount: float = 1, note: str = "") -> None:
        """Does nothing."""

    def finish(self, task: str) -> None:
        """Does nothing."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a variant must keep of the fp32 original to be shipped.

    Attributes:
        ndcg_ratio: Lowest NDCG@10 as a share of fp32's.
        overlap: Lowest mean share of the original's ten best items that it also names.
        top1_same: Lowest share of histories whose best item is the original's.
        max_abs_err: A tensor model's largest distance of an output element; None leaves
            it unchecked.
        argmax_same: A tensor model's lowest share of rows with the same largest output;
            None leaves it unchecked.
        range_err: A tensor model's largest distance of an output element as a share of
            the output's range; holds where there are no classes to compare.
    """

    ndcg_ratio: float = 0.995
    overlap: float = 0.95
    top1_same: float = 0.90
    max_abs_err: float | None = None
    argmax_same: float | None = 0.98
    range_err: float = 0.05


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model ready to be converted, in a directory of its own.

    Attributes:
        name: The project's or file's name; a bundle's file name begins with it.
        version: Its version.
        kind: Whether it ranks a catalogue or maps tensors to tensors.
        architecture: Such as `sasrec`; `unknown` for a user's own file.
        directory: Holds everything below; read-only.
        model_path: `.keras`, `.h5`, `.onnx` or a SavedModel directory.
        sha256: Hash of the model file (of all files for a SavedModel).
        samples_path: An npz. A recommender's has `calibration` int32[c, L] from training
            sequences, `histories` int32[n, L] and `targets` int32[n] held out, and
            `item_counts` int64[catalogue + 1]. A tensor model's has one array a model
            input, [n, ...].
        samples_sha256: Hash of that file.
        gate: What its variants must keep.
        sequence_length: Items the graph takes, L; None for a tensor model.
        top_k: The most items an answer may have; None for a tensor model.
        graph_top_k: Items the graph returns; None for a tensor model.
        vocabulary: None for a tensor model.
        facts: What `training.json` says: metrics, baselines, reference distributions,
            popular items, data facts.
    """

    name: str
    version: str
    kind: ModelKind
    architecture: str
    directory: Path
    model_path: Path
    sha256: str
    samples_path: Path
    samples_sha256: str
    gate: Gate
    sequence_length: int | None = None
    top_k: int | None = None
    graph_top_k: int | None = None
    vocabulary: Vocabulary | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Needs:
    """What a target needs of an ONNX graph beyond what every box takes.

    Attributes:
        rows: Any number of rows in one call.
        card: What a GPU is good at: a large top-k in stages, and 8-bit values that lie evenly
            around zero.
    """

    rows: bool = False
    card: bool = False

    def key(self) -> dict[str, bool]:
        """Returns its part of a cache key; empty where nothing is needed."""
        names = {"batched": self.rows, "card": self.card}
        return {name: True for name, needed in names.items() if needed}


#: What every box takes.
NO_NEEDS: Final = Needs()


@dataclass(frozen=True, slots=True)
class ConvertedVariant:
    """One variant of a model, or the reason why there is none.

    Attributes:
        spec: Which variant.
        path: Its file; None when the conversion failed.
        size_bytes: The file's bytes; 0 when it failed.
        sha256: The file's hash; empty when it failed.
        inputs: In file order.
        outputs: In file order.
        failure: What went wrong, in one sentence; None when it worked.
        notes: The rung of the ladder that worked, such as `unrolled`.
        elapsed_s: Seconds the conversion took, 0 from the cache.
        needs: What was asked of it; `takes_rows` says whether it has a batch dimension.
        fixed_because: Why it has none although one was asked for, in words; else empty.
        form: The form of the graph it was made from, such as `unrolled`; empty when it failed.
    """

    spec: VariantSpec
    path: Path | None
    size_bytes: int = 0
    sha256: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    failure: str | None = None
    notes: str = ""
    elapsed_s: float = 0.0
    needs: Needs = NO_NEEDS
    fixed_because: str = ""
    form: str = ""

    def explained(self, reason: str) -> str:
        """Adds to the reason of a verdict why it takes one row a call, where that is news."""
        return "; ".join(filter(None, (reason, self.fixed_because)))

    @property
    def takes_rows(self) -> bool:
        """Whether one call of it takes any number of rows."""
        first = [spec.shape[:1] for spec in (*self.inputs, *self.outputs)]
        return bool(first) and set(first) == {(-1,)}


@dataclass(frozen=True, slots=True)
class Quality:
    """A variant measured against the fp32 Keras model on held-out inputs.

    A recommender's ranking metrics are None for a tensor model, and the other way round.

    Attributes:
        samples: Rows that were measured.
        ndcg: The variant's own NDCG@10 against the true next item, 0 … 1.
        hr: Its HR@10.
        mrr: Its mean reciprocal rank within the graph's answer.
        ndcg_ratio: `ndcg` as a share of the original's.
        overlap: Mean share of the original's ten best items it also names.
        top1_same: Share of histories whose best item is the original's.
        slices: The same metrics on parts of the histories, by the part's name.
        max_abs_err: Largest distance of an output element (of a score, for a recommender).
        argmax_same: Share of rows whose largest output is the original's.
        range_err: `max_abs_err` of each output as a share of its range, the largest.
    """

    samples: int
    ndcg: float | None = None
    hr: float | None = None
    mrr: float | None = None
    ndcg_ratio: float | None = None
    overlap: float | None = None
    top1_same: float | None = None
    slices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    max_abs_err: float | None = None
    argmax_same: float | None = None
    range_err: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the metrics that were measured, rounded to six digits."""
        found: dict[str, Any] = {"samples": self.samples}
        for name in ("ndcg", "hr", "mrr", "ndcg_ratio", "overlap", "top1_same"):
            if (value := getattr(self, name)) is not None:
                found[name] = round(value, 6)
        for name in ("max_abs_err", "argmax_same", "range_err"):
            if (value := getattr(self, name)) is not None:
                found[name] = float(f"{value:.6g}")
        if self.slices:
            found["slices"] = {
                part: {metric: round(value, 6) for metric, value in metrics.items()}
                for part, metrics in self.slices.items()
            }
        return found
