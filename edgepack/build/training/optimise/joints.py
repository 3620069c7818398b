"""Where each architecture can be cut: which weights make a hidden unit, and which read it.

Weights are named as Keras names their paths. Arrays in, arrays out; not aware of Keras or of
what is worth keeping. Used by `edgepack.build.training.optimise.prune`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepack.build.models.ranker import Architecture

Array = NDArray[np.float32]
_BLOCK = re.compile(r"block(\d+)_(.*)")


@dataclass(frozen=True, slots=True)
class Slot:
    """The places of one layer's hidden units on one axis of one weight.

    Attributes:
        weight: Its name.
        axis: Which axis.
        parts: The axis is so many stretches of as many places as there are units.
        part: Which stretch is meant; None for all, as of a gated layer's kernels.
    """

    weight: str
    axis: int
    parts: int = 1
    part: int | None = None


@dataclass(frozen=True, slots=True)
class Joint:
    """The hidden units of one layer.

    Attributes:
        makers: Where the weights are that compute them; what they are worth is judged by these.
        readers: Where the weights are that use them.
    """

    makers: tuple[Slot, ...]
    readers: tuple[Slot, ...]


def joints(architecture: Architecture, blocks: int) -> tuple[Joint, ...]:
    """The hidden layers of an architecture.

    Args:
        architecture: Which one.
        blocks: Of SASRec.
    """
    if architecture is Architecture.SASREC:
        return tuple(_network(f"block{number}") for number in range(blocks))
    if architecture is Architecture.GRU4REC:
        gru = _recurrent("gru_every_position/gru_cell", gates=3, bias_axis=1)
        return (Joint(gru.makers, (*gru.readers, Slot("to_item_space/kernel", 0))),)
    found = []
    for part, way in enumerate(("forward", "backward")):
        lstm = _recurrent(f"bilstm/{way}_lstm/lstm_cell", gates=4, bias_axis=0)
        classes = Slot("classes/kernel", 0, parts=2, part=part)
        found.append(Joint(lstm.makers, (*lstm.readers, classes)))
    return tuple(found)


def block_ends(blocks: int) -> tuple[tuple[str, ...], ...]:
    """The weights of each of SASRec's blocks without which it adds nothing.

    Args:
        blocks: How many there are.
    """
    return tuple(
        (f"block{number}_attention/output/kernel", f"block{number}_narrow/kernel")
        for number in range(blocks)
    )


def unit_sums(joint: Joint, products: Mapping[str, Array]) -> NDArray[np.float64]:
    """Sums the products of the weights that make each unit.

    Args:
        joint: Which layer.
        products: By the weight's name.

    Returns:
        float64[units].
    """
    total: NDArray[np.float64] | float = 0.0
    for slot in joint.makers:
        values = np.moveaxis(products[slot.weight].astype(np.float64), slot.axis, -1)
        total = total + values.reshape(-1, slot.parts, values.shape[-1] // slot.parts).sum((0, 1))
    return np.asarray(total)


def cut_units(
    weights: Mapping[str, Array], cuts: Sequence[tuple[Joint, NDArray[np.int64]]]
) -> dict[str, Array]:
    """Takes hidden units out.

    Args:
        weights: By name.
        cuts: The units to keep of each layer.

    Returns:
        All weights, smaller where a unit is gone.
    """
    gone: dict[tuple[str, int], list[NDArray[np.int64]]] = {}
    for joint, keep in cuts:
        for slot in (*joint.makers, *joint.readers):
            extent = weights[slot.weight].shape[slot.axis]
            units = extent // slot.parts
            lost = np.setdiff1d(np.arange(units), keep)
            parts = range(slot.parts) if slot.part is None else (slot.part,)
            gone.setdefault((slot.weight, slot.axis), []).extend(
                part * units + lost for part in parts
            )
    found = dict(weights)
    for (name, axis), places in gone.items():
        found[name] = np.delete(found[name], np.concatenate(places), axis=axis)
    return found


def cut_blocks(weights: Mapping[str, Array], keep: Sequence[int]) -> dict[str, Array]:
    """Takes blocks out and numbers those that are left from 0.

    Args:
        weights: By name.
        keep: Numbers of the blocks to keep, ascending.
    """
    places = {old: new for new, old in enumerate(keep)}
    found = {}
    for name, value in weights.items():
        match = _BLOCK.fullmatch(name)
        if match is None:
            found[name] = value
        elif int(match[1]) in places:
            found[f"block{places[int(match[1])]}_{match[2]}"] = value
    return found


def _network(name: str) -> Joint:
    return Joint(
        (Slot(f"{name}_wide/kernel", 1), Slot(f"{name}_wide/bias", 0)),
        (Slot(f"{name}_narrow/kernel", 0),),
    )


def _recurrent(cell: str, *, gates: int, bias_axis: int) -> Joint:
    return Joint(
        (
            Slot(f"{cell}/kernel", 1, gates),
            Slot(f"{cell}/recurrent_kernel", 1, gates),
            Slot(f"{cell}/bias", bias_axis, gates),
        ),
        (Slot(f"{cell}/recurrent_kernel", 0),),
    )
