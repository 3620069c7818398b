"""Compares a daemon that puts requests through in one call with the same daemon one at a time.

    python -m benchmarks.serving.batching                      builds what it needs first
    python -m benchmarks.serving.batching --bundle A.pyz --rounds 5 --connections 1 16 64

The server has one core and the load the other, and the two take turns in every round. It also
times the engine alone by rows, and what filling calls up to powers of two would cost here. Needs
Debian's `wrk`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.serving.compare import install, load, serving
from edgepack.build.targets import load_target
from edgepack.runner.engines import open_engine
from edgepack.runner.release import load_release
from edgepack.runner.replay import golden_rows
from edgepack.runner.rows import powers_of_two

MAX_BATCH: Final = 64
_CALLS: Final = 30
_WAYS: Final[Mapping[str, Sequence[str]]] = {
    "one at a time": ("--batch-size", "1"),
    "together": (),
}


def main() -> int:
    """Measures, then prints a table or JSON."""
    options = parse_arguments()
    if shutil.which("wrk") is None:
        print("error: wrk is missing; apt-get install wrk", file=sys.stderr)
        return 4
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or build(options.model, options.variant, Path(folder))
        root = install(bundle, Path(folder))
        calls = time_calls(root / "current")
        rounds = []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            rounds.append(measure_round(root, options.connections, options.seconds))
    report = {"table": summarise(rounds), "calls_us": calls, "filled": filling_cost(calls)}
    print(json.dumps(report, indent=2) if options.json else describe(report))
    return 0


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="a bundle of the sample shop with a batch")
    parser.add_argument("--model", default="session")
    parser.add_argument("--variant", default="onnx-fp32")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def build(model: str, variant: str, folder: Path) -> Path:
    """Builds a bundle for this machine whose model takes several rows in one call."""
    text = load_target("cpu").path.read_text(encoding="utf-8")
    for pattern, instead in (
        (r'\[\[runtime\]\]\nname = "litert".*?(?=\[\[runtime\]\])', ""),
        (r"allowed = \[.*?\]", f'allowed = ["{variant}"]\nmax_batch = {MAX_BATCH}'),
    ):
        text = re.sub(pattern, instead, text, flags=re.DOTALL)
    target = folder / "batched.toml"
    target.write_text(text.replace('name = "cpu"', 'name = "batched"'), encoding="utf-8")
    out = folder / "dist"
    command = [sys.executable, "-m", "edgepack.cli.main", "build", "--model", model]
    command += ["--target", str(target), "--out", str(out), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (bundle,) = out.glob("*.pyz")
    return bundle


def measure_round(
    root: Path, connections: Sequence[int], seconds: int
) -> dict[str, dict[int, dict[str, float]]]:
    """Loads the daemon both ways, with each number of connections."""
    repository = Path(__file__).resolve().parents[2]
    command = [str(root / "bin" / "edgepack-runner"), "serve", "--port", "{port}"]
    found = {}
    for name, arguments in _WAYS.items():
        with serving([*command, *arguments], repository) as (_, port, _):
            load(port, max(connections), 1)
            found[name] = {each: load(port, each, seconds) for each in connections}
    return found


def time_calls(release: Path) -> dict[int, float]:
    """Returns median microseconds of the engine's call by rows, on one thread."""
    loaded = load_release(release)
    engine = open_engine(loaded.manifest.runtime.name, loaded.model_path)
    found = {}
    sizes = {*range(1, 10), *powers_of_two(loaded.candidate.max_batch), 12, 24, 33, 48}
    for rows in sorted(n for n in sizes if n <= loaded.candidate.max_batch):
        arrays = golden_rows(loaded, rows)
        durations = []
        for _ in range(_CALLS):
            begin_ns = time.perf_counter_ns()
            engine.run(arrays)
            durations.append((time.perf_counter_ns() - begin_ns) / 1000)
        found[rows] = statistics.median(durations)
    engine.close()
    return found


def filling_cost(calls: Mapping[int, float]) -> float:
    """Returns how much longer calls get, on average, when they are filled up to powers of two."""
    sizes = powers_of_two(max(calls))
    filled = [calls[next(n for n in sizes if n >= rows)] / calls[rows] for rows in calls]
    return statistics.mean(filled)


def summarise(rounds: Sequence[dict[str, dict[int, dict[str, float]]]]) -> list[dict[str, Any]]:
    """Returns a row for each number of connections: medians of both ways, and their ratio."""
    rows = []
    for count in rounds[0]["together"]:
        row: dict[str, Any] = {"connections": count}
        for name in _WAYS:
            for key in ("requests_per_s", "p50_us", "p99_us"):
                row[f"{name}, {key}"] = statistics.median(each[name][count][key] for each in rounds)
        ratios = [
            each["together"][count]["requests_per_s"]
            / each["one at a time"][count]["requests_per_s"]
            for each in rounds
        ]
        row["ratio of requests"] = statistics.median(ratios)
        rows.append(row)
    return rows


def describe(report: Mapping[str, Any]) -> str:
    """Returns the report in words."""
    lines = []
    for row in report["table"]:
        lines.append(f"{row['connections']} connections")
        lines += [
            f"  {key:<32}{value:>12,.2f}" for key, value in row.items() if key != "connections"
        ]
    lines.append(
        "a call of the engine, us: "
        + ", ".join(f"{n}: {us:,.0f}" for n, us in report["calls_us"].items())
    )
    lines.append(f"filled up to powers of two a call takes {report['filled']:.2f} times as long")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
