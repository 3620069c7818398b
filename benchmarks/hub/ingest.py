"""Reports a second that one hub process takes on SQLite, beside MLflow's tracking server.

    python -m benchmarks.hub.ingest [--seconds 10] [--rounds 3]

Both are on loopback of the same machine, in the same run, one after the other and in turns, under
the same closed-loop load. The hub gets each report as boxes send it, one POST, answered when it is
on disk. MLflow gets the same fields, its lists left out, in the fewest calls there are for it:
`runs/create`, `runs/log-batch`, `runs/update`; and again only those forty or so that the hub's
pages show. Its server has SQLite too and its own number of workers.
MLflow is installed with uv into an environment of its own when it is first needed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.hub.load import HubReport, Loaded, MlflowReport, run_load
from benchmarks.hub.mlflow import (
    cache_folder,
    counted,
    install_mlflow,
    mlflow_report,
    mlflow_serving,
    mlflow_version,
)
from benchmarks.hub.reports import enrol_boxes, make_reports
from benchmarks.hub.servers import Server, hub_serving

#: More than a machine that measures itself has; each box stays below the hub's limit of rate.
_BOXES = 2_000
_HUB, _MLFLOW, _MLFLOW_FEW = "edgepack hub", "MLflow", "MLflow, fewer fields"


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, then prints a table or JSON."""
    options = parse_arguments(argv)
    reports = make_reports()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = str(folder / "hub.db")
        ours = enrol_boxes(store, reports, options.boxes)
        with hub_serving(store, folder) as hub:
            for number in range(options.rounds):
                rows += _measure(_HUB, hub, ours, options, number)
                rows += _measure_mlflow(reports, folder, options, number)
    found = {
        "bytes_per_report": statistics.mean(len(each.to_bytes()) for each in reports),
        "rounds": rows,
        "best": _best(rows, options.p99_ms),
    }
    if not options.without_mlflow:
        found["mlflow"] = mlflow_version(install_mlflow(cache_folder()))
        found["mlflow_fields"] = counted(mlflow_report(reports[0]))
        found["mlflow_fewer_fields"] = counted(mlflow_report(reports[0], every_field=False))
    print(json.dumps(found, indent=2) if options.json else describe(found))
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of all of them, in turns")
    parser.add_argument("--connections", type=int, action="append", help="repeatable")
    parser.add_argument("--boxes", type=int, default=_BOXES, help="that send to the hub")
    parser.add_argument("--p99-ms", type=float, default=100.0, help="the bound for the best")
    parser.add_argument("--without-mlflow", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def _measure(
    name: str,
    server: Server,
    reports: Sequence[HubReport] | Sequence[MlflowReport],
    options: argparse.Namespace,
    number: int,
) -> list[dict[str, Any]]:
    rows = []
    for connections in options.connections or (1, 8, 32):
        cpu_s = server.cpu_s()
        loaded = run_load(server.port, reports, connections, seconds=options.seconds)
        rows.append(_row(name, number, loaded, server.cpu_s() - cpu_s))
        print(f"{name}, {connections}: {loaded.per_second:,.1f}/s", file=sys.stderr, flush=True)
    return rows


def _measure_mlflow(
    reports: Sequence[Any], folder: Path, options: argparse.Namespace, number: int
) -> list[dict[str, Any]]:
    if options.without_mlflow:
        return []
    rows: list[dict[str, Any]] = []
    program = install_mlflow(cache_folder())
    for name, every_field in ((_MLFLOW, True), (_MLFLOW_FEW, False)):
        theirs = [mlflow_report(each, every_field=every_field) for each in reports]
        place = folder / f"mlflow-{number}-{every_field}"
        place.mkdir()
        with mlflow_serving(program, place) as server:
            # Each of its workers needs seconds for its first request.
            run_load(server.port, theirs, 8, seconds=min(options.seconds, 10.0), warmup_s=0)
            rows += _measure(name, server, theirs, options, number)
    return rows


def _row(name: str, number: int, loaded: Loaded, cpu_s: float) -> dict[str, Any]:
    share = cpu_s * 1e3 / loaded.all_reports if loaded.all_reports else None
    return {"server": name, "round": number, **loaded.to_json(), "cpu_ms_per_report": share}


def _best(rows: Sequence[dict[str, Any]], p99_ms: float) -> dict[str, Any]:
    """The median over the rounds of the best load of each, within the bound where there is one."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(row["server"] for row in rows):
        own = [row for row in rows if row["server"] == name]
        rates: dict[int, float] = {}
        within = [row for row in own if row["p99_ms"] < p99_ms and not row["failed"]]
        for connections in {row["connections"] for row in within or own}:
            each = [row["per_second"] for row in own if row["connections"] == connections]
            rates[connections] = statistics.median(each)
        best = max(rates, key=lambda connections: rates[connections])
        p99 = statistics.median(row["p99_ms"] for row in own if row["connections"] == best)
        found[name] = {
            "connections": best,
            "per_second": rates[best],
            "p99_ms": p99,
            "within_bound": bool(within),
        }
    for name in (_MLFLOW, _MLFLOW_FEW):
        if name in found and found[name]["per_second"]:
            ratio = found[_HUB]["per_second"] / found[name]["per_second"]
            found[name]["hub_takes_times_as_many"] = ratio
    return found


def describe(found: dict[str, Any]) -> str:
    """Returns the result in words."""
    lines = [f"a report has {found['bytes_per_report']:,.0f} bytes on average"]
    if "mlflow" in found:
        lines.append(f"{found['mlflow']}: a report is {found['mlflow_fields']}")
        lines.append(f"with fewer fields: {found['mlflow_fewer_fields']}")
    lines += ["", f"{'':<24}{'conns':>6}{'reports/s':>11}{'p50 ms':>10}{'p99 ms':>10}"]
    lines[-1] += f"{'CPU ms each':>13}{'load CPU':>10}{'failed':>8}"
    for row in found["rounds"]:
        cpu = row["cpu_ms_per_report"]
        lines.append(
            f"{row['server']:<24}{row['connections']:>6}{row['per_second']:>11,.1f}"
            f"{row['p50_ms']:>10,.1f}{row['p99_ms']:>10,.1f}"
            f"{'-' if cpu is None else f'{cpu:,.2f}':>13}{row['own_cpu']:>10.2f}"
            f"{sum(row['failed'].values()):>8}"
        )
        lines += [f"    {why}: {count}" for why, count in row["failed"].items()]
    lines.append("")
    for name, best in found["best"].items():
        line = f"{name}: {best['per_second']:,.1f} reports/s, p99 {best['p99_ms']:,.1f} ms"
        line += f" with {best['connections']} connections"
        if "hub_takes_times_as_many" in best:
            line += f"; the hub takes {best['hub_takes_times_as_many']:,.0f} times as many"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
