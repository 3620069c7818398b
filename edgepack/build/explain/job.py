"""What the host asks a worker about a variant, and what it hears back, as JSON files.

It is not aware of how anything is found out. Used by both sides of the process boundary.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from edgepack.formats.variants import Format

#: A worker's answer in its folder.
ANSWER: Final = "answer.json"
#: Its answers about layers so far, one JSON line each; the last may be a layer it began.
LAYERS: Final = "layers.jsonl"


class Question(StrEnum):
    """What a worker is asked."""

    #: The layers, what every tensor loses, and what the whole variant loses.
    LOOK = "look"
    #: How long each layer takes.
    TIME = "time"
    #: What each of some layers costs the answers.
    DAMAGE = "damage"


@dataclass(frozen=True, slots=True)
class ExplainJob:
    """One question to one process.

    Attributes:
        question: What is asked.
        format: The files' format.
        twin: The fp32 file.
        names: The names of the twin's tensors.
        variant: The variant's file.
        samples: The model's samples, an npz.
        ranks: Whether the model answers with scores and items.
        rows: The most held-out inputs to use.
        by_operator: Take every operator as a layer of its own.
        seconds: About how long it may take.
        layers: The layers that are asked about, most suspicious first.
        out: A folder of its own for what it writes.
    """

    question: Question
    format: Format
    twin: Path
    names: Path
    variant: Path
    samples: Path
    ranks: bool
    rows: int
    by_operator: bool
    seconds: float
    layers: tuple[str, ...] = ()
    out: Path = Path()

    def write(self, path: Path) -> None:
        """Writes the job's file."""
        path.write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def read(cls, path: Path) -> ExplainJob:
        """Reads a job's file, which this package wrote."""
        value: dict[str, Any] = json.loads(path.read_text())
        paths = ("twin", "names", "variant", "samples", "out")
        return cls(
            **{
                **value,
                **{name: Path(value[name]) for name in paths},
                "question": Question(value["question"]),
                "format": Format(value["format"]),
                "layers": tuple(value["layers"]),
            }
        )
