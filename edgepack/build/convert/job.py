"""What the host tells a conversion's process and what it hears back, as JSON files.

It is not aware of how a job is done. Used by both sides of the process boundary.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from edgepack.build.artifacts import NO_NEEDS, Needs
from edgepack.build.convert.recipes import Form
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import VariantSpec, parse_variant_name


class JobKind(StrEnum):
    """What a worker is asked for."""

    #: Keras or SavedModel to finished SavedModels, one for each form.
    GRAPH = "graph"
    #: The finished model as fp32 ONNX.
    ONNX_BASE = "onnx-base"
    #: A finished SavedModel to one TFLite variant.
    TFLITE = "tflite"
    #: The fp32 ONNX file to one ONNX variant.
    ONNX = "onnx"
    #: A finished SavedModel to fp32 TFLite, with the names of its tensors beside it.
    FLOAT_TWIN = "float-twin"
    #: The original's answers to the held-out inputs.
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work for one process.

    Attributes:
        kind: What to do.
        source: The model file, or what an earlier job wrote.
        out: A directory of its own for what it writes.
        samples: The model's samples, an npz.
        graph_top_k: Items the finished graph returns; None for a tensor model.
        form: The graph's form.
        spec: Which variant; None where the job makes none.
        needs: What the target needs of the graph.
    """

    kind: JobKind
    source: Path
    out: Path
    samples: Path
    graph_top_k: int | None = None
    form: Form = Form.PLAIN
    spec: VariantSpec | None = None
    needs: Needs = NO_NEEDS

    def write(self, path: Path) -> None:
        """Writes the job's file."""
        value = {**asdict(self), "spec": self.spec.name if self.spec else None}
        path.write_text(json.dumps(value, default=str))

    @classmethod
    def read(cls, path: Path) -> Job:
        """Reads a job's file, which this package wrote."""
        value: dict[str, Any] = json.loads(path.read_text())
        return cls(
            kind=JobKind(value["kind"]),
            source=Path(value["source"]),
            out=Path(value["out"]),
            samples=Path(value["samples"]),
            graph_top_k=value["graph_top_k"],
            form=Form(value["form"]),
            spec=parse_variant_name(value["spec"]) if value["spec"] else None,
            needs=Needs(**value["needs"]),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job, kept in its directory.

    Attributes:
        failure: Why there is no result, in one sentence; None when there is one.
        inputs: The graph's inputs in file order.
        outputs: Its outputs in file order.
        notes: How it was done, where there was a choice.
        recurrent_steps: Steps of the longest recurrent layer; 0 when there is none.
        repeated_weights: Weights that every step multiplies, of all recurrent layers together.
        rest_weights: The other weights that a call reads from end to end.
    """

    failure: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    notes: str = ""
    recurrent_steps: int = 0
    repeated_weights: int = 0
    rest_weights: int = 0

    def write(self, folder: Path) -> None:
        """Writes `outcome.json` into a job's directory."""
        value = {
            "failure": self.failure,
            "inputs": [each.to_json() for each in self.inputs],
            "outputs": [each.to_json() for each in self.outputs],
            "notes": self.notes,
            "recurrent_steps": self.recurrent_steps,
            "repeated_weights": self.repeated_weights,
            "rest_weights": self.rest_weights,
        }
        (folder / _OUTCOME).write_text(json.dumps(value))

    @classmethod
    def read(cls, folder: Path) -> Outcome | None:
        """Reads a job's outcome; None where its process died before it wrote one."""
        path = folder / _OUTCOME
        if not path.is_file():
            return None
        value: dict[str, Any] = json.loads(path.read_text())
        return cls(
            failure=value["failure"],
            inputs=tuple(TensorSpec.from_json(each, where="inputs") for each in value["inputs"]),
            outputs=tuple(TensorSpec.from_json(each, where="outputs") for each in value["outputs"]),
            notes=value["notes"],
            recurrent_steps=value["recurrent_steps"],
            repeated_weights=value["repeated_weights"],
            rest_weights=value["rest_weights"],
        )


_OUTCOME = "outcome.json"
