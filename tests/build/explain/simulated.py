"""A simulator of the worker, and a model and variant to look into, without any runtime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepack.build.artifacts import ConvertedVariant, Gate, TrainedModel
from edgepack.build.convert import Limits
from edgepack.build.explain.job import ANSWER, LAYERS, ExplainJob, Question
from edgepack.build.process import ChildResult
from edgepack.formats.manifest import ModelKind
from edgepack.formats.variants import parse_variant_name

DAMAGE: dict[str, float | None] = {
    "lost": 0.01,
    "lost_error": 0.001,
    "first_changed": 0.02,
    "largest": None,
}
NONE: dict[str, float | None] = {
    "lost": 0.0,
    "lost_error": 0.0,
    "first_changed": 0.0,
    "largest": None,
}


def figures(own_sqnr_db: float | None, saturated: float = 0.0) -> dict[str, Any]:
    return {
        "sqnr_db": 30.0,
        "own_sqnr_db": own_sqnr_db,
        "mean_error": 0.001,
        "saturated": saturated,
        "levels": 90,
        "levels_possible": 256,
    }


def tensor(layer: str, own_sqnr_db: float | None, **others: Any) -> dict[str, Any]:
    return {
        "name": f"m/{layer}/MatMul",
        "layer": layer,
        "role": "activation",
        "dtype": "int8",
        "shape": [1, 8],
        "figures": figures(own_sqnr_db),
        **others,
    }


def layer(name: str, *, quantised: bool = True, unmatched: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "operators": ["FULLY_CONNECTED", "ADD"],
        "quantised": quantised,
        "unmatched": unmatched,
    }


@dataclass
class SimulatedWorker:
    """Answers as the worker does; dies of the layers it is told to.

    Attributes:
        names: Quantised layers; the first has the best signal, the last the worst.
        costs: What each costs alone; `DAMAGE`'s by default.
        deadly: Layers the process dies of.
        slow_after: Layers one process gets through before its time is over.
        asked: Every question that was asked, with its layers.
    """

    names: Sequence[str] = ("a", "b", "c")
    costs: dict[str, float] = field(default_factory=dict)
    deadly: Sequence[str] = ()
    slow_after: int = 1000
    failure: str = ""
    asked: list[tuple[Question, tuple[str, ...]]] = field(default_factory=list)

    def __call__(self, job: ExplainJob, limits: Limits) -> ChildResult:
        self.asked.append((job.question, job.layers))
        if self.failure:
            self._answer(job, {"failure": self.failure})
            return _ended(5)
        if job.question is Question.LOOK:
            self._answer(job, self.look())
        elif job.question is Question.TIME:
            self._answer(job, timing(self.names))
        else:
            return self._damages(job)
        return _ended(0)

    def look(self) -> dict[str, Any]:
        worst_last = enumerate(self.names)
        return {
            "layers": [*(layer(name) for name in self.names), layer("free", quantised=False)],
            "tensors": [tensor(name, 50.0 - 10 * place) for place, name in worst_last],
            "whole": DAMAGE,
            "apart": NONE,
            "rows": 40,
        }

    def _damages(self, job: ExplainJob) -> ChildResult:
        lines: list[dict[str, Any]] = []
        for name in job.layers[: self.slow_after]:
            lines.append({"began": name})
            if name in self.deadly:
                self._write(job, lines)
                return _ended(-11)
            alone = {**DAMAGE, "lost": self.costs.get(name, 0.01)}
            found: dict[str, Any] = {"layer": name, "alone": alone, "without": NONE}
            lines.append({**found, "growth_bytes": 4100})
        self._write(job, lines)
        self._answer(job, {"rows": 40})
        return _ended(0)

    @staticmethod
    def _write(job: ExplainJob, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        # The last line of a process that died may be half of one.
        (job.out / LAYERS).write_text(f'{text}{{"layer": "half')

    @staticmethod
    def _answer(job: ExplainJob, value: dict[str, Any]) -> None:
        (job.out / ANSWER).write_text(json.dumps(value))


def timing(names: Sequence[str]) -> dict[str, Any]:
    span = {"ns": 10_000, "low_ns": 9_000, "high_ns": 11_000}
    return {
        "timing": {
            "method": "simulated",
            "call": {"ns": 40_000, "low_ns": 39_000, "high_ns": 41_000},
            "layers": dict.fromkeys(names, span),
            "explained": 0.9,
            "repeats": 50,
        },
        "machine": "a made-up processor, x86_64",
    }


def make_model(folder: Path, kind: ModelKind = "recommender") -> TrainedModel:
    return TrainedModel(
        name="shop",
        version="1.0.0",
        kind=kind,
        architecture="sasrec",
        directory=folder,
        model_path=folder / "model.onnx",
        sha256="a" * 64,
        samples_path=folder / "samples.npz",
        samples_sha256="b" * 64,
        gate=Gate(),
        graph_top_k=20 if kind == "recommender" else None,
    )


def make_variant(folder: Path) -> ConvertedVariant:
    path = folder / "v.onnx"
    path.write_bytes(b"variant")
    return ConvertedVariant(
        spec=parse_variant_name("onnx-static-int8"),
        path=path,
        size_bytes=7,
        sha256="c" * 64,
        form="native",
    )


def _ended(returncode: int) -> ChildResult:
    return ChildResult(returncode, False, False, "", "", 0, 1.0)
