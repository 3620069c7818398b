"""Cells, blocks and a worker for the tests of tuning, all made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgepack.build.artifacts import ConvertedVariant, Quality
from edgepack.build.choose import VariantRow, Verdict
from edgepack.build.tune.cells import Cell, TunePlan
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.device import DeviceFacts
from edgepack.formats.options import EngineOptions
from edgepack.formats.report import Duration
from edgepack.formats.tuning import Block, Machine
from edgepack.formats.typed import to_plain
from edgepack.formats.variants import Format, RuntimeName, parse_variant_name

PLAN = TunePlan(Duration.QUICK, rounds=8, block_ns=1000, min_queries=8, warmup_ns=0)


def machine(key: str = "this-machine", *, cores: int = 2, emulated: bool = False) -> Machine:
    """A machine with so many cores."""
    device = DeviceFacts(
        kernel=None,
        os_release=None,
        libc=None,
        arch=None,
        python="3.11.2",
        board=None,
        cpu_model="Simulated CPU",
        cpu_implementer=None,
        cpu_part=None,
        cpu_flags=None,
        cores_online=cores,
        cores_allowed=cores,
        memory_total=None,
        container=None,
        virtualised=None,
        emulated=emulated,
    )
    return Machine(key, device)


def cell(
    variant: str,
    threads: int = 1,
    *,
    size_bytes: int = 1000,
    site_bytes: int = 50_000,
    overlap: float | None = 0.99,
    spinning: bool = False,
) -> Cell:
    """A cell of a variant on the usual runtime of its format."""
    spec = parse_variant_name(variant)
    runtime = RuntimeName.LITERT if spec.format is Format.TFLITE else RuntimeName.ONNXRUNTIME
    converted = ConvertedVariant(spec, Path(variant), size_bytes, sha256_hex(variant.encode()))
    row = VariantRow(
        *("cpu", runtime, "1.0", converted, Verdict.PASSED, ""),
        quality=None if overlap is None else Quality(samples=100, overlap=overlap),
        site_bytes=site_bytes,
    )
    options = EngineOptions(threads, spinning=spinning)
    return Cell(row, options, sha256_hex(f"{variant} {options}".encode())[:32])


def block(number: int, p50_ns: int, *, key: str = "this-machine", **changes: Any) -> Block:
    """A block whose answers all took about as long."""
    values = tuple(p50_ns + i for i in range(-10, 11))
    made = Block(
        number, key, "2026-11-29T00:00:00Z", 21, 2000, p50_ns, p50_ns + 8, values_ns=values
    )
    return replace(made, **changes)


def blocks(*medians_ns: int) -> dict[int, Block]:
    """A block for each round."""
    return {number: block(number, median) for number, median in enumerate(medians_ns)}


class SimulatedWorker(Executor):
    """An executor whose laps are made up at once (in place of `run_lap`)."""

    def __init__(self, where: Machine | None = None, p50_ns: int = 20_000) -> None:
        self.machine = where or machine()
        self.p50_ns = p50_ns
        #: The trials of each lap, by variant and threads.
        self.laps: list[tuple[int, list[str]]] = []
        #: What a trial of this name does instead: a status, or a problem.
        self.crashes: dict[str, int] = {}
        self.wrong: dict[str, str] = {}
        self.refuses: str | None = None
        self.lost_after: int | None = None
        self.chatter = ""
        self.keeps: list[str | None] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.lost_after is not None and len(self.laps) >= self.lost_after:
            future.set_exception(RuntimeError("the worker went away"))
            return future
        future.set_result(self._run(json.loads(args[3])))
        return future

    def _run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.refuses is not None:
            return {"refused": self.refuses, "status": None, "output": "", "errors": ""}
        self.keeps.append(request["keep"])
        number = request["plan"]["round"]
        lines = [json.dumps({"machine": to_plain(self.machine)})]
        names = [f"{each['variant']}/{each['options']['threads']}" for each in request["trials"]]
        if names:
            self.laps.append((number, names))
        for i, name in enumerate(names):
            lines.append(json.dumps({"trial": i}))
            if name in self.crashes:
                status = self.crashes[name]
                return self._end(lines, None if status == 0 else status)
            made = block(number, self.p50_ns, key=self.machine.key)
            if name in self.wrong:
                made = Block(number, self.machine.key, "now", problem=self.wrong[name])
            lines.append(json.dumps({"trial": i, "block": to_plain(made)}))
        return self._end(lines, 0)

    def _end(self, lines: list[str], status: int | None) -> dict[str, Any]:
        output = self.chatter + "\n".join(lines)
        return {"refused": None, "status": status, "output": output, "errors": "last words"}
