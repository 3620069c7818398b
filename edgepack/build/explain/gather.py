"""Puts the answers about a variant together and says in words what they come to.

It is not aware of processes or files. Used by `edgepack.build.explain.asking`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from edgepack.build.artifacts import ConvertedVariant, TrainedModel
from edgepack.build.explain.errors import ErrorFigures
from edgepack.build.explain.explanation import (
    CallTime,
    Explanation,
    LayerRow,
    damage_from_json,
)
from edgepack.build.explain.subject import SeenTensor
from edgepack.build.explain.timing import Timing
from edgepack.build.explain.words import conclusions

#: Where parts put together again answer otherwise than the variant, they were not all found.
_APART_MOST: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Answers:
    """What the workers said.

    Attributes:
        look: Layers, tensors and the whole.
        damages: By layer.
        timing: None where there is none.
        time_reason: Why not.
    """

    look: Mapping[str, Any]
    damages: Mapping[str, Mapping[str, Any]]
    timing: Mapping[str, Any] | None
    time_reason: str


def gather(model: TrainedModel, variant: ConvertedVariant, answers: Answers) -> Explanation:
    """Returns the explanation of a variant.

    Args:
        model: The model.
        variant: The variant.
        answers: What was found out.
    """
    look = answers.look
    tensors = tuple(_tensor(each) for each in look["tensors"])
    timing = Timing.from_json(answers.timing["timing"]) if answers.timing else None
    rows = [_row(each, answers, tensors, timing) for each in look["layers"]]
    quantised = [row for row in rows if row.quantised]
    found = Explanation(
        model=model.name,
        model_version=model.version,
        kind=model.kind,
        variant=variant.spec.name,
        sha256=variant.sha256,
        size_bytes=variant.size_bytes,
        rows=look["rows"],
        whole=damage_from_json(look["whole"]),
        layers=tuple(in_order(rows)),
        tensors=tensors,
        time=_call(timing, answers),
        time_reason=answers.time_reason,
        unmatched=sum(each["unmatched"] for each in look["layers"]),
        left_out=sum(row.alone is None and not row.reason for row in quantised),
    )
    apart = damage_from_json(look["apart"])
    words = conclusions(found, whole_found=apart.lost <= _APART_MOST)
    return replace(found, words=tuple(words))


def in_order(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """Returns the layers with the most damage first; what was not measured keeps its order."""

    def place(row: LayerRow) -> tuple[bool, float, float]:
        lost = row.alone.lost if row.alone else 0.0
        return row.alone is None, -lost, row.without.lost if row.without else 0.0

    return sorted(rows, key=place)


def _row(
    layer: Mapping[str, Any],
    answers: Answers,
    tensors: Sequence[SeenTensor],
    timing: Timing | None,
) -> LayerRow:
    name = layer["name"]
    mine = [each.figures for each in tensors if each.layer == name]
    own = [each.own_sqnr_db for each in mine if each.own_sqnr_db is not None]
    arriving = [each.sqnr_db for each in mine if each.sqnr_db is not None]
    row = LayerRow(
        name=name,
        operators=tuple(layer["operators"]),
        quantised=layer["quantised"],
        sqnr_db=min(arriving, default=None),
        own_sqnr_db=min(own, default=None),
        time=timing.layers.get(name) if timing else None,
    )
    said = answers.damages.get(name)
    if said is None:
        return row
    if "failure" in said:
        return replace(row, reason=str(said["failure"]))
    return replace(
        row,
        alone=damage_from_json(said["alone"]),
        without=damage_from_json(said["without"]),
        growth_bytes=int(said["growth_bytes"]),
    )


def _tensor(value: Mapping[str, Any]) -> SeenTensor:
    return SeenTensor(
        **{**value, "shape": tuple(value["shape"]), "figures": ErrorFigures(**value["figures"])}
    )


def _call(timing: Timing | None, answers: Answers) -> CallTime | None:
    if timing is None or answers.timing is None:
        return None
    return CallTime(
        timing.call, timing.explained, timing.repeats, timing.method, answers.timing["machine"]
    )
