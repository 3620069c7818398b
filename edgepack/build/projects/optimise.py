"""What `[optimise]` of a model.toml says: steps that make a trained model smaller or faster.

Values only, and their reading. May be imported by `edgepack.build`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from edgepack.build.projects.table import Table


@dataclass(frozen=True, slots=True)
class CutCatalogue:
    """Items taken out, the least popular first; the box answers for them with popular ones.

    Attributes:
        events: Share of all events that the items which are kept make up, 0..1.
        epochs: Passes over the data afterwards, without what is gone.
    """

    events: float = 0.99
    epochs: int = 1


@dataclass(frozen=True, slots=True)
class Distil:
    """Training that also learns from what another model says.

    Attributes:
        teacher: A model project; it is trained on the same log, by its own settings.
        weight: Share of the loss that is the distance from the teacher, 0..1.
        temperature: What both models' scores are divided by before they are compared: above 1
            the teacher's lesser items count for more.
    """

    teacher: str
    weight: float = 0.5
    temperature: float = 2.0


@dataclass(frozen=True, slots=True)
class Prune:
    """Whole hidden units and blocks taken out, the least important first.

    Attributes:
        units: Share of the hidden units that is kept, 0..1.
        blocks: Blocks that are kept; None for all. For an architecture that has blocks.
        epochs: Passes over the data afterwards, to make good what was lost.
    """

    units: float = 0.5
    blocks: int | None = None
    epochs: int = 3


@dataclass(frozen=True, slots=True)
class Optimise:
    """The steps of a project. Each is left out unless it is written down.

    Attributes:
        distil: In training.
        catalogue: After training.
        prune: After that.
        rounded_epochs: Passes at the end whose weights are rounded to 8 bits wherever they are
            read, so that the model learns to live with it; 0 for none.
    """

    distil: Distil | None = None
    catalogue: CutCatalogue | None = None
    prune: Prune | None = None
    rounded_epochs: int = 0

    def to_key(self) -> dict[str, Any]:
        """Returns its part of a cache key; empty where no step is asked for."""
        return {} if self == NOTHING else {"optimise": dataclasses.asdict(self)}


#: A model as it was trained.
NOTHING: Final = Optimise()


def read_optimise(table: Table) -> Optimise:
    """Reads the table `[optimise]`, noting every problem in it.

    Args:
        table: The table; empty where the project has none.
    """
    names = table.names()
    found = Optimise(
        distil=_read_distil(table.table("distil")) if "distil" in names else None,
        catalogue=_read_catalogue(table.table("catalogue")) if "catalogue" in names else None,
        prune=_read_prune(table.table("prune")) if "prune" in names else None,
        rounded_epochs=table.integer("rounded_epochs", 0, low=0, high=1_000),
    )
    # A key that was not read above would be called unknown without these.
    for key in ("distil", "catalogue", "prune"):
        table.table(key)
    table.refuse_unknown()
    return found


def _read_distil(table: Table) -> Distil:
    standard = Distil("")
    found = Distil(
        teacher=table.text("teacher"),
        weight=table.number("weight", standard.weight, low=0.0, high=1.0),
        temperature=table.number("temperature", standard.temperature, low=0.1, high=100.0),
    )
    table.refuse_unknown()
    return found


def _read_catalogue(table: Table) -> CutCatalogue:
    standard = CutCatalogue()
    found = CutCatalogue(
        events=table.number("events", standard.events, low=0.01, high=1.0),
        epochs=table.integer("epochs", standard.epochs, low=0, high=1_000),
    )
    table.refuse_unknown()
    return found


def _read_prune(table: Table) -> Prune:
    standard = Prune()
    found = Prune(
        units=table.number("units", standard.units, low=0.01, high=1.0),
        blocks=table.integer("blocks", 1, low=1, high=4096) if "blocks" in table.names() else None,
        epochs=table.integer("epochs", standard.epochs, low=0, high=1_000),
    )
    table.refuse_unknown()
    return found
