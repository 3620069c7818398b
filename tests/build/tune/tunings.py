"""Whole tunings for tests, made up."""

from __future__ import annotations

from dataclasses import replace

from edgepack.build.tune.cells import Cell
from edgepack.build.tune.ranking import rank_machine
from edgepack.formats.report import Duration
from edgepack.formats.tuning import LeftOut, Tuning
from edgepack.formats.variants import RuntimeName
from tests.build.tune.cells import PLAN, blocks, cell, machine

FP32 = cell("tflite-fp32", size_bytes=9000, overlap=1.0)
INT8 = cell("tflite-dynamic-int8", 2, size_bytes=4000)
CRASHED = cell("onnx-fp32")


def tuning(*keys: str, chosen: Cell = INT8) -> Tuning:
    """A tuning on machines that all chose the same cell."""
    speeds = {FP32: 30_000, INT8: 40_000} | {chosen: 20_000}
    measured = {each: blocks(*[p50_ns] * 8) for each, p50_ns in speeds.items()}
    cells = [*measured, CRASHED]
    problems = {CRASHED: "crashed with <SIGSEGV>"}
    return Tuning(
        created="2026-11-29T00:00:00Z",
        edgepack="0.1.0",
        target="cpu",
        model="session",
        model_version="1.0.0",
        model_sha256="5" * 64,
        duration=Duration.QUICK,
        rounds=8,
        margin=0.05,
        quality_name="overlap@10 with fp32",
        machines=tuple(
            replace(
                rank_machine(machine(key), cells, measured, problems, PLAN),
                reservations=("virtualised",),
            )
            for key in keys or ("here",)
        ),
        left_out=(LeftOut(RuntimeName.LITERT, "tflite-fp16", "fails the gate", "overlap & more"),),
    )
