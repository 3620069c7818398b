"""`session` with a large catalogue on an NVIDIA card, beside what people run there today.

    python -m benchmarks.gpu.compare BUNDLE [--items 100000 --items 1000000]

BUNDLE is one for the target `gpu`, or a release folder, such as ROOT/current of an installed one.
Its catalogue is grown with random weights. Measured, all in one run: calls of the engine with each
set of options, the share of the card's memory bandwidth that scoring and top-k reach, and
requests per second within a p99 bound beside FastAPI over onnxruntime-gpu and eager PyTorch.
Needs onnxruntime-gpu, onnx, fastapi and uvicorn; PyTorch is left out where it is not installed.

Where there is no card it says so and ends with status 4. `--device cpu` runs all of it on the
CPU, to see that it works; its figures say nothing about a card.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.calls import time_model, time_scoring, time_torch
from benchmarks.gpu.cards import Card, describe_card, find_card
from benchmarks.gpu.grow import grow_onnx, grow_release, keep_candidate
from benchmarks.gpu.servers import best_within, choose, contestants, sweep
from edgepack.formats.manifest import parse_manifest
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName

_ITEMS = (100_000, 1_000_000)
_BATCHES = (1, 8, 64)
_CONNECTIONS = (1, 4, 16, 64, 128)
_MISSING = 4
#: Bytes a second of a CPU's memory, only so that the share is a number with `--device cpu`.
_CPU_BANDWIDTH = 10e9


def main() -> int:
    """Measures, then prints a table or JSON."""
    options = parse_arguments()
    card, why = find_card()
    if options.device == "cpu":
        card, runtime = None, RuntimeName.ONNXRUNTIME
        # The servers and the choice are processes that look for a card themselves.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif card is None:
        print(f"benchmarks.gpu did not run: {why}")
        return _MISSING
    else:
        runtime = RuntimeName.ONNXRUNTIME_GPU
    report: dict[str, Any] = {"card": None if card is None else describe_card(card)}
    with tempfile.TemporaryDirectory() as folder:
        release = unpack(options.bundle, Path(folder) / "release")
        for items in options.items or _ITEMS:
            grown = grow_release(release, items, Path(folder) / str(items), _cpu_session)
            report[str(items)] = measure(release, grown, card, runtime, options)
            refuse_cpu(report[str(items)], runtime)
    print(json.dumps(report, indent=2) if options.json else describe(report, options.p99_ms))
    return 0


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--items", type=int, action="append", help="of the catalogue; repeatable")
    parser.add_argument("--variant", action="append", help="only these; default: all of it")
    parser.add_argument("--connections", type=int, action="append", help="of the load; repeatable")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--p99-ms", type=float, default=10.0, help="the bound of the comparison")
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def unpack(bundle: Path, folder: Path) -> Path:
    """Returns a bundle's release folder, unpacked; a folder is returned as it is."""
    if bundle.is_dir():
        return bundle
    with zipfile.ZipFile(bundle) as archive:
        folder.mkdir()
        (folder / "manifest.json").write_bytes(archive.read("manifest.json"))
        payload = archive.read("payload.tar.xz")
    with tarfile.open(fileobj=io.BytesIO(payload), mode="r:xz") as files:
        files.extractall(folder, filter="data")
    return folder


def measure(
    release: Path,
    grown: Path,
    card: Card | None,
    runtime: RuntimeName,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Measures one catalogue: every variant's calls and every server.

    Args:
        release: The release that was grown.
        grown: The release with the catalogue.
        card: Where it is measured; None for the CPU.
        runtime: What runs it.
        options: The command line's.
    """
    small = parse_manifest((release / "manifest.json").read_bytes()).model.catalogue_size or 0
    manifest = parse_manifest((grown / "manifest.json").read_bytes())
    items = manifest.model.catalogue_size or 0
    peak = _CPU_BANDWIDTH if card is None else card.bandwidth_bytes_per_s
    length, k = manifest.model.sequence_length or 1, manifest.model.graph_top_k or 1
    found: dict[str, Any] = {}
    for candidate in manifest.candidates:
        if options.variant and candidate.variant not in options.variant:
            continue
        model, half = grown / candidate.file, candidate.variant.endswith("fp16")
        tried = engine_options(runtime)
        row: dict[str, Any] = {
            "calls": time_model(model, runtime, tried, _BATCHES, items, options.seconds),
            "scoring": time_scoring(model.read_bytes(), runtime, tried, peak, options.seconds),
            "scoring, one stage": time_scoring(
                grow_onnx((release / candidate.file).read_bytes(), small, items),
                *(runtime, tried, peak, options.seconds),
            ),
        }
        if importlib.util.find_spec("torch") is not None:
            row["torch calls"] = time_torch(items, length, k, _BATCHES, options.seconds, half=half)
        place = grown.with_name(f"{grown.name}-{candidate.variant}")
        alone = keep_candidate(grown, candidate.variant, place / "release")
        row["chosen"] = choose(alone, place / "state")
        row["servers"] = {
            each.name: sweep(
                each, items, length, options.connections or _CONNECTIONS, options.seconds
            )
            for each in contestants(alone, candidate.variant, place / "state")
        }
        found[candidate.variant] = row
    return found


def refuse_cpu(measured: dict[str, Any], runtime: RuntimeName) -> None:
    """Ends where a CPU's time would stand for a card's."""
    for variant, row in measured.items():
        runtimes = [row["chosen"]["runtime"]]
        for each in (*row["calls"], *row["scoring"], *row["scoring, one stage"], *runtimes):
            if runtime is RuntimeName.ONNXRUNTIME_GPU and each["provider"].startswith("CPU"):
                raise SystemExit(
                    f"error: {variant} fell back to the CPU; see edgepack-runner doctor"
                )


def engine_options(runtime: RuntimeName) -> tuple[EngineOptions, ...]:
    """Returns the sets of options the runner itself would try."""
    from edgepack.formats.options import sensible_options

    return sensible_options(runtime, 1)


def describe(report: dict[str, Any], p99_ms: float) -> str:
    """Returns the report in words."""
    lines = [f"card: {report['card']}"]
    for items, variants in report.items():
        if items == "card":
            continue
        for variant, row in variants.items():
            lines += ["", f"{int(items):,} items, {variant}"]
            lines += _call_lines(row)
            lines.append(f"  the runner's own choice: {row['chosen']['reason'] or 'none to make'}")
            lines += _server_lines(row["servers"], p99_ms)
    return "\n".join(lines)


def _call_lines(row: dict[str, Any]) -> list[str]:
    lines = [
        f"  call, batch {each['batch']:>3}, {each['options']:<34}{each['p50_us']:>10,.0f} us"
        f"{each['rows_per_s']:>12,.0f} rows/s"
        for each in row["calls"]
    ]
    lines += [
        f"  call, batch {each['batch']:>3}, {'PyTorch eager':<34}{each['p50_us']:>10,.0f} us"
        f"{each['rows_per_s']:>12,.0f} rows/s"
        for each in row.get("torch calls", ())
    ]
    for kind, name in (("scoring", "in stages"), ("scoring, one stage", "in one stage")):
        lines += [
            f"  scoring and top-k {name + ', ' + each['options']:<38}{each['p50_us']:>10,.0f} us"
            f"{each['bandwidth_share']:>12.2f} of the bandwidth"
            for each in row[kind]
        ]
    return lines


def _server_lines(servers: dict[str, list[dict[str, Any]]], p99_ms: float) -> list[str]:
    lines = []
    best: dict[str, float] = {}
    for name, loads in servers.items():
        found = best_within(loads, p99_ms)
        if found is None:
            lines.append(f"  {name:<34} no load with a p99 within {p99_ms:g} ms")
            continue
        best[name] = found.requests_per_s
        lines.append(
            f"  {name:<34}{found.requests_per_s:>10,.0f} requests/s, p99 {found.p99_ms:.2f} ms, "
            f"{found.connections} connections"
        )
    ours = best.get("edgepack-runner")
    rivals = [rate for name, rate in best.items() if name.startswith("FastAPI + ONNX")]
    if ours is not None and rivals:
        lines.append(f"  requests per second / FastAPI + ONNX Runtime: {ours / max(rivals):.2f}")
    return lines


def _cpu_session(model: bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    sys.exit(main())
